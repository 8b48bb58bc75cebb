"""What the gate asks of two models' tables: the difference in a domain, and over several at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from isthmus.evaluation.compare import Differences, untested
from isthmus.evaluation.panel import Arm, Panel, dense, weighted_variance
from isthmus.evaluation.predictions import Floats
from isthmus.evaluation.rank_compare import Mask, Paired, estimate_or_reason, mean_difference
from isthmus.evaluation.rules import Rules
from isthmus.evaluation.variance import Estimate, Shape, over_seeds

LEAST = 2
"""Rows of each label that a domain needs to be part of a mean: one alone has no variance."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The difference in some rows, or the reason why there is none that could be tested.

    ``estimate.units`` are effective ones: as many users of equally many rows would say as much.
    ``shape`` is summed over users as its variance is. ``loss`` is what a unit may lose in one go.
    Both are for ``gate_bounds.one_sided``.
    """

    rows: int
    positives: int
    estimate: Estimate | None = None
    reason: str = ""
    shape: Shape = field(default_factory=Shape)
    loss: float = 1.0


class Table(Protocol):
    """Both models on the same rows, by domain id; id 0 is the unknown domain."""

    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def seeds(self) -> int: ...
    @property
    def sizes(self) -> npt.NDArray[np.intp]:
        """Rows of each domain, [D + 1]."""
        ...

    def domain(self, d: int) -> Measured:
        """The difference in one domain."""
        ...

    def mean(self, domains: Sequence[int]) -> Measured:
        """The difference of the mean over these domains, weighted by their rows."""
        ...


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """Two rankers: AUC of the candidate minus AUC of the incumbent."""

    panel: Panel
    candidate: Arm
    incumbent: Arm
    rules: Rules
    differences: Differences

    @classmethod
    def of(cls, panel: Panel, candidate: Arm, incumbent: Arm, rules: Rules) -> "ScoreTable":
        found = Differences.of(panel, candidate, incumbent, rules)
        return cls(panel, candidate, incumbent, rules, found)

    @property
    def names(self) -> tuple[str, ...]:
        return self.panel.names

    @property
    def seeds(self) -> int:
        return self.differences.seeds

    @property
    def sizes(self) -> npt.NDArray[np.intp]:
        return np.diff(self.panel.bounds)

    def domain(self, d: int) -> Measured:
        rows = self.panel.rows(d)
        label = self.panel.label[rows]
        known = len(label), int(label.sum())
        if reason := untested(self.panel, d, self.differences, self.rules):
            return Measured(*known, reason=reason)
        estimate = self._effective(self.differences.of_domain[d], rows)
        share = self.candidate.influence[rows] - self.incumbent.influence[rows]
        shape = Shape.of(share, self.panel.users(rows))
        return Measured(*known, estimate, shape=shape, loss=self._loss(self._mean_auc(d)))

    def mean(self, domains: Sequence[int]) -> Measured:
        positives = np.array([int(self.panel.label[self.panel.rows(d)].sum()) for d in domains])
        negatives = self.sizes[list(domains)] - positives
        usable = np.array(domains)[np.minimum(positives, negatives) >= LEAST]
        known = int(self.sizes[list(domains)].sum()), int(positives.sum())
        if not len(usable):
            return Measured(*known, reason=f"no domain with {LEAST} rows of both labels")
        weights = np.zeros(len(self.names))
        weights[usable] = self.sizes[usable] / self.sizes[usable].sum()
        values = np.where(weights > 0, self.candidate.auc - self.incumbent.auc, 0.0) @ weights
        share = self._shares(usable)
        variance, units = weighted_variance(self.panel, share, weights)
        if np.isnan(variance):
            return Measured(*known, reason="all positives, or all negatives, are of one user")
        estimate = over_seeds(values, variance, units)
        inside = np.isin(self.panel.domain, usable)
        auc = float(sum(weights[d] * self._mean_auc(d) for d in usable))
        shape = Shape.of(weights[self.panel.domain] * share, self.panel.user)
        estimate = self._effective(estimate, inside)
        return Measured(*known, estimate, shape=shape, loss=self._loss(auc))

    def _shares(self, domains: npt.NDArray[np.int_]) -> Floats:
        """Shares in the error, [N], those of each label times sqrt(m / (m - 1)) for m such rows.

        A share is a distance from the mean of the m rows themselves, and too small by as much:
        where many domains of few rows are added up, nothing else makes good for it.
        """
        share = self.candidate.influence - self.incumbent.influence
        for d in domains:
            rows = self.panel.rows(int(d))
            m = np.bincount(self.panel.label[rows], minlength=2)[self.panel.label[rows]]
            share[rows] *= np.sqrt(m / (m - 1))
        return share

    def _effective(self, e: Estimate, rows: slice | Mask) -> Estimate:
        label = self.panel.label[rows]
        rarer = label == (2 * int(label.sum()) <= len(label))
        if self.panel.user is None:
            return replace(e, units=int(rarer.sum()))
        return replace(e, units=effective(self.panel.user[rows][rarer]))

    def _mean_auc(self, d: int) -> float:
        return float(self.incumbent.auc[:, d].mean())

    @staticmethod
    def _loss(auc: float) -> float:
        """From where the incumbent has a positive to where a coin would put it."""
        return max(auc - 0.5, 0.0)


@dataclass(frozen=True, slots=True)
class RankTable:
    """Two retrievers: the mean over rows of the candidate's metric minus the incumbent's."""

    paired: Paired
    rules: Rules

    @property
    def names(self) -> tuple[str, ...]:
        return self.paired.names

    @property
    def seeds(self) -> int:
        return len(self.paired.difference)

    @property
    def sizes(self) -> npt.NDArray[np.intp]:
        return np.bincount(self.paired.domain, minlength=len(self.names))

    def domain(self, d: int) -> Measured:
        return self._measured(
            self.paired.domain == d, estimate_or_reason(self.paired, d, self.rules)
        )

    def mean(self, domains: Sequence[int]) -> Measured:
        rows = np.isin(self.paired.domain, domains)
        users = len(np.unique(self.paired.user[rows]))
        if users < self.rules.min_class:
            return self._measured(rows, f"{users} users, fewer than {self.rules.min_class}")
        if not (rows & self.paired.either).any():
            return self._measured(rows, "neither model finds any item")
        return self._measured(rows, mean_difference(self.paired, rows, self.rules) or "no rows")

    def _measured(self, rows: Mask, found: Estimate | str) -> Measured:
        known = int(rows.sum()), int((rows & ~self.paired.cold).sum())
        if isinstance(found, str):
            return Measured(*known, reason=found)
        users = self.paired.user[rows] if self.rules.cluster == "user" else np.flatnonzero(rows)
        estimate = replace(found, units=effective(users))
        mean = self.paired.difference[:, rows].mean(axis=0)
        shape = Shape.of((mean - mean.mean()) / len(mean), dense(users))
        return Measured(*known, estimate, shape=shape, loss=_jump(self.paired.second[:, rows]))


def _jump(values: Floats) -> float:
    """What a row loses whose item is found no more: sum of squares / sum of the incumbent's values.

    As rare losses of sizes v add it up, mean and variance are those of losses of this one size.
    """
    total = float(values.sum())
    return float((values**2).sum()) / total if total > 0 else 1.0


def effective(cluster: npt.NDArray[np.int64]) -> int:
    """Kish's number of clusters (Survey Sampling, 1965): (sum of sizes)^2 / sum of squared sizes.

    ``cluster`` [N] names the cluster of each row. Equal ones count in full; where one of them holds
    half of the rows, there are fewer than four.
    """
    sizes = np.unique(cluster, return_counts=True)[1]
    return max(int(len(cluster) ** 2 / (sizes**2).sum()), 1) if len(cluster) else 1
