"""The command that serves hurt domains by something better."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from isthmus.cli.app import app, open_run
from isthmus.errors import ConfigError
from isthmus.progress import ConsoleReporter


@app.command()
def guard(
    run: Annotated[Path, typer.Argument(help="Directory of a finished joint run.")],
    isolated: Annotated[
        Path | None,
        typer.Option(help="An isolated run of the same data; without it one is trained, or found."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="The prepared data; prepared/NAME where nothing is said.")
    ] = None,
    domains: Annotated[
        str | None, typer.Option(help="Guard these, as a,b; without it those that are hurt.")
    ] = None,
    alpha: Annotated[float, typer.Option(help="False alarms over all domains together.")] = 0.05,
    ways: Annotated[
        Literal["best", "own", "part"],
        typer.Option(
            "--with",
            help="What serves a guarded domain: its own model, its part of the joint one trained "
            "further, or the better of both.",
        ),
    ] = "best",
    split: Annotated[
        Literal["valid", "test"],
        typer.Option(help="The rows that decide; of test, half of the users do."),
    ] = "valid",
) -> None:
    """Serve domains that sharing hurts by their own models; all others' scores stay to the bit."""
    from isthmus.guarding import GuardConfig, isolated_run, opened_data, refuse
    from isthmus.guarding import guard as build

    kept, reporter = open_run(run), ConsoleReporter()
    named = tuple(dict.fromkeys(filter(None, map(str.strip, (domains or "").split(",")))))
    if domains is not None and not named:
        raise ConfigError("--domains names no domain; expected names with commas, such as a,b")
    if not 0 < alpha < 1:
        raise ConfigError(f"--alpha is {alpha:g}; expected a number between 0 and 1, such as 0.05")
    refuse(kept, named)
    prepared = opened_data(kept, data)
    own = open_run(isolated) if isolated else isolated_run(kept, prepared, reporter=reporter)
    config = GuardConfig(domains=named, alpha=alpha, ways=ways, split=split)
    _print(build(kept, own, prepared, config, reporter=reporter), run)


def _print(outcome: Any, run: Path) -> None:
    """What was done; a run that nothing is to be done for stays as it is."""
    from isthmus.report.guard_table import print_guard, print_left

    if outcome.run is None:
        print_left(outcome.comparison, outcome.decisions, Console())
        typer.echo(f"nothing is guarded; the run stays as it is: {run}")
        return
    print_guard(outcome.table, Console())
    typer.echo(f"run: {outcome.run.path}")
