"""The command line: one short function a command. It names no model, and grows with none."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

# Before torch is loaded: threads that wait by spinning make a busy machine many times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from isthmus import __version__
from isthmus.errors import ConfigError, IsthmusError
from isthmus.progress import ConsoleReporter

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
Labels = Annotated[list[str] | None, typer.Option(metavar="LABEL", help="Only this entry.")]
RUNS = Path("runs")
_STOPPED = 130


def main() -> None:
    """Run a command; what a user can mend is one line on standard error and exit code 2."""
    try:
        app()
    except IsthmusError as error:
        Console(stderr=True, soft_wrap=True).print(f"isthmus: {error}", style="red", markup=False)
        sys.exit(2)
    except SystemExit as end:
        if end.code == _STOPPED:  # Ctrl-C, of which typer makes this code and no word
            Console(stderr=True).print("isthmus: stopped; the same command goes on where it was")
        raise


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
        table.add_row(name, _first_line(known.get(name)))
    Console().print(table)


@app.command()
def train(config: Path, override: Overrides = None, runs: RunsFolder = RUNS) -> None:
    """Train the run that CONFIG describes; the same command again resumes or finds it done."""
    from isthmus.config import read
    from isthmus.experiment import run
    from isthmus.report.terminal import print_metrics
    from isthmus.store import Store

    kept = run(read(config, override or ()), Store(runs), reporter=ConsoleReporter())
    print_metrics({kept.config["model"]: kept.metrics["test"]}, Console())
    typer.echo(f"run: {kept.path}")


@app.command()
def evaluate(
    runs: Annotated[list[Path], typer.Argument(help="Directories of finished runs.")],
    split: Annotated[str, typer.Option(help="valid or test")] = "test",
    domains: Annotated[bool, typer.Option(help="Also every domain by itself.")] = True,
) -> None:
    """Print metrics with intervals, overall and domain by domain, from stored predictions."""
    from isthmus.report.terminal import print_domains, print_metrics

    found = {path.name: _split(_open(path).metrics, split) for path in runs}
    print_metrics(found, Console())
    if domains:
        for name, metrics in found.items():
            typer.echo(f"{name}, {split} rows:")
            print_domains(metrics, Console())


@app.command()
def compare(
    candidate: Path,
    baseline: Path,
    split: Annotated[str, typer.Option(help="valid or test")] = "test",
    method: Annotated[Literal["delong", "bootstrap"], typer.Option()] = "delong",
) -> None:
    """Test two runs against each other on the same rows, domain by domain, Holm-corrected."""
    from isthmus.evaluation import Rules
    from isthmus.evaluation import compare as test
    from isthmus.report.terminal import print_comparison

    one, other = _open(candidate), _open(baseline)
    found = test(
        [one.predictions(split)],
        [other.predictions(split)],
        rules=Rules(method=method, data=f"the {split} split of {one.data.name}"),
    )
    print_comparison(found, Console(), names=(one.name, other.name))


@app.command()
def share(
    config: Path,
    override: Overrides = None,
    runs: RunsFolder = RUNS,
    out: Annotated[Path | None, typer.Option(help="Where the report goes.")] = None,
) -> None:
    """Say, domain by domain, what joint training gained or lost against isolated models."""
    from isthmus.config import read
    from isthmus.sharing import share as compute
    from isthmus.store import Store

    data = compute(read(config, override or ()), Store(runs), reporter=ConsoleReporter())
    _show_report(data, out or runs / "report.html")


@app.command()
def report(
    run: Path, out: Annotated[Path | None, typer.Option(help="Where the page goes.")] = None
) -> None:
    """Write the report of one run as a page that works offline."""
    from isthmus.sharing import report_data

    kept = _open(run)
    _show_report(report_data([kept]), out or kept.report)


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
    kept = _open(run)
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
    config: Annotated[Path, typer.Argument(help="TOML of a benchmark that has a [tune] table.")],
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


@app.command()
def models(name: Annotated[str | None, typer.Argument()] = None) -> None:
    """List the models, or the settings of one."""
    from isthmus import models as known
    from isthmus import reference

    if name is None:
        table = Table("model", "what it is", "paper", box=None)
        for each in known.names():
            table.add_row(each, _first_line(known.get(each)), known.get(each).paper)
        for each in reference.names():
            table.add_row(each, _first_line(reference.get(each)), reference.get(each).paper)
        Console().print(table)
        return
    is_reference = name in reference.names()
    kind = reference.get(name) if is_reference else known.get(name)
    settings = reference.get(name).Settings() if is_reference else kind.Config()
    typer.echo(f"{name}: {_first_line(kind)}\n{kind.paper}\n")
    table = Table("setting", "default", box=None)
    for key, value in _flat(settings.model_dump()):
        table.add_row(f"settings.{key}", repr(value))
    Console().print(table)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where everything goes.")] = Path("demo"),
    override: Overrides = None,
) -> None:
    """Train on the bundled real data and say, domain by domain, what sharing gained or lost."""
    from isthmus.demo import demo as show

    reporter = ConsoleReporter()
    data = show(out, overrides=override or (), reporter=reporter)
    _show_report(data, out / "report.html")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


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


def _show_report(data: Any, page: Path) -> None:
    from isthmus.files import write_atomically
    from isthmus.report import to_json, to_markdown, to_terminal
    from isthmus.report.html import to_html

    to_terminal(data, Console())
    page.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(page, to_html(data).encode())
    write_atomically(page.with_suffix(".md"), to_markdown(data).encode())
    write_atomically(page.with_suffix(".json"), to_json(data).encode())
    typer.echo(f"\nreport: {page.resolve()}")


def _print_prepared(made: Any) -> None:
    table = Table("split", "rows", "positives", "domains", box=None)
    for split, domains in made.manifest.splits.items():
        rows = sum(count.rows for count in domains.values())
        positives = sum(count.positives for count in domains.values())
        table.add_row(split, f"{rows:,}", f"{positives:,}", f"{len(domains)}")
    Console().print(table)
    typer.echo(f"prepared: {made.path}")


def _open(path: Path) -> Any:
    from isthmus.store import Run

    return Run.open(path)


def _split(metrics: dict[str, Any], split: str) -> Any:
    if split not in metrics:
        raise ConfigError(f"no metrics of split {split!r}; there are: {', '.join(metrics)}")
    return metrics[split]


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


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, dict):
            pairs += _flat(value, f"{prefix}{key}.")
        else:
            pairs.append((f"{prefix}{key}", value))
    return pairs


def _first_line(thing: Callable[..., Any] | type) -> str:
    return (thing.__doc__ or "").strip().splitlines()[0]


if __name__ == "__main__":
    main()
