"""``isthmus bench``: models x seeds on one data set, resumable, one row a finished run."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from isthmus.bench.config import SEARCHED, BenchConfig, Entry, Point
from isthmus.bench.pairs import pairs
from isthmus.bench.pool import Failure, done
from isthmus.bench.rows import (
    DOMAINS,
    METRICS,
    PAIRS,
    RANK_DOMAINS,
    RANKED,
    Row,
    beside,
    by_entry,
    of_items,
    read_rows,
    write_rows,
)
from isthmus.bench.tuning import best, training_rows
from isthmus.config import RunConfig
from isthmus.costs import parameters
from isthmus.data.prepared import Prepared
from isthmus.errors import IsthmusError
from isthmus.evaluation import DomainMetrics, Interval, Metrics, RankFigures
from isthmus.experiment import default_name, run
from isthmus.files import remove
from isthmus.progress import Reporter, quiet
from isthmus.store import Run, Store


@dataclass(frozen=True, slots=True)
class Choice:
    """What of a benchmark is to be run, and how.

    What has no row is run. ``changed``: also what has a row of other settings (the benchmark's, or
    those that were found for it) than it would be run with now. ``again``: labels whose runs are
    thrown away and made anew. A row stays until the one that replaces it is there.
    """

    only: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    again: tuple[str, ...] = ()
    changed: bool = False
    workers: int | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One run: an entry and a seed, the settings found for it in so many trials."""

    entry: Entry
    seed: int
    found: Point
    trials: int
    again: bool

    @property
    def key(self) -> tuple[str, int]:
        return self.entry.label, self.seed


def bench(
    config: BenchConfig,
    store: Store,
    results: Path,
    *,
    choice: Choice = Choice(),
    reporter: Reporter = quiet,
) -> tuple[list[Row], dict[str, str]]:
    """Run what is chosen; returns all rows, and the runs that failed with the reason.

    Beside ``results`` (NAME.csv, one row a run) lie NAME.domains.csv (one row a run and domain),
    NAME.pairs.csv (tests against the best) and NAME.tuning.csv (read: what ``tune`` found). All
    are written as soon as a run ends: what was stopped goes on from there, an unfinished run from
    its last epoch.
    """
    rows, domains = read_rows(results), read_rows(beside(results, "domains"))
    jobs = _jobs(config, beside(results, "tuning"), choice, reporter)
    due = _due(config, jobs, rows, choice, reporter)
    failed: dict[str, str] = {}
    with reporter.task(f"{config.name}: runs", len(jobs)) as advance:
        advance(len(jobs) - len(due))
        work = partial(_one, config, store)
        for count, (job, made) in enumerate(done(work, due, choice.workers or config.workers), 1):
            label, seed = job.key
            place = f"{count} of {len(due)}: {label} seed {seed}"
            if isinstance(made, Failure):
                failed[f"{label} seed {seed}"] = made.reason
                reporter.note(f"{place} failed: {made.reason}")
            else:
                rows = _replaced(rows, job, [made[0]])
                domains = _replaced(domains, job, made[1])
                write_rows(results, rows)
                ranked = of_items(domains)
                write_rows(beside(results, "domains"), domains, RANK_DOMAINS if ranked else DOMAINS)
                main, title = (RANKED[0], "NDCG@10") if ranked else ("domain_auc", "DomainAUC")
                reporter.note(f"{place}: {title} {made[0][main]}")
            advance(1)
    tests = beside(results, "pairs")
    if rows and (len(failed) < len(due) or not tests.exists()):
        _test(config, store, rows, tests, reporter)
    return rows, failed


def _jobs(config: BenchConfig, tuning: Path, choice: Choice, reporter: Reporter) -> list[Job]:
    """All runs that are chosen, seed by seed, so that a stopped benchmark compares like with like."""
    trials = read_rows(tuning)
    config.chosen(choice.again)
    jobs = []
    for entry in config.chosen(choice.only):
        found, tried = best(config, entry, trials)
        if config.tune is not None and tried < config.tune.trials:
            others = any(row["label"] == entry.label for row in trials) and not tried
            told = f"tuned with {tried} of {config.tune.trials} trials" if tried else "not tuned"
            why = " (its trials are of other settings or of another grid)" if others else ""
            reporter.note(f"{entry.label} is {told}{why}; `isthmus tune` does what is missing")
        for seed in choice.seeds or config.seeds:
            jobs.append(Job(entry, seed, found, tried, entry.label in choice.again))
    return sorted(jobs, key=lambda job: job.seed)


def _due(
    config: BenchConfig, jobs: list[Job], rows: list[Row], choice: Choice, reporter: Reporter
) -> list[Job]:
    """Of these runs the ones without a row, with one to be replaced, or to be made again."""
    known = {(row["label"], int(row["seed"])): row["run"] for row in rows}
    expected = _names(config, [job for job in jobs if job.key in known])
    changed = [key for key, name in expected.items() if known[key] != name]
    if changed and not choice.changed:
        labels = ", ".join(sorted({label for label, _ in changed}))
        reporter.note(f"rows of other settings stay: {labels} (--changed runs them anew)")
    anew = set(changed) if choice.changed else set()
    return [job for job in jobs if job.key not in known or job.key in anew or job.again]


def _names(config: BenchConfig, jobs: list[Job]) -> dict[tuple[str, int], str]:
    prepared = Prepared.open(config.data, verify=False) if jobs else None
    return {job.key: default_name(_config(config, job), prepared) for job in jobs if prepared}


