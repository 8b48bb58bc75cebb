"""Metrics, paired comparison and the sharing table, from stored scores. Never imports torch."""

from isthmus.evaluation.aggregate import compare_means
from isthmus.evaluation.compare import compare
from isthmus.evaluation.evaluate import evaluate
from isthmus.evaluation.gate import gate, gate_ranks
from isthmus.evaluation.gate_types import Gate, GateRow, GateRules, Outcome
from isthmus.evaluation.predictions import Predictions
from isthmus.evaluation.rank_compare import compare_rank_means, compare_ranks
from isthmus.evaluation.rank_metrics import (
    ProtocolMetrics,
    RankFigures,
    RankMetrics,
    evaluate_ranks,
    metric_of_ranks,
)
from isthmus.evaluation.rank_sharing import share_ranks
from isthmus.evaluation.ranks import Ranks
from isthmus.evaluation.rules import Rules
from isthmus.evaluation.sharing import sharing
from isthmus.evaluation.types import (
    UNKNOWN,
    Action,
    Advice,
    CalibrationShift,
    Comparison,
    Difference,
    DomainComparison,
    DomainMetrics,
    DomainSharing,
    Interval,
    Metrics,
    SharingTable,
    Shift,
    Verdict,
)

__all__ = [
    "UNKNOWN",
    "Action",
    "Advice",
    "CalibrationShift",
    "Comparison",
    "Difference",
    "DomainComparison",
    "DomainMetrics",
    "DomainSharing",
    "Gate",
    "GateRow",
    "GateRules",
    "Interval",
    "Metrics",
    "Outcome",
    "Predictions",
    "ProtocolMetrics",
    "RankFigures",
    "RankMetrics",
    "Ranks",
    "Rules",
    "SharingTable",
    "Shift",
    "Verdict",
    "compare",
    "compare_means",
    "compare_rank_means",
    "compare_ranks",
    "evaluate",
    "evaluate_ranks",
    "gate",
    "gate_ranks",
    "metric_of_ranks",
    "share_ranks",
    "sharing",
]
