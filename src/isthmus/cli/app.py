"""What all commands share: the application, their common options, and how a report is shown."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from isthmus.errors import ConfigError

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


def _page(path: Path | None) -> Path | None:
    """A page's name, refused where its Markdown or JSON would take its place."""
    if path is not None and (path.is_dir() or path.suffix in (".md", ".json")):
        found = "is a directory" if path.is_dir() else "is no name of a page"
        example = path / "report.html" if path.is_dir() else path.with_suffix(".html")
        raise ConfigError(
            f"--out {path} {found}; give one such as {example}, Markdown and JSON go beside it"
        )
    return path


PageFile = Annotated[
    Path | None,
    typer.Option("--out", callback=_page, help="The page; Markdown and JSON go beside it."),
]
TransferFile = Annotated[
    Path | None,
    typer.Option("--transfer", help="A report of `isthmus transfer` (JSON): show its map too."),
]


def open_run(path: Path) -> Any:
    """The finished run in a directory."""
    from isthmus.store import Run

    return Run.open(path)


def transfer_in(file: Path | None) -> dict[str, Any]:
    """What a report shows of the transfer map in a file: read before anything is trained."""
    if file is None:
        return {}
    from isthmus.transfer import read

    return {"transfer": read(file)}


def show_report(data: Any, page: Path) -> None:
    """Print a report, and write it as page, Markdown and JSON."""
    from isthmus.files import write_atomically
    from isthmus.report import to_json, to_markdown, to_terminal
    from isthmus.report.html import to_html

    to_terminal(data, Console())
    write_atomically(page, to_html(data).encode())
    write_atomically(page.with_suffix(".md"), to_markdown(data).encode())
    write_atomically(page.with_suffix(".json"), to_json(data).encode())
    typer.echo(f"\nreport: {page.resolve()}")


def first_line(thing: Callable[..., Any] | type) -> str:
    """What a thing says of itself in one line."""
    return (thing.__doc__ or "").strip().splitlines()[0]
