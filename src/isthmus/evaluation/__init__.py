"""Metrics, paired comparison and the sharing table, from stored scores. Never imports torch."""

from isthmus.evaluation.predictions import Predictions
from isthmus.evaluation.types import (
    UNKNOWN,
    Comparison,
    DomainComparison,
    DomainMetrics,
    DomainSharing,
    Interval,
    Metrics,
    SharingTable,
    Verdict,
)

__all__ = [
    "UNKNOWN",
    "Comparison",
    "DomainComparison",
    "DomainMetrics",
    "DomainSharing",
    "Interval",
    "Metrics",
    "Predictions",
    "SharingTable",
    "Verdict",
]
