"""All metrics of one model on one split, from its stored scores."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from isthmus.errors import MismatchError
from isthmus.evaluation.metrics import describe
from isthmus.evaluation.panel import Arm, Panel, domain_weights, weighted_variance
from isthmus.evaluation.predictions import Floats, Ints, Predictions
from isthmus.evaluation.ranking import Ranked
from isthmus.evaluation.types import Cluster, DomainMetrics, Interval, Metrics
from isthmus.evaluation.variance import Estimate, auc_interval

GROUPS = {"major5": (5, True), "minor10": (10, False), "minor5": (5, False)}


def evaluate(
    p: Predictions, *, sizes: Mapping[str, int] | None = None, cluster: Cluster = "user"
) -> Metrics:
    """Metrics overall, by domain, and as means over domains.

    ``sizes`` are training rows by domain name: they say which domains are the largest (``major5``)
    and smallest (``minor10``, ``minor5``); without them the rows of this split do, and a domain
    that ``sizes`` leaves out has none. ``cluster`` "user" widens intervals for rows of one user
    being alike; "row" takes all rows as independent.

    The order of the rows changes nothing, to the last bit. Raises ``MismatchError`` for ``sizes``
    of domains that the predictions do not have.
    """
    panel = Panel.of(p, cluster)
    score = panel.scores(p)
    arm = Arm.of_scores(panel, [score])
    by_domain = {}
    for d in panel.shown():
        rows = panel.rows(d)
        by_domain[panel.names[d]] = describe(
            arm.ranked[0][d], arm.influence[rows], panel.users(rows)
        )
    ranked = Ranked.of(panel.label, score)
    overall = describe(ranked, ranked.influence(), panel.user)
    means, reasons = _means(panel, arm, sizes)
    return Metrics(
        overall=overall,
        by_domain=by_domain,
        **means,
        undefined={**_undefined(overall, by_domain), **reasons},
        cluster=cluster,
    )


def _means(
    panel: Panel, arm: Arm, sizes: Mapping[str, int] | None
) -> tuple[dict[str, object], dict[str, str]]:
    """Means over the known domains with an AUC, and why those that are missing are missing."""
    auc, defined = arm.auc[0], ~np.isnan(arm.auc[0])
    known = np.flatnonzero(defined[1:]) + 1
    rows = np.diff(panel.bounds)
    values: dict[str, object] = {"macro_domains": len(known)}
    reasons = {}
    for name, (count, _) in GROUPS.items():
        chosen = group(name, known, sizes_of(panel, sizes))
        if chosen is not None:
            values[name] = float(np.average(auc[chosen], weights=rows[chosen]))
        else:
            reasons[name] = f"needs {count} domains with both classes, found {len(known)}"
    if not len(known):
        none = f"none of {len(panel.names) - 1} domains has rows of both classes"
        return values, reasons | dict.fromkeys(("domain_auc", "macro_auc", "worst_domain"), none)
    worst = int(known[np.argmin(auc[known])])
    interval = _domain_auc(panel, arm, defined)
    values |= {"domain_auc": interval.value, "domain_auc_interval": interval}
    values |= {"macro_auc": float(auc[known].mean())}
    values |= {"worst_domain": (panel.names[worst], float(auc[worst]))}
    return values, reasons


def _domain_auc(panel: Panel, arm: Arm, defined: npt.NDArray[np.bool_]) -> Interval:
    weights = domain_weights(panel, defined)
    variance, units = weighted_variance(panel, arm.influence, weights)
    value = float(np.where(defined, arm.auc[0], 0.0) @ weights)
    return auc_interval(Estimate(value, variance, max(units - 1, 1), units))


def group(name: str, known: Ints, sizes: Floats) -> Ints | None:
    """Which of the domains ``known`` one of ``GROUPS`` consists of; ``None`` if they are too few.

    Of domains of one size the first by id is the smaller.
    """
    count, largest = GROUPS[name]
    order = known[np.argsort(sizes[known], kind="stable")]
    chosen = order[-count:] if largest else order[:count]
    return chosen if len(chosen) == count else None


def sizes_of(panel: Panel, sizes: Mapping[str, int] | None) -> Floats:
    """Sizes [D + 1] by domain id: training rows where given, else rows of the panel."""
    if sizes is None:
        return np.diff(panel.bounds).astype(float)
    strange = sorted(set(sizes) - set(panel.names))
    if strange:
        raise MismatchError(
            f"sizes of unknown domains {strange[:5]}; expected names among the "
            f"{len(panel.names) - 1} domains of the predictions, such as {panel.names[1:4]}"
        )
    return np.array([sizes.get(name, 0) for name in panel.names], dtype=float)


def _undefined(overall: DomainMetrics, by_domain: Mapping[str, DomainMetrics]) -> dict[str, str]:
    reasons = {
        name: overall.reason
        for name in ("auc", "logloss", "ece", "calibration_ratio")
        if getattr(overall, name) is None
    }
    return reasons | {name: m.reason for name, m in by_domain.items() if m.reason}
