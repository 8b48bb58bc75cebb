"""Coded checks of a run: what is wrong, how grave it is, and what to do. Never imports torch.

``isthmus.diagnose`` gathers the evidence; here it is judged, from plain arrays.
"""

from isthmus.diagnosis import (
    calibration,
    data,
    experts,
    ids,
    scores,
    seeds,
    training,
)
from isthmus.diagnosis.evidence import Audited, Course, Data, Evidence, Separated
from isthmus.diagnosis.registry import CHECKS, Check, NotApplicable, check, diagnose
from isthmus.diagnosis.types import RANK, Diagnosis, Finding, NotChecked, Severity

__all__ = [
    "CHECKS",
    "RANK",
    "Audited",
    "Check",
    "Course",
    "Data",
    "Diagnosis",
    "Evidence",
    "Finding",
    "NotApplicable",
    "NotChecked",
    "Separated",
    "Severity",
    "calibration",
    "check",
    "data",
    "diagnose",
    "experts",
    "ids",
    "scores",
    "seeds",
    "training",
]
