"""Commands that make prepared data sets."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from isthmus.cli.app import app, first_line
from isthmus.errors import ConfigError
from isthmus.progress import ConsoleReporter


@app.command()
def prepare(
    config: Annotated[
        Path | None, typer.Argument(help="TOML that names files and columns.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="A known raw data set; see `isthmus sources`.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="KEY=VALUE", help="An option of the source."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The directory to make.")] = None,
    accept_leaks: Annotated[bool, typer.Option(help="Record leaks instead of refusing.")] = False,
) -> None:
    """Make a prepared data set: leak-free split, vocabularies, histories, manifest."""
    from isthmus.data import sources
    from isthmus.data.config import read_config
    from isthmus.data.prepare import prepare as make

    if (config is None) == (source is None):
        raise ConfigError("give either the TOML of a preparation or --source NAME")
    reporter = ConsoleReporter()
    if config is not None:
        wanted = read_config(config)
    else:
        assert source is not None
        raw = (out or Path("prepared") / source).with_suffix(".raw")
        make_raw = sources.get(source)
        wanted = make_raw(raw, **_options(option or [], make_raw))
    if accept_leaks:
        wanted = wanted.model_copy(update={"accept_leaks": True})
    made = make(wanted, out or Path("prepared") / wanted.name, reporter=reporter)
    _print_prepared(made)


@app.command()
def sources() -> None:
    """List the raw data sets that `prepare --source` reads."""
    from isthmus.data import sources as known

    table = Table("source", "what it is", box=None)
    for name in known.names():
        table.add_row(name, first_line(known.get(name)))
    Console().print(table)


def _print_prepared(made: Any) -> None:
    table = Table("split", "rows", "positives", "domains", box=None)
    for split, domains in made.manifest.splits.items():
        rows = sum(count.rows for count in domains.values())
        positives = sum(count.positives for count in domains.values())
        table.add_row(split, f"{rows:,}", f"{positives:,}", f"{len(domains)}")
    Console().print(table)
    typer.echo(f"prepared: {made.path}")


def _options(pairs: list[str], source: Callable[..., Any]) -> dict[str, Any]:
    """Options of a source: numbers as numbers, paths as paths, everything else as it is."""
    import inspect
    import tomllib

    parameters = inspect.signature(source).parameters
    known = [name for name in parameters if name != "out"]
    takes_more = any(p.kind is p.VAR_KEYWORD for p in parameters.values())  # it checks them itself

    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise ConfigError(f"--option {pair!r}: expected key=value")
        if key not in known and not takes_more:
            raise ConfigError(f"--option {key!r}: this source has {', '.join(known) or 'none'}")
        try:
            options[key] = tomllib.loads(f"v = {text}")["v"]
        except tomllib.TOMLDecodeError:
            options[key] = Path(text) if "/" in text or Path(text).exists() else text
    return options
