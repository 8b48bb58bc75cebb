"""Sampling error of AUCs and of their differences: users as clusters, several seeds, intervals."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from isthmus.evaluation.predictions import Floats, Ints
from isthmus.evaluation.ranking import Labels
from isthmus.evaluation.types import Interval

LEVEL = 0.95
"""Level of every interval."""
_NOTHING = 1e-20
"""A variance of rounding errors alone: an AUC's own is above 1e-17 even with 10^8 rows a class."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds with its variance (NaN: not known) and that variance's degrees of freedom.

    ``units`` counts the independent observations (users, or rows) of the rarer class.
    """

    value: float
    variance: float
    freedom: float
    units: int


def clustered(influence: Floats, label: Labels, cluster: Ints | None) -> tuple[float, int]:
    """Variance of the statistic whose shares these are ([N], see ``Ranked.influence``), and its units.

    Obuchowski (Biometrics 53, 1997): with p_i and q_i the sums over the positive and the negative
    rows of cluster i, and I10, I01, I the clusters with positives, with negatives, and with any,

        I10/(I10-1) sum p_i^2  +  I01/(I01-1) sum q_i^2  +  2 I/(I-1) sum p_i q_i.

    Where every cluster is one row (or ``cluster`` is ``None``) this is DeLong's variance. NaN with
    fewer than two clusters of a class. ``cluster`` [N] holds codes from 0.
    """
    if cluster is None:
        p, q = influence[label > 0], influence[label == 0]
        return _scaled(p, p, len(p)) + _scaled(q, q, len(q)), min(len(p), len(q))
    size = int(cluster.max(initial=0)) + 1
    key = 2 * cluster + label
    sums = np.asarray(np.bincount(key, weights=influence, minlength=2 * size), dtype=np.float64)
    q, p = sums.reshape(size, 2).T
    in_q, in_p = np.bincount(key, minlength=2 * size).reshape(size, 2).T > 0
    units = int(in_p.sum()), int(in_q.sum())
    own = _scaled(p, p, units[0]) + _scaled(q, q, units[1])
    return own + 2 * _scaled(p, q, int((in_p | in_q).sum())), min(units)


def _scaled(left: Floats, right: Floats, units: int) -> float:
    return units / (units - 1) * float(left @ right) if units > 1 else math.nan


def clustered_mean(influence: Floats, cluster: Ints | None) -> tuple[float, int]:
    """Variance of a mean whose shares (value - mean) / N these are, [N], and its units.

    The sum over clusters of the squared sum of their shares, times I / (I - 1) for I clusters: the
    usual variance of a mean where every cluster is one row (or ``cluster`` is ``None``). NaN with
    fewer than two clusters.
    """
    if cluster is None:
        return _scaled(influence, influence, len(influence)), len(influence)
    unit = np.unique(cluster, return_inverse=True)[1]
    sums = np.asarray(np.bincount(unit, weights=influence), dtype=np.float64)
    return _scaled(sums, sums, len(sums)), len(sums)


@dataclass(frozen=True, slots=True)
class Shape:
    """Sums over clusters of the third and the fourth power of their shares in an error.

    ``third`` is the statistic's third moment: its sign is the side on which rare, large shares lie.
    With ``fourth``, 2 variance^2 / (fourth - variance^2 / n) are the degrees of freedom of the
    variance itself: n for normal shares of n clusters, few where a few clusters make it up.
    """

    third: float = 0.0
    fourth: float = 0.0

    @classmethod
    def of(cls, influence: Floats, cluster: Ints | None) -> "Shape":
        """Of the statistic whose shares these are, [N]; ``cluster`` [N] holds codes from 0."""
        sums = influence if cluster is None else np.bincount(cluster, weights=influence)
        return cls(float((sums**3).sum()), float((sums**4).sum()))


def over_seeds(values: Floats, row_variance: float, units: int) -> Estimate:
    """The mean of one value a seed ([S]), with the noise of rows and of training.

        variance = row_variance + var(values) / S,

    where ``row_variance`` is that of the mean over seeds. Degrees of freedom after Satterthwaite,
    of units - 1 and S - 1. A seed's noise on these rows alone enters both terms, so the sum errs
    to the cautious side. With one seed the second term is not known and is left out.
    """
    seeds, freedom = len(values), float(max(units - 1, 1))
    if seeds == 1:
        return Estimate(float(values[0]), row_variance, freedom, units)
    between = float(values.var(ddof=1)) / seeds
    total, parts = row_variance + between, row_variance**2 / freedom + between**2 / (seeds - 1)
    pooled = total**2 / parts if parts > 0 else freedom
    return Estimate(float(values.mean()), total, pooled, units)


def auc_interval(e: Estimate) -> Interval:
    """Interval of an AUC, on the logit scale: logit(A) +- t x se / (A (1 - A)), so within [0, 1].

    A variance that is unknown, or zero because every pair is won or lost, says nothing: Wilson's
    interval with ``units`` trials then (the variance of an AUC is at most A (1 - A) / units;
    Birnbaum and Klose 1957). Scores that are all equal have an AUC of exactly a half.
    """
    if e.variance <= _NOTHING and e.value == 0.5:
        return Interval(value=0.5, low=0.5, high=0.5)
    return share_interval(e)


def share_interval(e: Estimate) -> Interval:
    """As ``auc_interval``, of any mean of values in [0, 1]."""
    if not e.variance > _NOTHING or not 0 < e.value < 1:
        return _wilson(e.value, max(e.units, 1))
    centre = special.logit(e.value)
    half = quantile(e.freedom, (1 + LEVEL) / 2) * math.sqrt(e.variance) / (e.value * (1 - e.value))
    return _interval(e.value, special.expit(centre - half), special.expit(centre + half))


def _wilson(share: float, trials: int) -> Interval:
    z2 = float(special.ndtri((1 + LEVEL) / 2)) ** 2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = math.sqrt(z2 * (share * (1 - share) / trials + z2 / (4 * trials**2)))
    half /= 1 + z2 / trials
    return _interval(share, max(0.0, centre - half), min(1.0, centre + half))


def difference_interval(e: Estimate) -> Interval:
    """Interval of a difference of two AUCs: value +- t x se, within [-1, 1]."""
    error = standard_error(e)
    half = quantile(e.freedom, (1 + LEVEL) / 2) * error if math.isfinite(error) else 2.0
    return _interval(e.value, max(-1.0, e.value - half), min(1.0, e.value + half))


def _interval(value: float, low: float, high: float) -> Interval:
    return Interval(value=value, low=min(value, float(low)), high=max(value, float(high)))


def standard_error(e: Estimate) -> float:
    """Root of the variance; NaN if unknown.

    Where all rows agree on a difference (variance zero), it is as though one more unit showed the
    opposite: 2 |value| / units.
    """
    if e.variance <= _NOTHING:
        return 2 * abs(e.value) / e.units
    return math.sqrt(e.variance)


def p_value(e: Estimate) -> float:
    """Two-sided, of the hypothesis that the value is zero."""
    error = standard_error(e)
    return 1.0 if error == 0 else 2 * float(special.stdtr(e.freedom, -abs(e.value) / error))


def detectable(e: Estimate, level: float, power: float = 0.8) -> float:
    """Smallest true difference that a two-sided test at ``level`` finds with this power."""
    steps = quantile(e.freedom, 1 - level / 2) + quantile(e.freedom, power)
    return min(steps * standard_error(e), 1.0)


def quantile(freedom: float, probability: float) -> float:
    """Of Student's t distribution."""
    return float(special.stdtrit(freedom, probability))
