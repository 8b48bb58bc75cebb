"""The rows of a split, grouped by domain, and the models scored on exactly these rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from isthmus.errors import DataError, MismatchError
from isthmus.evaluation.predictions import Floats, Ints, Predictions
from isthmus.evaluation.ranking import Labels, Ranked
from isthmus.evaluation.types import UNKNOWN, Cluster
from isthmus.evaluation.variance import clustered


@dataclass(frozen=True, slots=True)
class Panel:
    """N rows in order of (domain, row), whatever order they came in.

    ``names`` [D + 1] by domain id, the unknown domain first; domain d has the rows
    ``bounds[d]:bounds[d + 1]``. ``order`` [N]: where each row lay in the predictions it came from;
    ``row``, ``domain``, ``label`` [N]; ``user`` [N] codes from 0, or ``None``
    where each row is its own cluster.
    """

    names: tuple[str, ...]
    bounds: Ints
    order: Ints
    row: Ints
    domain: npt.NDArray[np.int32]
    label: Labels
    user: Ints | None

    @classmethod
    def of(cls, p: Predictions, cluster: Cluster = "user") -> "Panel":
        """Group the rows of ``p`` by domain."""
        order = _order(p)
        domain = p.domain[order]
        bounds = np.searchsorted(domain, np.arange(len(p.domains) + 2))
        user = dense(p.user[order]) if cluster == "user" else None
        names = (UNKNOWN, *p.domains)
        return cls(names, bounds, order, p.row[order], domain, p.label[order], user)

    def rows(self, domain: int) -> slice:
        return slice(int(self.bounds[domain]), int(self.bounds[domain + 1]))

    def users(self, rows: slice) -> Ints | None:
        """Codes from 0 of the users of these rows."""
        return None if self.user is None else dense(self.user[rows])

    def shown(self) -> list[int]:
        """Ids of the domains to report: all named ones, and the unknown one if it has rows."""
        return [d for d in range(len(self.names)) if d or self.bounds[1]]

    def scores(self, p: Predictions) -> Floats:
        """The scores of a model on these rows, [N]. Raises ``MismatchError`` for other rows."""
        if (UNKNOWN, *p.domains) != self.names:
            raise MismatchError(
                f"predictions over other domains: {len(p.domains)} {p.domains[:3]}..., expected "
                f"{len(self.names) - 1} {self.names[1:4]}...; compare models of one prepared data set"
            )
        if len(p) != len(self.row):
            raise MismatchError(
                f"{len(p):,} rows against {len(self.row):,}; score both models on the same split"
            )
        order = self._positions(p)
        self._same("domains", p.domain[order], self.domain)
        self._same("labels", p.label[order], self.label)
        return p.score[order]

    def _positions(self, p: Predictions) -> Ints:
        """Where in ``p`` each row of the panel lies."""
        if np.array_equal(p.row[self.order], self.row):
            return self.order
        strange = ~np.isin(p.row, self.row)
        if strange.any():
            raise MismatchError(
                f"{int(strange.sum()):,} of {len(p):,} rows are not among the other model's, the "
                f"first is row {p.row[np.argmax(strange)]}; score both models on the same split"
            )
        positions = np.empty_like(self.order)
        positions[np.argsort(self.row)] = np.argsort(p.row)
        return positions

    def _same(
        self, what: str, found: npt.NDArray[np.generic], kept: npt.NDArray[np.generic]
    ) -> None:
        differ = found != kept
        if differ.any():
            first = int(np.argmax(differ))
            raise MismatchError(
                f"{what} differ in {int(differ.sum()):,} of {len(kept):,} rows, first in row "
                f"{self.row[first]}: {found[first]} against {kept[first]}; score both models on "
                "the same split"
            )


@dataclass(frozen=True, slots=True)
class Arm:
    """One model, trained S times, on the rows of a panel.

    ``ranked`` [S][D + 1], ``auc`` [S, D + 1] (NaN where undefined), ``influence`` [N]: the mean
    over seeds of each row's share in the error of its domain's AUC.
    """

    ranked: tuple[tuple[Ranked, ...], ...]
    auc: Floats
    influence: Floats

    @classmethod
    def of(cls, panel: Panel, seeds: Sequence[Predictions]) -> "Arm":
        """Rank the models of one or more seeds."""
        if not seeds:
            raise DataError("no predictions to compare; pass one entry a seed")
        return cls.of_scores(panel, [panel.scores(p) for p in seeds])

    @classmethod
    def of_scores(cls, panel: Panel, scores: Sequence[Floats]) -> "Arm":
        """Rank scores that are already in the order of the panel, S of [N]."""
        domains = range(len(panel.names))
        ranked, influence = [], np.zeros(len(panel.row))
        for score in scores:
            parts = tuple(
                Ranked.of(panel.label[rows], score[rows]) for rows in map(panel.rows, domains)
            )
            for d in domains:
                influence[panel.rows(d)] += parts[d].influence() / len(scores)
            ranked.append(parts)
        auc = [[np.nan if r.auc is None else r.auc for r in parts] for parts in ranked]
        return cls(tuple(ranked), np.array(auc), influence)


def domain_weights(panel: Panel, defined: npt.NDArray[np.bool_]) -> Floats:
    """Weights [D + 1] of the DomainAUC: rows of the domains where it is defined; not the unknown one."""
    rows: Floats = np.where(defined, np.diff(panel.bounds), 0).astype(np.float64)
    rows[0] = 0.0
    return rows / max(float(rows.sum()), 1.0)


def weighted_variance(panel: Panel, influence: Floats, weights: Floats) -> tuple[float, int]:
    """Row variance and units of the weighted sum over domains; a user's domains are one cluster."""
    each = np.repeat(weights, np.diff(panel.bounds))
    rows = np.flatnonzero(each)
    if len(rows) == len(each):
        return clustered(each * influence, panel.label, panel.user)
    users = None if panel.user is None else panel.user[rows]
    return clustered(each[rows] * influence[rows], panel.label[rows], users)


def dense(values: Ints) -> Ints:
    """Equal values to equal codes from 0; codes may have gaps where that saves a sort."""
    if not len(values):
        return values
    low, high = int(values.min()), int(values.max())
    if high - low <= 4 * len(values) + 1000:
        return values - low if low else values
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def _order(p: Predictions) -> Ints:
    """Positions in order of (domain, row)."""
    domain = p.domain.astype(np.int16) if len(p.domains) < 2**15 else p.domain  # radix sort
    if len(p) < 2 or bool(np.all(p.row[1:] > p.row[:-1])):
        return np.argsort(domain, kind="stable")
    by_row = np.argsort(p.row)
    return by_row[np.argsort(domain[by_row], kind="stable")]
