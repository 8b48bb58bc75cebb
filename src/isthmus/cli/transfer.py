"""The command that says which domains help which."""

from pathlib import Path
from typing import Annotated, Any

import typer

from isthmus.cli.app import RUNS, Overrides, PageFile, RunsFolder, app, show_report
from isthmus.errors import ConfigError
from isthmus.progress import ConsoleReporter


@app.command()
def transfer(
    config: Path,
    override: Overrides = None,
    runs: RunsFolder = RUNS,
    budget: Annotated[int, typer.Option(help="Trainings, that of all domains included.")] = 16,
    groups: Annotated[
        str | None,
        typer.Option(help="How many groups of domains, or a file of `isthmus cluster`."),
    ] = None,
    ways: Annotated[str, typer.Option(help="Which ways to measure.")] = "left_out,gradients,masks",
    out: PageFile = None,
) -> None:
    """Say which domains help which, and which hurt: by leaving out, by gradients, by masks."""
    from isthmus.config import read
    from isthmus.store import Store
    from isthmus.transfer import transfer as compute

    data = compute(
        read(config, override or ()),
        Store(runs),
        budget=budget,
        groups=_groups(groups),
        ways=_ways(ways),
        reporter=ConsoleReporter(),
    )
    show_report(data, out or runs / "transfer.html")


def _groups(text: str | None) -> Any:
    """A number, or what a file of clusters holds."""
    if text is None:
        return None
    if text.isdigit():
        return int(text)
    from isthmus.clustering import read

    return read(Path(text))


def _ways(text: str) -> Any:
    from isthmus.evaluation.transfer import WAYS

    asked = [way.strip() for way in text.split(",")]
    strange = [way for way in asked if way not in WAYS]
    if strange:
        raise ConfigError(f"--ways {strange[0]!r}: expected any of {', '.join(WAYS)}")
    return asked
