"""From a run to its transfer map."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from isthmus.clustering import Clusters
from isthmus.config import RunConfig
from isthmus.data.prepared import Prepared
from isthmus.errors import ConfigError
from isthmus.evaluation.left_out import Booleans, design, effects
from isthmus.evaluation.predictions import Floats
from isthmus.evaluation.transfer import SURE, WAYS, TransferMap, Way, WayMap, agreements, matrix
from isthmus.experiment import run, train_rows
from isthmus.progress import Reporter, quiet
from isthmus.report.data import ReportData
from isthmus.sharing import mask_tables, report_data
from isthmus.store import Run, Store
from isthmus.toml import told
from isthmus.training.affinity import Affinity, cosines
from isthmus.transfer.grouping import Asked, Groups, alike, given, number_of_groups, shares
from isthmus.transfer.runs import TITLES, Metric, left_out_scores, watched
from isthmus.transfer.words import protocol

BUDGET = 16
"""Trainings, the whole one among them, unless it is said otherwise."""
_LACK: dict[Way, str] = {
    "left_out": "is left out of nothing",
    "gradients": "learns without gradients",
    "masks": "has no masks that differ between domains",
}
_ALIKE = 1e-9
"""Masks whose overlaps vary by less, as before the first search, say nothing of domains."""


def transfer(
    config: RunConfig,
    store: Store,
    *,
    budget: int = BUDGET,
    groups: Asked = None,
    ways: Sequence[Way] = WAYS,
    reporter: Reporter = quiet,
) -> ReportData:
    """The report of the run, with its transfer map: see ``transfer_map`` for what is asked."""
    found = transfer_map(config, store, budget=budget, groups=groups, ways=ways, reporter=reporter)
    whole = run(config, store, reporter=reporter)
    source = Prepared.open(Path(config.data), verify=False).manifest.source
    return report_data([whole], source=source).model_copy(update={"transfer": found})


def transfer_map(
    config: RunConfig,
    store: Store,
    *,
    budget: int = BUDGET,
    groups: Asked = None,
    ways: Sequence[Way] = WAYS,
    metric: Metric | None = None,
    reporter: Reporter = quiet,
) -> TransferMap:
    """Measure what each group of domains gives to each other one, on validation rows alone.

    Args:
        budget: trainings to leave groups out in, the run itself among them. One that is in the
            store is not done again; where the run itself is, gradients want one more.
        groups: into how many groups domains are put by the likeness of their gradients, or the
            groups themselves. By default each domain is one, unless there are more than the budget
            can tell apart.
        ways: which to measure, of those that the model has.
        metric: what left-out effects are of; by default AUC, of retrievers NDCG@10.

    Raises:
        ConfigError: the run is of isolated models, or budget and groups do not fit.
    """
    if config.scope == "isolated":
        raise ConfigError(
            "nothing is transferred between isolated models; give a run with scope = 'joint'"
        )
    prepared = Prepared.open(Path(config.data))
    sizes = {name: rows for name, rows in train_rows(prepared).items() if rows}
    count = number_of_groups(groups, len(sizes), budget if "left_out" in ways else None)
    if "gradients" in ways or (isinstance(groups, int | None) and count < len(sizes)):
        whole, watch = watched(config, store, prepared, reporter)
    else:
        whole, watch = run(config, store, reporter=reporter), None
    product_EDD = _products(watch, prepared.schema.domains, list(sizes))
    grouped = _grouped(groups, count, sizes, product_EDD, config)
    share_GD = shares(grouped, sizes)
    metric = metric or ("ndcg@10" if prepared.of_events else "auc")
    found: dict[Way, WayMap | None] = {}
    facts: dict[str, Any] = {}
    if "left_out" in ways:
        out_NG = design(len(grouped), budget, seed=config.seed)
        score_NG = left_out_scores(config, store, grouped, out_NG, metric, reporter=reporter)
        found["left_out"], facts = _by_leaving_out(out_NG, score_NG, TITLES[metric])
    if "gradients" in ways:
        found["gradients"] = _by_gradients(product_EDD, share_GD)
    if "masks" in ways:
        found["masks"] = _by_masks(whole, sizes, share_GD)
    measured = {way: one for way, one in found.items() if one is not None}
    made = TransferMap(
        groups=grouped,
        ways=measured,
        absent={way: f"{config.model} {_LACK[way]}" for way in found if way not in measured},
        agreement=agreements(measured, seed=config.seed),
        metric=TITLES[metric],
        model=config.model,
        data=prepared.manifest.name,
        **facts,
    )
    said = protocol(made, groups_given=isinstance(groups, Clusters))
    return made.model_copy(update={"protocol": said})


def read(path: Path) -> TransferMap:
    """The map in a report's JSON, as ``isthmus transfer`` writes it.

    Raises:
        ConfigError: there is no such file, it is no report, or it has no map.
    """
    try:
        found = ReportData.model_validate_json(path.read_bytes()).transfer
    except OSError as error:
        raise ConfigError(
            f"--transfer {path}: {error.strerror}; `isthmus transfer RUN.toml` makes one"
        ) from None
    except ValidationError as error:
        raise ConfigError(f"--transfer {path}: not a report's JSON: {told(error)}") from None
    if found is None:
        raise ConfigError(
            f"--transfer {path}: this report has no transfer map; give the JSON that "
            "`isthmus transfer` wrote"
        )
    return found


def _grouped(
    asked: Asked, count: int, sizes: Mapping[str, int], product_EDD: Floats, config: RunConfig
) -> Groups:
    if isinstance(asked, Clusters):
        return given(asked, sizes)
    if count < len(sizes) and not len(product_EDD):
        raise ConfigError(
            f"{config.model} {_LACK['gradients']}, by whose likeness {len(sizes)} domains could be "
            f"put into {count} groups; give --groups FILE (`isthmus cluster` makes one), or a larger "
            "--budget"
        )
    cosine_DD = np.zeros((len(sizes), len(sizes)))
    if len(product_EDD):
        each = np.eye(len(sizes))
        cosine_DD = np.mean([cosines(one, each) for one in product_EDD], axis=0)
    return alike(cosine_DD, sizes, count, config.seed)


def _products(watch: Affinity | None, domains: Sequence[str], names: list[str]) -> Floats:
    """Products of the gradients of all domains with training rows, [E, D, D]; no epoch: there are none."""
    if watch is None:
        return np.zeros((0, len(names), len(names)))
    places = np.array([names.index(domains[domain - 1]) for domain in watch.domains])
    product_EDD = np.zeros((len(watch.products), len(names), len(names)))
    for epoch, products in enumerate(watch.products):
        product_EDD[epoch][np.ix_(places, places)] = products
    return product_EDD


def _by_leaving_out(
    out_NG: Booleans, score_NG: Floats, title: str
) -> tuple[WayMap, dict[str, Any]]:
    """The map, and what is said of its runs."""
    found = effects(out_NG, score_NG)
    made = WayMap(
        effect=matrix(found.effect),
        error=matrix(found.error),
        unit=f"{title} of the target's validation rows, with the source's rows against without",
    )
    noise = matrix(found.noise[None])[0]
    known = found.error[np.isfinite(found.error)]
    resolved = SURE * float(np.median(known)) if len(known) else None
    return made, {"runs": len(out_NG), "noise": noise, "resolved": resolved}


def _by_gradients(product_EDD: Floats, share_GD: Floats) -> WayMap | None:
    if not len(product_EDD):
        return None
    cosine_EGG = np.stack([cosines(products, share_GD) for products in product_EDD])
    epochs = len(cosine_EGG)
    error = matrix(cosine_EGG.std(0, ddof=1) / math.sqrt(epochs)) if epochs > 1 else ()
    return WayMap(
        effect=matrix(cosine_EGG.mean(0)),
        error=error,
        unit="cosine of the groups' gradients, mean over epochs",
    )


def _by_masks(whole: Run, sizes: Mapping[str, int], share_GD: Floats) -> WayMap | None:
    found = mask_tables(whole)
    if found is None or not found.overlap:
        return None
    places = [found.domains.index(name) for name in sizes]
    overlap_DD = np.asarray(found.overlap)[np.ix_(places, places)]
    if np.ptp(overlap_DD) < _ALIKE:
        return None
    overlap_GG = share_GD @ overlap_DD @ share_GD.T
    np.fill_diagonal(overlap_GG, np.nan)
    return WayMap(effect=matrix(overlap_GG), unit="share of mask edges in common")
