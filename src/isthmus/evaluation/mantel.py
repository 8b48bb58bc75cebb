"""Whether two square tables over the same groups rank their cells alike: Spearman, Mantel, jackknife.

Cells of one group depend on each other, so cells may be neither permuted nor left out one by one:
both are done by whole groups (Mantel, Cancer Research 27, 1967; for ranks, Dietz, Systematic
Zoology 32, 1983).

Shape letters: G groups, K relabellings.
"""

import math
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import numpy.typing as npt

from isthmus.evaluation.predictions import Floats
from isthmus.evaluation.types import Interval
from isthmus.evaluation.variance import LEVEL, quantile

LEAST = 4
"""Groups that a correlation needs: three have six ordered pairs, and six relabellings."""
_EXACT = 7  # up to so many groups all relabellings are tried: 5,040
_DRAWN, _FEWEST, _CELLS = 4999, 199, 2 * 10**7  # relabellings; cells of all of them together
_AT_ONCE = 10**6  # cells of relabellings in memory
_BLOCKS = 30  # of groups, at most, that the jackknife leaves out one by one
_ALMOST = 1 - 1e-9  # correlations are held within it, for their logarithm's sake


@dataclass(frozen=True, slots=True)
class RankAgreement:
    """Spearman's correlation with its interval, Mantel's two-sided p-value, the groups it is over."""

    groups: int
    correlation: Interval | None = None
    p_value: float | None = None


def rank_agreement(a: Floats, b: Floats, *, seed: int = 0) -> RankAgreement:
    """Compare two [G, G] tables off their diagonals; a group that lacks a figure in either is left out."""
    whole = _complete(a) & _complete(b)
    a, b = a[np.ix_(whole, whole)], b[np.ix_(whole, whole)]
    groups = len(a)
    if groups < LEAST:
        return RankAgreement(groups)
    value = spearman(a, b)
    if math.isnan(value):  # all cells of a table are equal
        return RankAgreement(groups)
    return RankAgreement(groups, _jackknifed(a, b, value), _mantel(a, b, value, seed))


def spearman(a: Floats, b: Floats) -> float:
    """Spearman's correlation of the cells off the diagonal, ties at their mean rank; NaN without any."""
    off = ~np.eye(len(a), dtype=bool)
    return float(_standard(mean_ranks(a[off])) @ _standard(mean_ranks(b[off])))


def mean_ranks(values: Floats) -> Floats:
    """Ranks from 1, equal values at their mean: [N]; without ``scipy.stats``, which is slow to load."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(count) - (count - 1) / 2)[place]
    return ranks


def _complete(table: Floats) -> npt.NDArray[np.bool_]:
    """Groups to keep, so that no cell between them lacks a figure."""
    known = np.isfinite(table) | np.eye(len(table), dtype=bool)
    kept = np.ones(len(table), bool)
    while not known[np.ix_(kept, kept)].all():
        missing = (~known & kept & kept[:, None]).astype(np.int64)
        kept[int((missing.sum(0) + missing.sum(1)).argmax())] = False
    return kept


def _standard(rank: Floats) -> Floats:
    centred = rank - rank.mean()
    norm = math.sqrt(float(centred @ centred))
    standard: Floats = centred / norm if norm > 0 else np.full_like(centred, math.nan)
    return standard


def _mantel(a: Floats, b: Floats, value: float, seed: int) -> float:
    """Relabelling moves ranks and changes none, so they are computed once."""
    groups = len(a)
    off = ~np.eye(groups, dtype=bool)
    one, other = np.zeros_like(a), np.zeros_like(b)
    one[off], other[off] = _standard(mean_ranks(a[off])), _standard(mean_ranks(b[off]))
    if groups <= _EXACT:
        order_KG = np.array(list(permutations(range(groups))))
    else:
        rng = np.random.default_rng(seed)
        drawn = min(_DRAWN, max(_FEWEST, _CELLS // groups**2))
        order_KG = rng.permuted(np.tile(np.arange(groups), (drawn + 1, 1)), axis=1)
        order_KG[0] = np.arange(groups)  # as they are: a p-value is never 0
    parts = np.array_split(order_KG, math.ceil(order_KG.size * groups / _AT_ONCE))
    found = [np.tensordot(other[o[:, :, None], o[:, None, :]], one) for o in parts]
    return float((np.abs(np.concatenate(found)) >= abs(value) - 1e-12).mean())


def _jackknifed(a: Floats, b: Floats, value: float) -> Interval:
    """On Fisher's scale, over groups (or over blocks of them, where there are many)."""
    blocks = np.array_split(np.arange(len(a)), min(len(a), _BLOCKS))
    count, without = len(blocks), []
    for block in blocks:
        kept = np.delete(np.arange(len(a)), block)
        found = spearman(a[np.ix_(kept, kept)], b[np.ix_(kept, kept)])
        without.append(value if math.isnan(found) else found)
    z = np.arctanh(np.clip([value, *without], -_ALMOST, _ALMOST))
    error = math.sqrt((count - 1) / count * float(((z[1:] - z[1:].mean()) ** 2).sum()))
    half = quantile(count - 1, (1 + LEVEL) / 2) * error
    low, high = math.tanh(z[0] - half), math.tanh(z[0] + half)
    return Interval(value=value, low=min(low, value), high=max(high, value))
