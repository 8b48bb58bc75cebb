"""What evaluation returns: frozen values that go to JSON and back. Undefined is ``None``, never NaN."""

from enum import StrEnum
from typing import Literal, Self

from pydantic import model_validator

from isthmus.schema import Frozen

UNKNOWN = "(unknown)"
"""Name under which rows of the unknown domain (id 0) are reported; part of no mean over domains."""

Cluster = Literal["user", "row"]
"""What counts as one independent observation: all rows of a user together, or each row."""

Method = Literal["delong", "bootstrap"]


class Interval(Frozen):
    """An estimate and its interval (two-sided; 95 % unless the table that holds it says otherwise)."""

    value: float
    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low <= self.value <= self.high:  # NaN fails as well
            raise ValueError(f"not low <= value <= high: {self.low}, {self.value}, {self.high}")
        return self


class DomainMetrics(Frozen):
    """Metrics of the rows of one domain (or of all rows).

    ``auc`` counts ties as half. ``logloss`` is in nats a row. ``ece`` is the expected calibration
    error over bins of equal count. ``calibration_ratio`` is mean score / mean label: 1 is right,
    2 promises twice the clicks that came. What is undefined is ``None``, and ``reason`` says why.
    """

    rows: int
    positives: int
    auc: Interval | None = None
    logloss: float | None = None
    ece: float | None = None
    calibration_ratio: float | None = None
    reason: str = ""


class Metrics(Frozen):
    """One model on one split: overall, domain by domain, and means over domains.

    ``domain_auc`` weights each domain's AUC by its rows in this split, ``macro_auc`` weights all
    alike; both cover the ``macro_domains`` known domains that have both classes. ``undefined``
    holds the reason for each metric, and each domain, that lacks a value.
    """

    overall: DomainMetrics
    by_domain: dict[str, DomainMetrics]
    domain_auc: float | None = None
    domain_auc_interval: Interval | None = None
    macro_auc: float | None = None
    macro_domains: int = 0
    major5: float | None = None
    minor10: float | None = None
    minor5: float | None = None
    worst_domain: tuple[str, float] | None = None
    undefined: dict[str, str] = {}
    cluster: Cluster = "user"


class Verdict(StrEnum):
    """What a paired test says of one domain; docs/verdicts.md explains each with examples."""

    gains = "gains"
    """Better, and by more than chance: adjusted p < alpha with a positive difference."""
    unchanged = "unchanged"
    """No significant difference, in a domain large enough to have shown one of ``resolution``."""
    hurt = "hurt"
    """Worse, and by more than chance: adjusted p < alpha with a negative difference."""
    not_measurable = "not measurable"
    """No significant difference, and too few rows (or users) to have shown one: not "unchanged"."""


class DomainComparison(Frozen):
    """AUC of A minus AUC of B on the rows of one domain.

    ``p_adjusted`` is Holm's over the measurable domains. ``detectable`` is the smallest difference
    of AUC that this domain would have shown as significant with 80 % power.
    """

    domain: str
    rows: int
    positives: int
    difference: Interval | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    detectable: float | None = None
    verdict: Verdict
    reason: str = ""


class Comparison(Frozen):
    """A paired comparison, domain by domain, and of DomainAUC as a whole (``overall``).

    Of ranks it is of another ``metric``, and ``overall`` the mean over all rows of known domains.
    """

    rows: tuple[DomainComparison, ...]
    overall: Interval | None = None
    overall_p_value: float | None = None
    counts: dict[Verdict, int]
    seeds: int
    alpha: float
    resolution: float = 0.05
    min_class: int = 10
    method: Method = "delong"
    cluster: Cluster = "user"
    protocol: str
    metric: str = "AUC"


class Difference(Frozen):
    """A difference of two models' means, its interval, and the p-value of its being zero."""

    value: Interval
    p_value: float


class Shift(StrEnum):
    """What joint training did to the level of a domain's scores, against its own model's."""

    nearer = "nearer"
    """Moved by more than chance, and the own model's promise was proven wrong, by more."""
    none = "no shift"
    """No shift by more than chance."""
    moved = "moved"
    """Moved by more than chance; too few labels to tell which model promises what comes true."""
    farther = "farther"
    """Moved by more than chance, and the joint model's promise is proven wrong, by more."""
    not_measurable = "not measurable"
    """Not tested: too few rows of a label, or one user alone."""


class CalibrationShift(Frozen):
    """Calibration of a domain: mean score over mean label of ``joint`` and of ``isolated``.

    ``shift`` is the first by the second: 1.2 is a promise of a fifth more. ``p_adjusted`` is Holm's
    over the domains that were tested.
    """

    joint: Interval | None = None
    isolated: Interval | None = None
    shift: Interval | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    verdict: Shift
    reason: str = ""


class Action(StrEnum):
    """What to do with a domain; docs/verdicts.md has the rules."""

    jointly = "serve jointly"
    own = "serve its own"
    pool = "pool more"
    collect = "collect more rows"


class Advice(Frozen):
    """What to do with a domain, and why in a sentence.

    ``rows``: where rows are to be collected, about so many test rows would do (``None``: no count
    can be told from what is there).
    """

    action: Action
    reason: str
    rows: int | None = None


class DomainSharing(Frozen):
    """One domain of the sharing table; ``gain`` is AUC of joint minus AUC of isolated.

    ``calibration`` is there where scores are probabilities; ``advice`` is what to do with it.
    """

    domain: str
    train_rows: int
    rows: int
    positives: int
    joint: Interval | None = None
    shared: Interval | None = None
    isolated: Interval | None = None
    gain: Interval | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    detectable: float | None = None
    verdict: Verdict
    reason: str = ""
    calibration: CalibrationShift | None = None
    advice: Advice | None = None


class SharingTable(Frozen):
    """What sharing gained or lost, domain by domain: largest gain first, those without a gain last.

    ``names`` maps "joint", "shared" and "isolated" to the models' names. ``overall`` is the
    difference of DomainAUC, joint minus isolated. ``protocol`` says in words how it was measured.
    Of retrievers all figures are of another ``metric``, and ``overall`` the difference over all rows
    of known domains. ``resolution`` and ``min_class`` are those of the rules.
    """

    names: dict[str, str]
    seeds: int
    alpha: float
    rows: tuple[DomainSharing, ...]
    counts: dict[Verdict, int]
    protocol: str
    overall: Interval | None = None
    overall_p_value: float | None = None
    metric: str = "AUC"
    resolution: float = 0.05
    min_class: int = 10

    @property
    def title(self) -> str:
        """The metric as it is written in tables and sentences."""
        return self.metric.upper()

    @property
    def of_items(self) -> bool:
        """Whether items were ranked: ``positives`` are then rows whose item training knew."""
        return self.metric != "AUC"
