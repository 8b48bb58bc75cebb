"""A benchmark: models x seeds on one data set, resumable, one row a finished run in a CSV file."""

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from isthmus.bench.config import BenchConfig, Entry
from isthmus.bench.rows import METRICS, read_rows, write_rows
from isthmus.experiment import run
from isthmus.progress import Reporter, quiet
from isthmus.store import Run, Store


def bench(
    config: BenchConfig, store: Store, results: Path, *, reporter: Reporter = quiet
) -> list[dict[str, str]]:
    """Run what has no row in ``results`` yet, and return all rows; each is written when its run ends."""
    rows = read_rows(results)
    known = {(row["label"], int(row["seed"])) for row in rows}
    jobs = [(entry, seed) for seed in config.seeds for entry in config.entries]
    missing = [job for job in jobs if (job[0].label, job[1]) not in known]
    with reporter.task(f"{config.name}: runs", len(jobs)) as advance:
        advance(len(jobs) - len(missing))
        for row in _finished(config, store, missing):
            rows.append(row)
            rows.sort(key=lambda row: (row["label"], int(row["seed"])))
            write_rows(results, rows)
            reporter.note(f"{row['label']} seed {row['seed']}: DomainAUC {row['domain_auc']}")
            advance(1)
    return rows


def leaderboard(rows: Sequence[dict[str, str]], metrics: Sequence[str] = METRICS) -> str:
    """A Markdown table: mean and 95 % interval over seeds (Student's t), best DomainAUC first."""
    by_label: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        by_label.setdefault(row["label"], []).append(row)
    order = sorted(by_label, key=lambda label: -_mean(by_label[label], "domain_auc"))
    lines = [
        f"| model | seeds | {' | '.join(metrics)} | logloss | parameters | CPU-s |",
        f"|---|--:|{'--:|' * (len(metrics) + 3)}",
    ]
    for label in order:
        own = by_label[label]
        cells = [_interval(own, metric) for metric in (*metrics, "logloss")]
        parameters, seconds = f"{int(own[0]['parameters']):,}", f"{_mean(own, 'cpu_seconds'):.0f}"
        lines.append(f"| {label} | {len(own)} | {' | '.join(cells)} | {parameters} | {seconds} |")
    return "\n".join(lines) + "\n"


def _mean(rows: Sequence[dict[str, str]], column: str) -> float:
    return float(np.mean([float(row[column]) for row in rows]))


def _interval(rows: Sequence[dict[str, str]], column: str) -> str:
    values = [float(row[column]) for row in rows if row[column]]
    if not values:
        return "–"
    if len(values) == 1:
        return f"{values[0]:.4f}"
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return f"{np.mean(values):.4f} ± {half:.4f}"


def _finished(
    config: BenchConfig, store: Store, jobs: Sequence[tuple[Entry, int]]
) -> Iterator[dict[str, str]]:
    work = partial(_one, config, store)
    if config.workers == 1 or len(jobs) < 2:
        yield from map(work, jobs)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(config.workers, torch.set_num_threads, (1,), maxtasksperchild=1) as pool:
        yield from pool.imap_unordered(work, jobs)


def _one(config: BenchConfig, store: Store, job: tuple[Entry, int]) -> dict[str, str]:
    entry, seed = job
    started = time.process_time()
    kept = run(config.config(entry, seed), store)
    return _row(config.name, entry, seed, kept, time.process_time() - started)


def _row(data: str, entry: Entry, seed: int, kept: Run, seconds: float) -> dict[str, str]:
    found, scores = kept.metrics["test"], kept.manifest.scores
    worst = found.worst_domain
    values = {
        "auc": found.overall.auc.value if found.overall.auc else None,
        **{name: getattr(found, name) for name in METRICS if hasattr(found, name)},
        "worst_auc": worst[1] if worst else None,
        "logloss": found.overall.logloss,
        "ece": found.overall.ece,
    }
    state = kept.model_state()
    return {
        "data": data,
        "label": entry.label,
        "model": entry.model,
        "scope": entry.scope,
        "seed": str(seed),
        **{name: "" if value is None else f"{value:.6f}" for name, value in values.items()},
        "worst_domain": worst[0] if worst else "",
        "epochs": str(len(scores)),
        "best_epoch": str(1 + int(np.argmax(scores))),
        "parameters": str(sum(v.numel() for v in state.values() if v.is_floating_point())),
        "cpu_seconds": f"{seconds:.0f}",
        "run": kept.name,
    }
