"""Commands over a store of events; STORE is a path, sqlite:///PATH or redis://HOST:PORT/DB."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from isthmus.cli.app import app
from isthmus.errors import ConfigError
from isthmus.progress import ConsoleReporter

events = typer.Typer(
    no_args_is_help=True, help="Check, repair, dump, restore or export a store of events."
)
app.add_typer(events, name="events")

StoreName = Annotated[
    str, typer.Argument(metavar="STORE", help="A path, sqlite:///PATH or redis://HOST:PORT/DB.")
]


@events.command()
def check(store: StoreName) -> None:
    """Read every event and say what is wrong; exit code 1 if something is."""
    from isthmus.service.events import check as look

    if not _print(look(_file(store), reporter=ConsoleReporter())):
        raise typer.Exit(1)


@events.command()
def repair(store: StoreName) -> None:
    """Keep what can be read, move the damaged file aside, say what is lost."""
    from isthmus.service.events import repair as mend

    health = mend(_file(store), reporter=ConsoleReporter())
    _print(health)
    if health.aside is not None:
        typer.echo(f"the damaged file lies at {health.aside}; delete it when you need it no more")


@events.command()
def dump(store: StoreName, path: Path) -> None:
    """Write all events as JSON lines with a checksum; a server may be running."""
    from isthmus.service.events import dump as write
    from isthmus.service.events import open_events

    with open_events(store, reading=True) as opened:
        written = write(opened, path, reporter=ConsoleReporter())
    typer.echo(f"dumped {written:,} events: {path}")


@events.command()
def restore(store: StoreName, path: Path) -> None:
    """Keep all events of a dump; those that the store has already stay as they are."""
    from isthmus.service.events import open_events
    from isthmus.service.events import restore as read

    with open_events(store) as opened:
        restored = read(opened, path, reporter=ConsoleReporter())
    table = Table("accepted", "duplicate", "conflict", "rejected", box=None)
    found = (restored.accepted, restored.duplicate, restored.conflict, restored.rejected)
    table.add_row(*(f"{n:,}" for n in found))
    Console().print(table)


@events.command()
def export(
    store: StoreName,
    path: Path,
    task: Annotated[
        Literal["next_item", "ranking"], typer.Option(help="What is to be trained on it.")
    ] = "next_item",
) -> None:
    """Write the Parquet file and the TOML that `isthmus prepare` reads; a server may be running."""
    from isthmus.service.events import export as write
    from isthmus.service.events import open_events

    with open_events(store, reading=True) as opened:
        written = write(opened, path, task=task, reporter=ConsoleReporter())
    typer.echo(f"exported {written:,} events: {path}, {path.with_suffix('.toml')}")


def _file(store: str) -> Path:
    from isthmus.service.events import sqlite_path

    path = sqlite_path(store)
    if path is None:
        raise ConfigError(
            f"{store}: a Redis server checks its own files; use redis-check-aof on the server"
        )
    return path


def _print(health: Any) -> bool:
    for fault in health.faults:
        typer.echo(f"fault: {fault}")
    typer.echo(f"{health.events:,} events can be read")
    return not health.faults
