"""Commands by which domains of a trained model come and go; each makes a run of a run."""

from pathlib import Path
from typing import Annotated, Any

import typer

from isthmus.cli.app import app, open_run
from isthmus.progress import ConsoleReporter

domain = typer.Typer(
    no_args_is_help=True,
    help="Add, retire, split or merge domains of a trained model; others keep their scores to the bit.",
)
app.add_typer(domain, name="domain")

RunArgument = Annotated[Path, typer.Argument(help="Directory of a finished run.")]
Data = Annotated[
    Path | None, typer.Option(help="The run's prepared data; by default prepared/ and its name.")
]
Name = Annotated[str | None, typer.Option("--name", help="Of the run that is made.")]
Retire = Annotated[
    bool, typer.Option("--retire", help="Rows under the old name become unknown ones at once.")
]


@domain.command()
def add(
    run: RunArgument,
    name: Annotated[str, typer.Argument(help="As the rows name the domain.")],
    rows: Annotated[list[Path], typer.Argument(help="Parquet, CSV or JSONL, as for prepare.")],
    data: Data = None,
    made: Name = None,
) -> None:
    """Give a new domain its own parts, learned from its first rows with all else frozen."""
    from isthmus import lifecycle

    reporter = ConsoleReporter()
    _tell(lifecycle.add(open_run(run), name, rows, data=data, out=made, reporter=reporter))


@domain.command()
def retire(run: RunArgument, name: str, data: Data = None, made: Name = None) -> None:
    """Let rows of a domain be scored as those of an unknown one."""
    from isthmus import lifecycle

    _tell(lifecycle.retire(open_run(run), name, data=data, out=made))


@domain.command()
def split(
    run: RunArgument,
    name: str,
    into: Annotated[list[str], typer.Argument(help="The new domains, two or more.")],
    rows: Annotated[
        list[Path] | None, typer.Option(help="Rows from which each new domain learns.")
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="The column of these rows that holds the new names.")
    ] = None,
    retired: Retire = False,
    data: Data = None,
    made: Name = None,
) -> None:
    """Make new domains of one: copies of it, each learning on from its own rows."""
    from isthmus import lifecycle

    found = lifecycle.split(
        open_run(run),
        name,
        into,
        rows=rows or (),
        by=by,
        retired=retired,
        data=data,
        out=made,
        reporter=ConsoleReporter(),
    )
    _tell(found)


@domain.command()
def merge(
    run: RunArgument,
    names: Annotated[list[str], typer.Argument(help="The domains to merge, two or more.")],
    into: Annotated[str, typer.Option(help="The new domain.")],
    retired: Retire = False,
    data: Data = None,
    made: Name = None,
) -> None:
    """Make one domain of several, from what they have and from their rows in the run's data."""
    from isthmus import lifecycle

    reporter = ConsoleReporter()
    found = lifecycle.merge(
        open_run(run), names, into, retired=retired, data=data, out=made, reporter=reporter
    )
    _tell(found)


@domain.command("list")
def show(run: RunArgument) -> None:
    """List a run's domains with their ids, and how they came to be."""
    kept = open_run(run)
    for number, name in enumerate(kept.schema.domains, 1):
        typer.echo(f"{number:>4}  {name}")
    for change in kept.manifest.lineage:
        typer.echo(_said(change))


def _tell(made: Any) -> None:
    typer.echo(_said(made.manifest.lineage[-1]))
    typer.echo(f"run: {made.path}")


def _said(change: Any) -> str:
    """One change in words, its notes below."""
    of, to = ", ".join(change.domains), ", ".join(change.made)
    what = f"{of} to {to}" if of and to else of or to
    rows = f", from {change.rows:,} rows" if change.rows else ""
    lines = [f"{change.operation} {what} (of {change.parent}{rows})", *change.notes]
    lines.append(f"{change.unchanged:,} scored rows of other domains: unchanged, to the bit")
    return "\n  ".join(lines)
