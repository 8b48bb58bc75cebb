"""The trainings of a transfer map: of all domains, watched, and those that leave groups out."""

from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np

from isthmus import models
from isthmus.config import RunConfig
from isthmus.data.feed import Feed, Rows, thinned
from isthmus.data.prepared import Prepared
from isthmus.evaluation.left_out import Booleans
from isthmus.evaluation.predictions import Floats
from isthmus.experiment import run
from isthmus.models import Model, Ranker, Retriever
from isthmus.models.mamdr import Mamdr
from isthmus.next_item import training_rows
from isthmus.progress import Reporter
from isthmus.store import Run, Store
from isthmus.training.affinity import Affinity
from isthmus.transfer.grouping import Groups

Metric = Literal["auc", "logloss", "ndcg@10"]
TITLES: dict[Metric, str] = {"auc": "AUC", "logloss": "log loss", "ndcg@10": "NDCG@10"}


def watched(
    config: RunConfig, store: Store, prepared: Prepared, reporter: Reporter
) -> tuple[Run, Affinity | None]:
    """The run of all domains, and the products of their gradients after each of its epochs.

    Where the run (or the beginning of it) is in the store already, it is trained once more, aside.
    ``None`` for what learns without gradients.
    """
    watch = None if config.is_reference else _watch(config, prepared)
    if watch is None:
        return run(config, store, reporter=reporter), None
    whole = run(config, store, on_epoch=watch, reporter=reporter)
    if len(watch.products) < len(whole.manifest.scores):
        reporter.note("the run was trained before: once more, to look at its gradients")
        watch.products.clear()
        with TemporaryDirectory() as folder:
            run(config, Store(folder), splits=(), on_epoch=watch, reporter=reporter)
    return whole, watch


def _watch(config: RunConfig, prepared: Prepared) -> Affinity | None:
    kind, settings = models.get(config.model), config.model_settings()
    twin: Model
    if config.scope == "mamdr":
        assert issubclass(kind, Ranker)
        twin = Mamdr(settings, prepared.schema, kind, config.mamdr)
    else:
        twin = kind(settings, prepared.schema)
    if next(twin.parameters(), None) is None:
        return None
    most, seed = config.train.max_rows, config.seed
    rows: Rows
    if issubclass(kind, Retriever):
        rows = thinned(training_rows(kind, prepared), most, seed)
    else:
        rows = thinned(prepared.impressions("train"), most, seed)
    return Affinity(twin, Feed(rows, batch_size=config.train.batch_size, seed=config.seed))


def left_out_scores(
    config: RunConfig,
    store: Store,
    groups: Groups,
    out_NG: Booleans,
    metric: Metric,
    *,
    reporter: Reporter,
) -> Floats:
    """The validation score of each group in each run of a design: [N, G], NaN where it was left out.

    Run n has the seed of ``config`` plus n: effects are over seeds too, and their errors say so.
    """
    members = list(groups.values())
    score_NG = np.full(out_NG.shape, np.nan)
    with reporter.task("leaving out: runs", len(out_NG)) as advance:
        for n, out_G in enumerate(out_NG):
            gone = [name for g in np.flatnonzero(out_G) for name in members[g]]
            # by chance a run may leave out none: with a seed of its own it tells of the noise
            part = {"seed": config.seed + n, "without": tuple(gone), "name": None}
            asked = config.model_copy(update=part) if n else config
            one = run(asked, store, splits=("valid",), reporter=reporter)
            for g in np.flatnonzero(~out_G):
                score_NG[n, g] = _score(one, members[g], metric)
            advance(1)
    return score_NG


def _score(one: Run, names: Sequence[str], metric: Metric) -> float:
    """The mean over a group's domains that have the metric, by their rows; NaN without any."""
    known = [found for name in names if (found := _of_domain(one, name, metric)) is not None]
    if not known:
        return float("nan")
    values, rows = zip(*known, strict=True)
    return float(np.average(values, weights=rows))


def _of_domain(one: Run, name: str, metric: Metric) -> tuple[float, int] | None:
    """(score, rows) of a domain's validation rows; the higher, the better."""
    if metric == "ndcg@10":
        figures = one.rank_metrics["valid"].primary.by_domain.get(name)
        value = figures.values.get(metric) if figures else None
        return (value.value, figures.rows) if figures and value else None
    found = one.metrics["valid"].by_domain.get(name)
    if found is None:
        return None
    if metric == "logloss":
        return (-found.logloss, found.rows) if found.logloss is not None else None
    return (found.auc.value, found.rows) if found.auc else None
