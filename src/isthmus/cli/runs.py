"""Commands that train models, and look at what was trained."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from isthmus.cli.app import RUNS, Overrides, RunsFolder, app, open_run, show_report
from isthmus.errors import ConfigError
from isthmus.progress import ConsoleReporter


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

    found = {path.name: _split(open_run(path).metrics, split) for path in runs}
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

    one, other = open_run(candidate), open_run(baseline)
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
    show_report(data, out or runs / "report.html")


@app.command()
def report(
    run: Path, out: Annotated[Path | None, typer.Option(help="Where the page goes.")] = None
) -> None:
    """Write the report of one run as a page that works offline."""
    from isthmus.sharing import report_data

    kept = open_run(run)
    show_report(report_data([kept]), out or kept.report)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where everything goes.")] = Path("demo"),
    override: Overrides = None,
) -> None:
    """Train on the bundled real data and say, domain by domain, what sharing gained or lost."""
    from isthmus.demo import demo as show

    reporter = ConsoleReporter()
    data = show(out, overrides=override or (), reporter=reporter)
    show_report(data, out / "report.html")


def _split(metrics: dict[str, Any], split: str) -> Any:
    if split not in metrics:
        raise ConfigError(f"no metrics of split {split!r}; there are: {', '.join(metrics)}")
    return metrics[split]
