"""Variance of differences of AUC by drawing users anew: slower than DeLong, and assumes less."""

import numpy as np

from isthmus.evaluation.panel import Arm, Panel
from isthmus.evaluation.predictions import Floats, Ints


def bootstrap_variances(
    panel: Panel, a: Arm, b: Arm, weights: Floats, draws: tuple[int, int]
) -> tuple[Floats, float]:
    """Variance of the mean difference a - b of each domain [D + 1], and of their weighted sum.

    ``draws`` are the number of samples and the seed. One sample draws as many users as there are,
    with replacement, over all domains together; all models and seeds are scored on it. A sample
    in which a domain lost one of its classes does not count for this domain.
    """
    replicates, seed = draws
    rng = np.random.default_rng(seed)
    unit = _units(panel)
    count = int(unit.max(initial=-1)) + 1
    sampled = np.full((replicates, len(panel.names)), np.nan)
    for each in sampled:
        times = np.bincount(rng.integers(count, size=count), minlength=count)
        each[:] = _differences(panel, a, b, times[unit].astype(float))
    valid = ~np.isnan(sampled)
    variances = np.array(
        [_variance(column[ok]) for column, ok in zip(sampled.T, valid.T, strict=True)]
    )
    share = valid @ weights
    sums = np.where(valid, sampled, 0.0) @ weights
    return variances, _variance(sums[share > 0] / share[share > 0])


def _units(panel: Panel) -> Ints:
    """What is drawn, by row: codes from 0 without gaps."""
    if panel.user is None:
        return np.arange(len(panel.row))
    return np.unique(panel.user, return_inverse=True)[1].astype(np.int64)


def _differences(panel: Panel, a: Arm, b: Arm, times: Floats) -> Floats:
    seeds = len(a.ranked)
    out = np.zeros(len(panel.names))
    for d in range(len(panel.names)):
        rows = times[panel.rows(d)]
        for one, other in zip(a.ranked, b.ranked, strict=True):
            out[d] += (one[d].weighted_auc(rows) - other[d].weighted_auc(rows)) / seeds
    return out


def _variance(values: Floats) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else float("nan")
