"""Scores sorted once: exact AUC, the structural components of its variance, calibration bins.

Everything is rank arithmetic over whole arrays; N rows cost one sort.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from isthmus.evaluation.predictions import Floats, Ints

Labels = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Ranked:
    """N rows in ascending order of score, with the G groups of equal scores.

    ``order`` [N] are the positions of the sorted rows, ``label`` and ``score`` [N] their values;
    ``edges`` [G + 1] are the positions where groups start (and N), ``positives`` [G + 1] counts
    the positive rows before each edge. ``auc`` is P(score of a positive > score of a negative)
    plus half of P(equal); ``None`` with one class.
    """

    order: Ints
    label: Labels
    score: Floats
    edges: Ints
    positives: Ints
    auc: float | None

    @classmethod
    def of(cls, label: Labels, score: Floats) -> "Ranked":
        """Sort the rows. ``label`` [N] is 0 or 1, ``score`` [N] is finite."""
        order = np.argsort(score)
        label, score = label[order], score[order]
        starts = np.ones(len(score) + 1, bool)
        np.not_equal(score[1:], score[:-1], out=starts[1:-1])
        before = np.zeros(len(score) + 1, np.int64)
        np.cumsum(label, out=before[1:])
        edges = np.flatnonzero(starts)
        positives = before if len(edges) == len(before) else before[edges]
        return cls(order, label, score, edges, positives, _auc(edges, positives))

    @property
    def counts(self) -> tuple[int, int]:
        """Rows of label 1 and of label 0."""
        positives = int(self.positives[-1])
        return positives, len(self.label) - positives

    def influence(self) -> Floats:
        """Each row's share in the AUC's sampling error, [N] in the rows' original order.

        For the m positives (V10 - AUC) / m and for the n negatives (V01 - AUC) / n, where V10 is
        the share of negatives that the row outranks and V01 the share of positives that outrank
        it (DeLong, DeLong and Clarke-Pearson 1988). Shares add up: over the rows of a user, over
        models, over seeds. Zero where the AUC is undefined.
        """
        positives, negatives = self.counts
        auc, share = self.auc, np.zeros(len(self.label))
        if auc is None:
            return share
        below, above = self.edges - self.positives, positives - self.positives
        of_positive = ((below[:-1] + below[1:]) / (2 * negatives) - auc) / positives
        of_negative = ((above[:-1] + above[1:]) / (2 * positives) - auc) / negatives
        sizes = np.diff(self.edges)
        if len(sizes) < len(share):
            of_positive, of_negative = np.repeat(of_positive, sizes), np.repeat(of_negative, sizes)
        share[self.order] = np.where(self.label > 0, of_positive, of_negative)
        return share

    def weighted_auc(self, weight: Floats) -> float:
        """The AUC where row i counts ``weight[i]`` times, [N] in original order; NaN with one class."""
        if not len(weight):
            return float("nan")
        weight = weight[self.order]
        positive = np.add.reduceat(weight * self.label, self.edges[:-1])
        negative = np.add.reduceat(weight, self.edges[:-1]) - positive
        pairs = positive.sum() * negative.sum()
        if pairs <= 0:
            return float("nan")
        return float(positive @ (np.cumsum(negative) - negative / 2) / pairs)

    def calibration_error(self, bins: int) -> float:
        """Sum over equal-count bins of rows/N x |mean score - mean label| (ECE), for N > 0.

        A group of equal scores that a bin's edge cuts is shared out evenly, so the order of the
        rows does not matter.
        """
        rows = len(self.score)
        cuts = np.round(np.linspace(0, rows, bins + 1)).astype(np.int64)
        promised = np.concatenate(([0.0], np.cumsum(self.score)))[cuts]
        came = np.interp(cuts, self.edges, self.positives)
        return float(np.abs(np.diff(promised) - np.diff(came)).sum() / rows)


def _auc(edges: Ints, positives: Ints) -> float | None:
    """Wins are counted in whole numbers: equal rankings have equal AUCs to the last bit."""
    negatives = edges - positives
    pairs = int(positives[-1]) * int(negatives[-1])
    twice = np.diff(positives) * (negatives[:-1] + negatives[1:])
    return int(twice.sum()) / (2 * pairs) if pairs else None
