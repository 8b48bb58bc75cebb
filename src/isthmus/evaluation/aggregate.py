"""Paired tests of means over domains: DomainAUC, and those of the largest and smallest domains."""

from collections.abc import Mapping

import numpy as np

from isthmus.evaluation.evaluate import GROUPS, group, sizes_of
from isthmus.evaluation.panel import Arm, Panel, domain_weights, weighted_variance
from isthmus.evaluation.predictions import Floats
from isthmus.evaluation.types import Difference
from isthmus.evaluation.variance import difference_interval, over_seeds, p_value

AGGREGATES = ("domain_auc", *GROUPS)


def compare_means(
    panel: Panel, a: Arm, b: Arm, *, sizes: Mapping[str, int] | None = None
) -> dict[str, Difference]:
    """Each of ``AGGREGATES`` that these rows define: that of ``a`` minus that of ``b``.

    Both arms hold one model a seed; seed s of ``a`` is paired with seed s of ``b``, on the same
    rows. Such a mean is a weighted sum of AUCs, with weights that no score changes, so a row's
    share in its error is the weight times its share in its domain's; shares of a user are summed
    over all domains (``variance.clustered``), and the variance between seeds is added
    (``variance.over_seeds``). Tests are two-sided, with Student's t, and not corrected for their
    number.
    """
    difference = a.auc - b.auc
    influence = a.influence - b.influence
    found = {}
    for name, weights in mean_weights(panel, a, sizes).items():
        row_variance, units = weighted_variance(panel, influence, weights)
        values = np.where(weights > 0, difference, 0.0) @ weights
        estimate = over_seeds(values, row_variance, units)
        found[name] = Difference(value=difference_interval(estimate), p_value=p_value(estimate))
    return found


def mean_weights(
    panel: Panel, arm: Arm, sizes: Mapping[str, int] | None = None
) -> dict[str, Floats]:
    """Weights [D + 1] over domains of each of ``AGGREGATES`` that is defined, as in ``evaluate``."""
    defined = ~np.isnan(arm.auc[0])
    defined[0] = False
    if not defined.any():
        return {}
    weights = {"domain_auc": domain_weights(panel, defined)}
    known = np.flatnonzero(defined)
    for name in GROUPS:
        chosen = group(name, known, sizes_of(panel, sizes))
        if chosen is not None:
            inside = np.zeros_like(defined)
            inside[chosen] = True
            weights[name] = domain_weights(panel, inside)
    return weights