def _config(config: BenchConfig, job: Job) -> RunConfig:
    return config.config(job.entry, job.seed, job.found)


def _replaced(rows: list[Row], job: Job, made: list[Row]) -> list[Row]:
    others = [row for row in rows if (row["label"], int(row["seed"])) != job.key]
    return sorted([*others, *made], key=lambda row: (row["label"], int(row["seed"])))


def _one(config: BenchConfig, store: Store, job: Job) -> tuple[Row, list[Row]]:
    wanted = _config(config, job)
    if job.again:
        _forget(store, default_name(wanted, Prepared.open(config.data, verify=False)))
    kept = run(wanted, store)
    row = _row(config, job, kept)
    return row, _domains(config, job, kept)


def _forget(store: Store, name: str) -> None:
    """Throw a finished run away; one that was stopped is what is being made again, and goes on."""
    if name not in store.names():
        return
    kept = Run.open(store.root / name, check=False)
    if kept.finished:
        with kept.lock():
            pass  # nobody is reading it to go on with it
        remove(kept.path)


def _row(config: BenchConfig, job: Job, kept: Run) -> Row:
    entry, wanted = job.entry, _config(config, job)
    train = wanted.train
    scores = kept.manifest.scores
    rows = training_rows(config.data, train.max_rows)
    seconds = kept.cpu_seconds
    counted = entry.scope != "isolated" and not wanted.is_reference
    speed = rows * len(scores) / seconds if counted and seconds else None
    return {
        "data": config.name,
        "label": entry.label,
        "model": entry.model,
        "scope": entry.scope,
        "seed": str(job.seed),
        **(_of_ranks(kept) if kept.of_items else _of_scores(kept)),
        "epochs": str(len(scores)),
        "best_epoch": str(1 + int(np.argmax(scores))),
        "parameters": str(parameters(kept.model_state())),
        **{name: repr(getattr(train, name)) for name in SEARCHED},
        "trials": str(job.trials),
        "train_rows": str(rows),
        "cpu_seconds": f"{seconds:.1f}",
        "train_rows_per_cpu_s": "" if speed is None else f"{speed:.0f}",
        "run": kept.name,
    }


def _of_scores(kept: Run) -> Row:
    found, valid = kept.metrics["test"], kept.metrics["valid"]
    values = {
        **_figures(found),
        "valid_auc": valid.overall.auc.value if valid.overall.auc else None,
        "valid_domain_auc": valid.domain_auc,
        "valid_logloss": valid.overall.logloss,
    }
    return _written(values) | {"worst_domain": found.worst_domain[0] if found.worst_domain else ""}


def _of_ranks(kept: Run) -> Row:
    found, valid = kept.rank_metrics["test"], kept.rank_metrics["valid"]
    first, ndcg = found.primary, RANKED[0]
    places: dict[str, tuple[Mapping[str, Interval], str]] = {
        **{name: (first.weighted, name) for name in RANKED[:3]},
        f"macro_{ndcg}": (first.macro, ndcg),
        f"repeat_{ndcg}": (first.repeats.values, ndcg),
        f"new_{ndcg}": (first.new.values, ndcg),
        f"all_{ndcg}": (found.protocols["all"].weighted, ndcg),
        f"sampled_{ndcg}": (found.protocols["sampled"].weighted, ndcg),
        f"valid_{ndcg}": (valid.primary.weighted, ndcg),
    }
    values = {
        name: of[metric].value if metric in of else None for name, (of, metric) in places.items()
    }
    return _written(values) | {"cold": str(first.overall.cold)}


def _written(values: Mapping[str, float | None]) -> Row:
    return {name: "" if value is None else f"{value:.6f}" for name, value in values.items()}


def _domains(config: BenchConfig, job: Job, kept: Run) -> list[Row]:
    own = {"data": config.name, "label": job.entry.label, "seed": str(job.seed)}
    if kept.of_items:
        ranked = kept.rank_metrics["test"].primary.by_domain
        return [{**own, "domain": name, **_domain_ranks(of)} for name, of in ranked.items()]
    scored = kept.metrics["test"].by_domain
    return [{**own, "domain": name, **_domain_scores(of)} for name, of in scored.items()]


def _domain_ranks(found: RankFigures) -> Row:
    names = ("hr@10", "ndcg@10")
    values = {name: found.values[name].value if name in found.values else None for name in names}
    return {"rows": str(found.rows), "cold": str(found.cold), **_written(values)}


def _domain_scores(found: DomainMetrics) -> Row:
    auc = _written({"auc": found.auc.value if found.auc else None})
    return {"rows": str(found.rows), "positives": str(found.positives), **auc}


def _figures(found: Metrics) -> dict[str, float | None]:
    return {
        "auc": found.overall.auc.value if found.overall.auc else None,
        **{name: getattr(found, name) for name in METRICS if hasattr(found, name)},
        "worst_auc": found.worst_domain[1] if found.worst_domain else None,
        "logloss": found.overall.logloss,
        "ece": found.overall.ece,
    }


def _test(
    config: BenchConfig, store: Store, rows: list[Row], place: Path, reporter: Reporter
) -> None:
    """Write the tests against the best; where a row's run is not here, those of before stay."""
    try:
        found = pairs(config, store, by_entry(rows), reporter=reporter)
    except IsthmusError as error:
        reporter.note(f"{place.name} stays as it is: {error}")
        return
    write_rows(place, found, PAIRS)
