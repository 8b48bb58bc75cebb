"""The command that serves over HTTP."""

import logging
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from isthmus.cli.app import app
from isthmus.errors import ConfigError


@app.command()
def serve(
    runs: Annotated[list[Path], typer.Argument(help="A retriever's run, a ranker's, or both.")],
    host: Annotated[str, typer.Option(help="Any but loopback needs an API key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8000,
    events: Annotated[
        str, typer.Option(help="Store of events: a path, sqlite:///PATH or redis://HOST:PORT/DB.")
    ] = "events.sqlite",
    api_key_env: Annotated[
        str, typer.Option(help="The environment variable that holds the API key.")
    ] = "ISTHMUS_API_KEY",
    runs_root: Annotated[
        Path | None,
        typer.Option(help="Where runs that are loaded later lie; else beside the first one."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, max=64, help="That compute.")] = 1,
) -> None:
    """Recommend, rank and keep events over HTTP, with a page to look at."""
    from isthmus.service.http.settings import settings

    root = runs_root or runs[0].resolve().parent
    told = settings(host, os.environ.get(api_key_env) or None, runs_root=root, threads=threads)
    try:
        from isthmus.service.http.server import serve as run
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"serving needs {error.name}, which is not installed; pip install 'isthmus[serve]'"
        ) from None
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("isthmus").setLevel(logging.INFO)
    run(runs, (host, port), events, told, started=_say)


def _say(address: tuple[str, int], state: Any) -> None:
    host, port = address
    where = f"[{host}]" if ":" in host else host
    loaded = state.current.pipeline.loaded
    names = " and ".join(name for name in (loaded.retriever, loaded.ranker) if name)
    key = "an API key is needed" if state.settings.key is not None else "no API key is needed"
    typer.echo(f"serving {names}, version {loaded.version}; events in {state.store.where}; {key}")
    typer.echo(f"http://{where}:{port}/  (Ctrl-C ends it)")
