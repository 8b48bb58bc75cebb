"""The command that writes a run's model for other runtimes."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from isthmus.cli.app import app, open_run
from isthmus.progress import ConsoleReporter


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Directory of a finished run.")],
    out: Annotated[Path, typer.Option(help="The directory that the graphs are written to.")],
    domain: Annotated[
        list[str] | None, typer.Option(help="Only this domain, and the unknown one; repeatable.")
    ] = None,
    tables: Annotated[
        Literal["float32", "float16", "int8"],
        typer.Option(help="How embeddings are stored; less than 32 bits is tried on test rows."),
    ] = "float32",
    data: Annotated[
        Path | None, typer.Option(help="The prepared data; prepared/NAME where nothing is said.")
    ] = None,
    opset: Annotated[int, typer.Option(help="Of ONNX.")] = 18,
) -> None:
    """Write ONNX graphs that score as the run does; of AREAD one a domain, without what it left out."""
    from isthmus.export import Wanted
    from isthmus.export import export as write
    from isthmus.guarding import opened_data

    kept = open_run(run)
    wanted = Wanted(tuple(domain or ()), tables, opset)
    found = write(kept, out, opened_data(kept, data), wanted, reporter=ConsoleReporter())
    _print(found)


def _print(found: Any) -> None:
    from isthmus.export.table import print_export

    print_export(found.manifest, Console())
    typer.echo(f"export: {found.path.resolve()}")
