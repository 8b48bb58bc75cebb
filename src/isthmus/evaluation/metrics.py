"""The metrics of one set of rows: AUC with its interval, logloss, calibration."""

import numpy as np

from isthmus.evaluation.predictions import Floats, Ints
from isthmus.evaluation.ranking import Labels, Ranked
from isthmus.evaluation.types import DomainMetrics
from isthmus.evaluation.variance import Estimate, auc_interval, clustered

CLIP = 1e-7
"""Scores are held to [CLIP, 1 - CLIP] for the logloss: a sure miss costs 16.1 nats, not infinity."""
BINS = 20
"""Bins of the calibration error, of equal count; fewer where one would hold under ``BIN_ROWS`` rows."""
BIN_ROWS = 50


def logloss(label: Labels, score: Floats) -> float:
    """Mean of -log P(label), in nats a row; ``label`` and ``score`` are [N], N > 0."""
    of_label = np.where(label > 0, score, 1 - score)
    return -float(np.log(np.clip(of_label, CLIP, 1 - CLIP)).mean())


def calibration_error(ranked: Ranked) -> float:
    """Expected calibration error over at most ``BINS`` equal-count bins; N > 0."""
    return ranked.calibration_error(max(1, min(BINS, len(ranked.label) // BIN_ROWS)))


def missing_class(rows: int, positives: int) -> str:
    """Why these rows have no AUC; empty if they have."""
    if not rows:
        return "no rows in this split"
    if not positives:
        return f"no positives among {rows:,} rows"
    return f"no negatives among {rows:,} rows" if positives == rows else ""


def describe(ranked: Ranked, influence: Floats, user: Ints | None) -> DomainMetrics:
    """All metrics of N rows. ``influence`` and ``user`` (``None``: rows are clusters) in row order."""
    rows, (positives, _) = len(ranked.label), ranked.counts
    if not rows:
        return DomainMetrics(rows=0, positives=0, reason=missing_class(0, 0))
    interval = None
    if ranked.auc is not None:
        label = np.empty_like(ranked.label)
        label[ranked.order] = ranked.label
        variance, units = clustered(influence, label, user)
        interval = auc_interval(Estimate(ranked.auc, variance, max(units - 1, 1), units))
    return DomainMetrics(
        rows=rows,
        positives=positives,
        auc=interval,
        logloss=logloss(ranked.label, ranked.score),
        ece=calibration_error(ranked),
        calibration_ratio=float(ranked.score.sum()) / positives if positives else None,
        reason=missing_class(rows, positives),
    )
