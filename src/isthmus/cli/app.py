"""What all commands share: the application, their common options, and how a report is shown."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

app = typer.Typer(
    name="isthmus",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="One recommender for dozens of domains, and proof that no domain pays for it.",
)

RunsFolder = Annotated[Path, typer.Option("--runs", help="Where runs are kept.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, such as train.lr=3e-4."),
]
RUNS = Path("runs")
TransferFile = Annotated[
    Path | None,
    typer.Option("--transfer", help="A report of `isthmus transfer` (JSON): show its map too."),
]


def open_run(path: Path) -> Any:
    """The finished run in a directory."""
    from isthmus.store import Run

    return Run.open(path)


def with_transfer(data: Any, file: Path | None) -> Any:
    """The report, with the transfer map of another one."""
    if file is None:
        return data
    from isthmus.transfer import read

    return data.model_copy(update={"transfer": read(file)})


def show_report(data: Any, page: Path) -> None:
    """Print a report, and write it as page, Markdown and JSON."""
    from isthmus.files import write_atomically
    from isthmus.report import to_json, to_markdown, to_terminal
    from isthmus.report.html import to_html

    to_terminal(data, Console())
    page.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(page, to_html(data).encode())
    write_atomically(page.with_suffix(".md"), to_markdown(data).encode())
    write_atomically(page.with_suffix(".json"), to_json(data).encode())
    typer.echo(f"\nreport: {page.resolve()}")


def first_line(thing: Callable[..., Any] | type) -> str:
    """What a thing says of itself in one line."""
    return (thing.__doc__ or "").strip().splitlines()[0]
