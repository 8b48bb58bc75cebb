"""How often the label was 1 for a key: an id, or a pair of ids as one number.

A training row's own label must not be in its rate: the rate would tell the label of a key with few
rows, and mean nothing for rows to come. Training rows are cut into folds, and each is given the
counts of the other folds; rows to come are given those of all training rows.

Shape letters: N rows, M different keys, K folds.
"""

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Training rows, and how many of them have label 1, by key: three arrays [M], keys rising."""

    keys: Ints
    rows: Ints
    positives: Ints

    @classmethod
    def of(cls, key_N: Ints, label_N: Ints) -> Self:
        """Count the rows of every key."""
        keys, place_N = np.unique(key_N, return_inverse=True)
        positives = np.bincount(place_N, label_N, minlength=len(keys))
        return cls(keys, np.bincount(place_N, minlength=len(keys)), positives.astype(np.int64))

    def find(self, key_N: Ints) -> tuple[Ints, Ints]:
        """Rows and positives of these keys, 0 for one that was never met: [N], [N]."""
        if not len(self.keys):
            return np.zeros_like(key_N), np.zeros_like(key_N)
        place_N = np.searchsorted(self.keys, key_N).clip(max=len(self.keys) - 1)
        met_N = self.keys[place_N] == key_N
        return self.rows[place_N] * met_N, self.positives[place_N] * met_N


def out_of_fold(key_N: Ints, label_N: Ints, fold_N: Ints) -> tuple[Ints, Ints]:
    """Rows and positives of each row's key, counted over the other folds: [N], [N]."""
    keys, place_N = np.unique(key_N, return_inverse=True)
    folds = int(fold_N.max()) + 1
    cell_N = place_N * folds + fold_N
    rows_MK = np.bincount(cell_N, minlength=len(keys) * folds).reshape(-1, folds)
    positives = np.bincount(cell_N, label_N, minlength=len(keys) * folds).astype(np.int64)
    positives_MK = positives.reshape(-1, folds)
    outside = (table.sum(1)[place_N] - table[place_N, fold_N] for table in (rows_MK, positives_MK))
    rows_N, positives_N = outside
    return rows_N, positives_N


def rate(rows_N: Ints, positives_N: Ints, prior: Floats | float, smoothing: float) -> Floats:
    """Share of label 1, as if ``smoothing`` more rows had been seen with the rate ``prior``: [N]."""
    shares: Floats = (positives_N + smoothing * prior) / (rows_N + smoothing)
    return shares


def folds(rows: int, number: int, by: Literal["time", "random"], seed: int) -> Ints:
    """The fold of each of ``rows`` rows in order of time, 0 to ``number`` - 1, of equal sizes: [N].

    "time": each fold is a stretch of time. Rows of one user close in time are alike (a visit, a
    basket); drawn at random, most of a row's visit would be in its rate, where a row to come has
    only rows of long ago. New users and items look new in the stretch in which they first appear.
    """
    fold_N = np.arange(rows, dtype=np.int64) * number // max(rows, 1)
    return np.random.default_rng(seed).permutation(fold_N) if by == "random" else fold_N
