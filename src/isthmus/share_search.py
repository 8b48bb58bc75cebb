"""Equal tuning for a sharing report: every arm gets as many trials, on validation rows alone."""

from collections.abc import Mapping

from isthmus import models
from isthmus.bench.config import BenchConfig, Entry
from isthmus.bench.rows import Row
from isthmus.bench.tuning import best, tune
from isthmus.config import RunConfig
from isthmus.data.prepared import Prepared
from isthmus.errors import TrainingError
from isthmus.grid import Point
from isthmus.models.counted import Counted
from isthmus.progress import Reporter, quiet
from isthmus.report.data import Tuned
from isthmus.store import Store


def arms_of(config: RunConfig) -> dict[str, RunConfig]:
    """The runs that a sharing report compares, by their part: "joint", "isolated", maybe "shared"."""
    parts = {"joint": config, "isolated": config.rival(config.share.isolated, "isolated")}
    if config.share.shared is not None:
        parts["shared"] = config.rival(config.share.shared, "joint")
    return parts


def search(
    config: RunConfig, store: Store, *, reporter: Reporter = quiet
) -> tuple[dict[str, Point], tuple[Tuned, ...]]:
    """Settings of training found for each part by ``share.tune``, and how; nothing without it.

    A part that has no such settings (trees, counts) is told of with no trials.

    Raises:
        TrainingError: a trial failed for another reason than that it diverged.
    """
    if config.share.tune is None:
        return {}, ()
    parts = arms_of(config)
    bench = _as_bench(config, {part: one for part, one in parts.items() if _learns(one)})
    results = store.root / "tuning" / f"{bench.name}.csv"
    rows, failed = tune(bench, store.root, results, workers=config.share.workers, reporter=reporter)
    if failed:
        said = "; ".join(f"{what}: {why}" for what, why in failed.items())
        raise TrainingError(f"{said}. The same command again tries what is missing")
    entries = {entry.label: entry for entry in bench.entries}
    found, told = {}, []
    for part, one in parts.items():
        entry = entries.get(_label(part, one))
        if entry is None:
            told.append(Tuned(part=part, model=one.model, metric=one.train.metric))
            continue
        found[part] = best(bench, entry, rows)[0]
        told.append(_told(part, bench, entry, rows))
    return found, tuple(told)


def _learns(one: RunConfig) -> bool:
    return not one.is_reference and not issubclass(models.get(one.model), Counted)


def _label(part: str, one: RunConfig) -> str:
    return f"{part} {one.model}"


def _as_bench(config: RunConfig, parts: Mapping[str, RunConfig]) -> BenchConfig:
    """The parts as entries of a benchmark, known by the data's content."""
    prepared = Prepared.open(config.data, verify=False)
    changes = {"isolated": config.share.isolated.train}
    if config.share.shared is not None:
        changes["shared"] = config.share.shared.train
    entries = tuple(
        Entry(
            label=_label(part, one),
            model=one.model,
            scope=one.scope,
            settings=one.settings,
            train=changes.get(part, {}),
            mamdr=one.mamdr.model_dump(mode="json", exclude_defaults=True),
        )
        for part, one in parts.items()
    )
    return BenchConfig(
        name=f"share-{prepared.manifest.name}-{prepared.digest[:8]}",
        data=config.data,
        entries=entries,
        seeds=config.share.seeds,
        train=config.train.model_dump(mode="json", exclude_defaults=True),
        tune=config.share.tune,
    )


def _told(part: str, bench: BenchConfig, entry: Entry, rows: list[Row]) -> Tuned:
    assert bench.tune is not None
    study = bench.study(entry)
    own = [row for row in rows if row["label"] == entry.label and row["study"] == study]
    point, trials = best(bench, entry, rows)
    scores = {int(row["trial"]): float(row["valid"]) for row in own if row["valid"]}
    searched = bench.tune.grid.axes()
    return Tuned(
        part=part,
        model=entry.model,
        metric=bench.config(entry, 0).train.metric,
        trials=trials,
        diverged=len(own) - len(scores),
        own={name: value for name, value in bench.own(entry).items() if name in searched},
        found={name: value for name, value in point.items() if name in searched},
        own_score=scores.get(0),
        score=max(scores.values(), default=None),
    )
