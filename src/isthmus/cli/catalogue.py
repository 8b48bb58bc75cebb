"""Commands that say what there is."""

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from isthmus import __version__
from isthmus.cli.app import app, first_line


@app.command()
def models(name: Annotated[str | None, typer.Argument()] = None) -> None:
    """List the models, or the settings of one."""
    from isthmus import models as known
    from isthmus import reference

    if name is None:
        table = Table("model", "what it is", "paper", box=None)
        for each in known.names():
            table.add_row(each, first_line(known.get(each)), known.get(each).paper)
        for each in reference.names():
            table.add_row(each, first_line(reference.get(each)), reference.get(each).paper)
        Console().print(table)
        return
    is_reference = name in reference.names()
    kind = reference.get(name) if is_reference else known.get(name)
    settings = reference.get(name).Settings() if is_reference else kind.Config()
    typer.echo(f"{name}: {first_line(kind)}\n{kind.paper}\n")
    table = Table("setting", "default", box=None)
    for key, value in _flat(settings.model_dump()):
        table.add_row(f"settings.{key}", repr(value))
    Console().print(table)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, dict):
            pairs += _flat(value, f"{prefix}{key}.")
        else:
            pairs.append((f"{prefix}{key}", value))
    return pairs
