"""Commands that measure many models: search of settings, benchmark, leaderboard, clusters."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from isthmus.cli.app import RUNS, RunsFolder, app, open_run
from isthmus.errors import ConfigError
from isthmus.progress import ConsoleReporter

Labels = Annotated[list[str] | None, typer.Option(metavar="LABEL", help="Only this entry.")]


@app.command()
def bench(
    config: Annotated[Path, typer.Argument(help="TOML of models, seeds and data.")],
    changed: Annotated[
        bool,
        typer.Option(
            "--changed/--missing",
            help="Run also what has a row of other settings, or only what has no row.",
        ),
    ] = False,
    only: Labels = None,
    again: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL", help="Throw this entry's runs away and make them anew."),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Instead of the TOML's, such as 0,1,2.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes at a time.")] = None,
    runs: RunsFolder = RUNS,
    results: Annotated[Path | None, typer.Option(help="CSV with a row a finished run.")] = None,
) -> None:
    """Run every model with every seed, as far as there is no row of it, and print the leaderboard."""
    from isthmus.bench import Choice, read
    from isthmus.bench import bench as measure
    from isthmus.report.board_table import to_markdown
    from isthmus.store import Store

    wanted = read(config)
    place = results or config.parent / "results" / f"{wanted.name}.csv"
    choice = Choice(
        only=tuple(only or ()),
        seeds=_seeds(seeds),
        again=tuple(again or ()),
        changed=changed,
        workers=workers,
    )
    _, failed = measure(wanted, Store(runs), place, choice=choice, reporter=ConsoleReporter())
    typer.echo(to_markdown(_board(place)))
    typer.echo(f"rows: {place}")
    _tell_failed(failed)


@app.command()
def leaderboard(
    config: Annotated[Path, typer.Argument(help="TOML of the benchmark.")],
    out: Annotated[Path | None, typer.Option(help="Write page, table and pictures here.")] = None,
    results: Annotated[Path | None, typer.Option(help="CSV with a row a finished run.")] = None,
) -> None:
    """Print a benchmark's leaderboard from its rows, or write it as page, Markdown and pictures."""
    from isthmus.bench import read
    from isthmus.report.board_page import write_board
    from isthmus.report.board_table import to_markdown

    place = results or config.parent / "results" / f"{read(config).name}.csv"
    board = _board(place)
    if out is None:
        typer.echo(to_markdown(board))
        return
    for path in write_board(board, out):
        typer.echo(path)


@app.command()
def cluster(
    run: Annotated[Path, typer.Argument(help="Directory of a finished run over all domains.")],
    clusters: Annotated[str, typer.Option(help="How many; auto: by silhouette, 2 to 10.")] = "3",
    out: Annotated[Path, typer.Option(help="JSON, for settings.clusters.")] = Path("clusters.json"),
    seed: Annotated[int, typer.Option(help="Of K-Means.")] = 0,
) -> None:
    """Put domains with alike losses on validation rows into clusters, for settings.clusters."""
    from isthmus.clustering import cluster_run

    if clusters != "auto" and not clusters.isdecimal():
        raise ConfigError(f"--clusters {clusters!r}: expected a number from 1 on, or auto")
    kept = open_run(run)
    found, parts = cluster_run(kept, "auto" if clusters == "auto" else int(clusters), seed=seed)
    found.write(out)
    table = Table("cluster", "domains", "rows", "mean loss", box=None)
    for place, part in enumerate(parts, 1):
        table.add_row(f"{place}", ", ".join(part.domains), f"{part.rows:,}", f"{part.loss:.4f}")
    Console().print(table)
    if found.without_rows:
        typer.echo(f"without validation rows: {', '.join(found.without_rows)}")
    if found.silhouette is not None:
        typer.echo(f"silhouette: {found.silhouette:.3f}")
    typer.echo(f"clusters: {out}")


@app.command()
def tune(
    config: Annotated[Path, typer.Argument(help="TOML of a benchmark that has a table `tune`.")],
    only: Labels = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes at a time.")] = None,
    runs: RunsFolder = RUNS,
    results: Annotated[Path | None, typer.Option(help="CSV with a row a trial.")] = None,
) -> None:
    """Search training settings for every entry, with equal budget, on the validation split alone."""
    from isthmus.bench import best, read
    from isthmus.bench import tune as search

    wanted = read(config)
    entries = wanted.chosen(tuple(only or ()))
    place = results or config.parent / "results" / f"{wanted.name}.tuning.csv"
    rows, failed = search(
        wanted, runs, place, entries=entries, workers=workers, reporter=ConsoleReporter()
    )
    table = Table("entry", "trials", "best settings", box=None)
    for entry in entries:
        point, trials = best(wanted, entry, rows)
        said = "  ".join(f"{name} {value:g}" for name, value in point.items())
        table.add_row(entry.label, str(trials), said or "none: not tuned")
    Console().print(table)
    typer.echo(f"trials: {place}")
    _tell_failed(failed)


def _board(results: Path) -> Any:
    from isthmus.bench import beside, read_rows
    from isthmus.report.board import Board

    rows = read_rows(results)
    if not rows:
        raise ConfigError(f"{results} has no rows; `isthmus bench` writes them")
    return Board.of(
        rows, read_rows(beside(results, "pairs")), read_rows(beside(results, "domains"))
    )


def _seeds(text: str | None) -> tuple[int, ...]:
    parts = [part.strip() for part in (text or "").split(",") if part.strip()]
    if not all(part.isdecimal() for part in parts):
        raise ConfigError(f"--seeds {text!r}: expected whole numbers with commas, such as 0,1,2")
    return tuple(map(int, parts))


def _tell_failed(failed: dict[str, str]) -> None:
    """Say what failed, and end with exit code 1 if anything did."""
    for what, reason in failed.items():
        Console(stderr=True, soft_wrap=True).print(
            f"isthmus: {what} failed: {reason}", style="red", markup=False
        )
    if failed:
        raise typer.Exit(1)
