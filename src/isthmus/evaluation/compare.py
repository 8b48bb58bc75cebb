"""Paired comparison of two models, domain by domain, corrected for the number of domains."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isthmus.errors import DataError
from isthmus.evaluation.bootstrap import bootstrap_variances
from isthmus.evaluation.metrics import missing_class
from isthmus.evaluation.panel import Arm, Panel, domain_weights, weighted_variance
from isthmus.evaluation.predictions import Predictions
from isthmus.evaluation.protocol import protocol
from isthmus.evaluation.rules import Rules, decide, holm
from isthmus.evaluation.types import Comparison, DomainComparison, Verdict
from isthmus.evaluation.variance import (
    Estimate,
    clustered,
    detectable,
    difference_interval,
    over_seeds,
    p_value,
)


def compare(
    a: Sequence[Predictions],
    b: Sequence[Predictions],
    *,
    alpha: float | None = None,
    rules: Rules = Rules(),
) -> Comparison:
    """AUC of ``a`` minus AUC of ``b`` in each domain, on the same rows; one entry a seed.

    Differences are means over seeds; seed s of ``a`` is paired with seed s of ``b``. Their variance
    is that of the seed-averaged structural components (DeLong; summed by user) plus the variance
    between seeds / S. Tests are two-sided, with Student's t; Holm's correction is over the domains
    that have ``rules.min_class`` rows of both labels. The verdicts: ``docs/verdicts.md``.
    ``alpha``, if given, stands for ``rules.alpha``.

    Raises ``MismatchError`` where rows, labels, domains or their names differ, ``DataError`` for
    no entry or for different numbers of seeds.
    """
    if alpha is not None:
        rules = Rules(**{**rules.model_dump(), "alpha": alpha})
    if not a or not b or len(a) != len(b):
        raise DataError(
            f"found {len(a)} and {len(b)} predictions to compare; pass one entry a seed, the same "
            "number for both"
        )
    panel = Panel.of(a[0], rules.cluster)
    return compare_arms(panel, Arm.of(panel, a), Arm.of(panel, b), rules)


def compare_arms(panel: Panel, a: Arm, b: Arm, rules: Rules) -> Comparison:
    """``compare`` for models that are already ranked."""
    differences = Differences.of(panel, a, b, rules)
    tested = [d for d in panel.shown() if not untested(panel, d, differences, rules)]
    p_values = {d: p_value(differences.of_domain[d]) for d in tested}
    adjusted = dict(zip(tested, holm([p_values[d] for d in tested]), strict=True))
    rows = []
    for d in panel.shown():
        if d not in p_values:
            rows.append(_not_tested(panel, d, differences, rules))
            continue
        estimate = differences.of_domain[d]
        smallest = detectable(estimate, rules.alpha / len(tested))
        verdict, reason = decide(estimate.value, adjusted[d], smallest, rules)
        row = DomainComparison(
            domain=panel.names[d],
            rows=len(panel.label[panel.rows(d)]),
            positives=int(panel.label[panel.rows(d)].sum()),
            difference=difference_interval(estimate),
            p_value=p_values[d],
            p_adjusted=adjusted[d],
            detectable=smallest,
            verdict=verdict,
            reason=reason,
        )
        rows.append(row)
    return _comparison(panel, tuple(rows), differences, rules, len(tested))


@dataclass(frozen=True, slots=True)
class Differences:
    """Estimates of the difference by domain id (where there is one), and of the DomainAUC."""

    seeds: int
    of_domain: dict[int, Estimate]
    overall: Estimate | None

    @classmethod
    def of(cls, panel: Panel, a: Arm, b: Arm, rules: Rules) -> "Differences":
        values = a.auc - b.auc
        defined = ~np.isnan(values[0])
        weights = domain_weights(panel, defined)
        influence = a.influence - b.influence
        variances = {}
        for d in map(int, np.flatnonzero(defined)):
            rows = panel.rows(d)
            variances[d] = clustered(influence[rows], panel.label[rows], panel.users(rows))
        total, units = weighted_variance(panel, influence, weights)
        if rules.method == "bootstrap":
            draws = (rules.replicates, rules.seed)
            drawn, total = bootstrap_variances(panel, a, b, weights, draws)
            variances = {d: (float(drawn[d]), count) for d, (_, count) in variances.items()}
        of_domain = {d: over_seeds(values[:, d], *variances[d]) for d in variances}
        means = np.where(defined, values, 0.0) @ weights
        overall = over_seeds(means, total, units) if weights.any() else None
        return cls(len(values), of_domain, overall)


def untested(panel: Panel, d: int, differences: Differences, rules: Rules) -> str:
    """Why this domain is not tested; empty if it is."""
    label = panel.label[panel.rows(d)]
    rows, positives = len(label), int(label.sum())
    if reason := missing_class(rows, positives):
        return reason
    fewest = min(positives, rows - positives)
    if fewest < rules.min_class:
        which = "positives" if fewest == positives else "negatives"
        return f"{fewest} {which} among {rows:,} rows, fewer than {rules.min_class}"
    estimate = differences.of_domain[d]
    if estimate.units < 2 or math.isnan(estimate.variance):
        return "all positives, or all negatives, are of one user"
    return ""


def _not_tested(panel: Panel, d: int, differences: Differences, rules: Rules) -> DomainComparison:
    label = panel.label[panel.rows(d)]
    estimate = differences.of_domain.get(d)
    return DomainComparison(
        domain=panel.names[d],
        rows=len(label),
        positives=int(label.sum()),
        difference=difference_interval(estimate) if estimate else None,
        verdict=Verdict.not_measurable,
        reason=untested(panel, d, differences, rules),
    )


def _comparison(
    panel: Panel, rows: tuple[DomainComparison, ...], found: Differences, rules: Rules, tested: int
) -> Comparison:
    counts = Counter(row.verdict for row in rows)
    known = found.overall is not None and not math.isnan(found.overall.variance)
    return Comparison(
        rows=rows,
        overall=difference_interval(found.overall) if found.overall else None,
        overall_p_value=p_value(found.overall) if found.overall and known else None,
        counts={verdict: counts[verdict] for verdict in Verdict},
        seeds=found.seeds,
        alpha=rules.alpha,
        resolution=rules.resolution,
        min_class=rules.min_class,
        method=rules.method,
        cluster=rules.cluster,
        protocol=protocol(panel, rules, found.seeds, tested),
    )
