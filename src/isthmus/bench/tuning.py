"""``isthmus tune``: training settings for every entry, with equal budget, on validation rows alone."""

import time
from collections.abc import Sequence
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.bench.config import BenchConfig, Entry
from isthmus.bench.pool import Failure, done
from isthmus.bench.rows import TRIALS, Row, read_rows, write_rows
from isthmus.data.prepared import Prepared
from isthmus.errors import ConfigError, TrainingError
from isthmus.experiment import metric_of, run
from isthmus.files import canonical, digest_of, remove
from isthmus.grid import SEARCHED, Point, TuneConfig, points
from isthmus.progress import Reporter, quiet
from isthmus.store import Run, Store

if TYPE_CHECKING:
    from optuna import Study

FOLDER = "tuning"
"""Where under the runs the studies lie, and the runs of trials that are under way."""


def tune(
    config: BenchConfig,
    runs: Path,
    results: Path,
    *,
    entries: Sequence[Entry] | None = None,
    workers: int | None = None,
    reporter: Reporter = quiet,
) -> tuple[list[Row], dict[str, str]]:
    """Try what has not been tried; returns all rows, and the trials that failed with the reason.

    Rows of an entry that was tried under other settings or another grid are dropped. Each trial is
    in the study (``runs/tuning/NAME.journal``) and in ``results`` as soon as it has ended; what is
    in only one of them, after a kill or on another machine, is brought to the other.
    """
    tuning = _needed(config)
    entries = config.entries if entries is None else entries
    # A reference has none of these settings: every trial would be the same run.
    entries = [entry for entry in entries if not config.config(entry, 0).is_reference]
    studies = {entry.label: config.study(entry) for entry in config.entries}
    rows = read_rows(results)
    kept = [row for row in rows if studies.get(row["label"], row["study"]) == row["study"]]
    if len(kept) < len(rows):
        reporter.note(f"{len(rows) - len(kept)} trials were of other settings, and are dropped")
    for entry in entries:
        kept = _merged(config, runs, entry, kept)
    tried = {(row["label"], int(row["trial"])) for row in kept}
    jobs = [(entry, number) for number in range(tuning.trials) for entry in entries]
    missing = [(entry, number) for entry, number in jobs if (entry.label, number) not in tried]
    failed = {}
    _write(results, kept)
    with reporter.task(f"{config.name}: trials", len(jobs)) as advance:
        advance(len(jobs) - len(missing))
        work = partial(_trial, config, runs)
        waves = _waves(tuning, missing)
        finished = (done(work, wave, workers or config.workers) for wave in waves)
        for (entry, number), row in chain.from_iterable(finished):
            if isinstance(row, Failure):
                failed[f"{entry.label} trial {number}"] = row.reason
            else:
                kept.append(row)
                _write(results, kept)
                reporter.note(f"{entry.label} trial {number}: {row['metric']} {row['valid']}")
            advance(1)
    return kept, failed


def best(config: BenchConfig, entry: Entry, rows: Sequence[Row]) -> tuple[Point, int]:
    """The settings of an entry's best trial, and how many trials it had: none, and 0, without any.

    Ties go to the earlier trial. Trials of other settings, or under another grid, do not count.
    """
    if config.tune is None:
        return {}, 0
    study = config.study(entry)
    own = [row for row in rows if row["label"] == entry.label and row["study"] == study]
    scored = sorted((row for row in own if row["valid"]), key=lambda row: int(row["trial"]))
    if not scored:
        return {}, 0
    return _point(max(scored, key=lambda row: float(row["valid"]))), len(own)


def training_rows(data: str, most: int | None) -> int:
    """How many rows a run is trained on."""
    train = Prepared.open(data, verify=False).manifest.splits["train"]
    rows = sum(count.rows for count in train.values())
    return rows if most is None else min(most, rows)


