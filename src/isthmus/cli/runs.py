"""Commands that train models, and look at what was trained."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from isthmus.cli.app import (
    RUNS,
    Overrides,
    PageFile,
    RunsFolder,
    TransferFile,
    app,
    open_run,
    show_report,
    transfer_in,
)
from isthmus.errors import ConfigError
from isthmus.progress import ConsoleReporter


@app.command()
def train(
    config: Path,
    override: Overrides = None,
    runs: RunsFolder = RUNS,
    track: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[:WHERE]", help="Tell a tracker: tensorboard, mlflow:URI."),
    ] = None,
) -> None:
    """Train the run that CONFIG describes; the same command again resumes or finds it done.

    Several processes train it together: torchrun --nproc-per-node 2 -m isthmus train CONFIG
    """
    from isthmus.config import read
    from isthmus.experiment import run
    from isthmus.meeting import started
    from isthmus.store import Store
    from isthmus.trackers import parsed

    what = read(config, override or ())
    what = what.model_copy(update={"track": {**what.track, **parsed(track or ())}})
    with started() as here:
        kept = run(what, Store(runs), reporter=ConsoleReporter())
    if here.leads:
        _print({kept.config["model"]: kept}, "test")
        typer.echo(f"run: {kept.path}")


@app.command()
def evaluate(
    runs: Annotated[list[Path], typer.Argument(help="Directories of finished runs.")],
    split: Annotated[str, typer.Option(help="valid or test")] = "test",
    domains: Annotated[bool, typer.Option(help="Also every domain by itself.")] = True,
) -> None:
    """Print metrics with intervals, overall and domain by domain, from stored predictions."""
    _print({path.name: open_run(path) for path in runs}, split, domains=domains)


@app.command()
def compare(
    candidate: Path,
    baseline: Path,
    split: Annotated[str, typer.Option(help="valid or test")] = "test",
    method: Annotated[Literal["delong", "bootstrap"], typer.Option()] = "delong",
    metric: Annotated[
        str | None, typer.Option(help="Of retrievers: ndcg@10 (the default), hr@5, mrr, ...")
    ] = None,
    among: Annotated[
        Literal["domain", "all", "sampled"],
        typer.Option(help="Of retrievers: the candidates that items are ranked among."),
    ] = "domain",
) -> None:
    """Test two runs against each other on the same rows, domain by domain, Holm-corrected."""
    from isthmus.evaluation import Rules, compare_ranks
    from isthmus.evaluation import compare as test
    from isthmus.evaluation.rank_compare import RULES
    from isthmus.report.terminal import print_comparison

    one, other = open_run(candidate), open_run(baseline)
    data = f"the {split} split of {one.data.name}"
    if one.of_items or other.of_items:
        found = compare_ranks(
            [one.ranks(split)],
            [other.ranks(split)],
            metric=metric or "ndcg@10",
            protocol=among,
            rules=RULES.model_copy(update={"method": method, "data": data}),
        )
    elif metric is not None or among != "domain":
        raise ConfigError("--metric and --among are for retrievers; rankers are compared by AUC")
    else:
        found = test(
            [one.comparable(split)],
            [other.comparable(split)],
            rules=Rules(method=method, data=data),
        )
    print_comparison(found, Console(), names=(one.name, other.name))


@app.command()
def share(
    config: Path,
    override: Overrides = None,
    runs: RunsFolder = RUNS,
    out: PageFile = None,
    transfer: TransferFile = None,
) -> None:
    """Say, domain by domain, what joint training gained or lost against isolated models."""
    from isthmus.config import read
    from isthmus.sharing import share as compute
    from isthmus.store import Store

    also = transfer_in(transfer)
    data = compute(read(config, override or ()), Store(runs), reporter=ConsoleReporter())
    show_report(data.model_copy(update=also), out or runs / "report.html")


@app.command()
def report(
    run: Path,
    out: PageFile = None,
    root: Annotated[Path, typer.Option(help="Where prepared data lies.")] = Path("prepared"),
    transfer: TransferFile = None,
) -> None:
    """Write the report of one run, with its diagnosis, as a page that works offline."""
    from isthmus.diagnose import diagnose
    from isthmus.sharing import report_data

    kept, also = open_run(run), transfer_in(transfer)
    findings = diagnose([kept], root)[0].findings
    data = report_data([kept]).model_copy(update={"findings": findings, **also})
    show_report(data, out or kept.report)


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
    serve = f"isthmus serve {out}/retriever {out}/ranker --events {out}/events.sqlite"
    typer.echo(f"serve it: {serve}")


def _print(runs: dict[str, Any], split: str, *, domains: bool = False) -> None:
    """Metrics of these runs, rankers and retrievers each in a table of their own."""
    from isthmus.report.rank_table import print_rank_domains, print_rank_metrics
    from isthmus.report.terminal import print_domains, print_metrics

    console = Console()
    scored = {n: _split(one.metrics, split) for n, one in runs.items() if not one.of_items}
    ranked = {n: _split(one.rank_metrics, split) for n, one in runs.items() if one.of_items}
    if scored:
        print_metrics(scored, console)
    if ranked:
        print_rank_metrics(ranked, console)
    if domains:
        for name in runs:
            typer.echo(f"{name}, {split} rows:")
            if name in scored:
                print_domains(scored[name], console)
            else:
                print_rank_domains(ranked[name], console)


def _split(metrics: dict[str, Any], split: str) -> Any:
    if split not in metrics:
        raise ConfigError(f"no metrics of split {split!r}; there are: {', '.join(metrics)}")
    return metrics[split]
