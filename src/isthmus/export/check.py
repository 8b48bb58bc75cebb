"""Graphs against the model that they were made of, on rows of the data."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from isthmus.batch import Impressions
from isthmus.evaluation import Predictions, compare, evaluate
from isthmus.export.manifest import TableCost
from isthmus.export.runtime import ExportError, GraphSession
from isthmus.inference import probabilities
from isthmus.models import Ranker

TOLERANCE = 1e-5
"""By how much a probability may differ from the model's."""
ROWS, FEW = 4096, 256
"""Rows that a graph is checked on at most; of a domain with fewer than the second, others' too."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How far a graph is from the model with its tables as stored, and from it as it was trained."""

    rows: int
    graph: float
    trained: float


def rows_of(rows: Impressions, domain: int) -> Impressions:
    """Rows to check a domain's graph on; where it has few, others follow as if they were its own."""
    own = rows[(rows.domain == domain).nonzero()[:, 0][:ROWS]]
    if len(own) < FEW:
        both = torch.cat([own.features, rows.features[:FEW]])
        own = Impressions(both, torch.full((len(both),), domain), torch.zeros(len(both)))
    return own


def is_mixed(session: GraphSession, model: Ranker, rows: Impressions) -> bool:
    """Whether one call may hold rows of several domains."""
    return _largest(session(rows), probabilities(model, rows)) <= TOLERANCE


def difference(
    session: GraphSession, as_stored: Ranker, trained: Ranker, rows: Impressions
) -> Difference:
    """Score the rows by all three.

    Raises:
        ExportError: a score of the graph differs by more than ``TOLERANCE`` from the model's that
            has the same tables, or is no number.
    """
    found, wanted = session(rows), probabilities(as_stored, rows)
    alone = _largest(session(rows[:1]), wanted[:1])
    graph = max(_largest(found, wanted), alone)
    if not graph <= TOLERANCE:
        raise ExportError(
            f"the graph of domain id {int(rows.domain[0])} differs by {graph:.2g} from the model on "
            f"{len(rows):,} validation rows, where {TOLERANCE:g} is allowed: nothing is exported. "
            "docs/export.md lists the models that can be; of one of these, report it"
        )
    return Difference(len(rows), graph, _largest(found, probabilities(trained, rows)))


def _largest(a_N: NDArray[np.float64], b_N: NDArray[np.float64]) -> float:
    return float(np.abs(a_N - b_N).max(initial=0))


class TableTrial:
    """Test rows, scored by graph after graph, and what their tables cost against the trained model.

    ``trained``: the model's own scores of ``rows``.
    """

    def __init__(self, rows: Impressions, trained: Predictions) -> None:
        self._rows, self._trained = rows, trained
        self._score = trained.score.copy()
        self._scored = np.zeros(len(trained), dtype=bool)

    def score(self, session: GraphSession, domain: int) -> None:
        """Score the rows of a domain by its graph."""
        own = np.flatnonzero(self._trained.domain == domain)
        self._score[own] = session(self._rows[torch.from_numpy(own)])
        self._scored[own] = True

    def cost(self) -> TableCost:
        """Of the rows that were scored."""
        theirs = self._trained.take(self._scored)
        columns = {name: getattr(theirs, name) for name in ("row", "domain", "user", "label")}
        score = self._score[self._scored]
        ours = Predictions(**columns, score=score, domains=theirs.domains)
        both = [evaluate(one).domain_auc for one in (ours, theirs)]
        return TableCost(domain_auc=(both[0], both[1]), comparison=compare([ours], [theirs]))