def _waves(tuning: TuneConfig, jobs: list[tuple[Entry, int]]) -> list[list[tuple[Entry, int]]]:
    """Jobs that may run side by side: one that learns waits for its entry's trials before it.

    So no figure depends on the number of workers, and no two of them try the same.
    """
    if tuning.sampler == "grid":
        return [jobs]
    numbers = groupby(jobs, key=lambda job: max(job[1], tuning.trials // 2 - 1))
    return [list(wave) for _, wave in numbers]


def _trial(config: BenchConfig, runs: Path, job: tuple[Entry, int]) -> Row:
    """One trial: trained, scored on the validation rows, and kept in the study."""
    entry, number = job
    study = _study(config, runs, entry)
    point = _next(config, entry, number, study)
    name = f"{config.study(entry)}-{number}-{digest_of(canonical(point)).sha256[:8]}"
    wanted = config.trial(entry, point, name)
    store, started, note = Store(runs / FOLDER / config.name), time.process_time(), ""
    value, epochs = None, 0
    try:
        kept = run(wanted, store, splits=("valid",))
        value = _valid(kept, wanted.train.metric)
        epochs = len(kept.manifest.scores)
    except TrainingError as error:  # it diverged: that is a finding about these settings
        note = " ".join(str(error).split())
    row = {
        "data": config.name,
        "label": entry.label,
        "study": config.study(entry),
        "trial": str(number),
        **{key: repr(value) for key, value in point.items()},
        "metric": wanted.train.metric,
        "valid": "" if value is None else f"{value:.6f}",
        "epochs": str(epochs),
        "rows": str(training_rows(config.data, wanted.train.max_rows)),
        "cpu_seconds": f"{time.process_time() - started:.0f}",
        "note": note,
    }
    _add(study, row, config)
    remove(store.root / name)
    return row


def _valid(kept: Run, metric: str) -> float:
    if kept.of_items:
        return kept.manifest.scores[int(np.argmax(kept.manifest.scores))]
    return metric_of(kept.metrics["valid"], metric)


def _next(config: BenchConfig, entry: Entry, number: int, study: "Study") -> Point:
    """What a trial tries: by its number alone, or learned from those that are in the study."""
    assert config.tune is not None
    own = config.own(entry)
    planned, half = list(points(config.tune, own)), config.tune.trials // 2
    known = sorted(study.trials, key=lambda trial: int(trial.user_attrs["trial"]))
    if config.tune.sampler == "grid" or number < half or not known:
        return planned[number]
    optuna = _optuna()
    sampler = optuna.samplers.TPESampler(seed=config.tune.seed + number, n_startup_trials=1)
    model = optuna.create_study(direction="maximize", sampler=sampler)
    model.add_trials(known)
    suggested = {**own, **model.ask(_distributions(config, own)).params}
    tried = [*planned[:half], *({**own, **trial.params} for trial in known)]
    untried = [point for point in planned if point not in tried]
    return suggested if suggested in untried else untried[0]


def _study(config: BenchConfig, runs: Path, entry: Entry) -> "Study":
    optuna = _optuna()
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    folder = runs / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    found: Study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(folder / f"{config.name}.journal"))),
        study_name=f"{entry.label} {config.study(entry)}",
        direction="maximize",
        load_if_exists=True,
    )
    return found


def _merged(config: BenchConfig, runs: Path, entry: Entry, rows: list[Row]) -> list[Row]:
    """The rows, with those that only the study has; the study gets those that only the rows have."""
    study = _study(config, runs, entry)
    stored = [dict(trial.user_attrs["row"]) for trial in study.trials]
    own = {row["trial"] for row in rows if row["label"] == entry.label}
    there = {row["trial"] for row in stored}
    for row in rows:
        if row["label"] == entry.label and row["trial"] not in there:
            _add(study, row, config)
    return rows + [row for row in stored if row["trial"] not in own]


def _add(study: "Study", row: Row, config: BenchConfig) -> None:
    optuna = _optuna()
    entry = next(e for e in config.entries if e.label == row["label"])
    distributions = _distributions(config, config.own(entry))
    point = _point(row)
    trial = optuna.trial.create_trial(
        state=optuna.trial.TrialState.COMPLETE if row["valid"] else optuna.trial.TrialState.FAIL,
        value=float(row["valid"]) if row["valid"] else None,
        params={name: point[name] for name in distributions},
        distributions=distributions,
        user_attrs={"trial": int(row["trial"]), "row": row},
    )
    study.add_trial(trial)


def _distributions(config: BenchConfig, own: Point) -> dict[str, Any]:
    """The values of every axis of the grid, and the entry's own."""
    assert config.tune is not None
    categorical = _optuna().distributions.CategoricalDistribution
    axes = config.tune.grid.axes()
    return {name: categorical(sorted({*axes[name], own[name]})) for name in axes}


def _point(row: Row) -> Point:
    return {k: int(row[k]) if k == "batch_size" else float(row[k]) for k in SEARCHED}


def _write(results: Path, rows: list[Row]) -> None:
    rows.sort(key=lambda row: (row["label"], int(row["trial"])))
    write_rows(results, rows, TRIALS)


def _needed(config: BenchConfig) -> TuneConfig:
    if config.tune is None:
        raise ConfigError(
            f"{config.name} has no [tune] table; give it trials, max_epochs and a grid, such as "
            "grid = {lr = [3e-4, 1e-3, 3e-3], batch_size = [512, 1024]}"
        )
    _optuna()
    return config.tune


def _optuna() -> ModuleType:
    try:
        import optuna
    except ImportError:
        raise ConfigError(
            "isthmus tune needs Optuna, which is not installed; pip install 'isthmus[tune]'"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
