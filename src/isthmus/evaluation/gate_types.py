"""The release gate's settings and what it returns; docs/gate.md says what the outcomes mean."""

from collections import Counter
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from isthmus.evaluation.rules import Share
from isthmus.evaluation.types import Cluster, Interval
from isthmus.schema import Frozen

OVERALL = "(overall)"
Kind = Literal["domain", "small", "overall"]


class Outcome(StrEnum):
    """What the gate says of one domain."""

    passes = "passes"
    """Not worse by the margin or more: the lower bound is above -margin."""
    worse = "worse"
    """It does not pass, and is worse than the incumbent by more than chance."""
    cannot_tell = "cannot tell"
    """Neither: too little data for this margin."""
    excluded = "excluded"
    """Measured, and not judged, as the settings ask."""


class GateRules(Frozen):
    """Settings of the gate; a TOML of margins holds the same keys.

    ``margin``: the loss that is too much, in units of the metric; ``None``: 0.02 of AUC, 0.01 of
    rankings. ``domains``: margins of single domains; ``overall``: that of the mean over domains.
    ``exclude``: domains that are not judged, nor part of the mean. ``small``: domains with fewer
    test rows than this are judged together, as one. ``cannot_tell``: whether a domain with too
    little data stops a release. ``alpha``: the chance of passing a domain that is worse by the
    margin, and that of calling any domain worse where none is. ``min_class``: rows of each label
    (of retrievers: users) below which a domain is not tested.
    """

    margin: Share | None = None
    overall: Share | None = None
    domains: dict[str, Share] = {}
    exclude: tuple[str, ...] = ()
    small: Annotated[int, Field(ge=0)] = 0
    cannot_tell: Literal["fail", "pass"] = "fail"
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    min_class: Annotated[int, Field(ge=2)] = 10
    cluster: Cluster = "user"
    data: str = "the evaluated split"


class GateRow(Frozen):
    """One domain, all small ones together, or the mean over domains.

    ``difference`` is candidate minus incumbent. Its ``low`` end is the bound that is held against
    -``margin``, its ``high`` end the upper bound before correction; each is one-sided at alpha.
    ``p_worse`` is one-sided, against "not worse at all", ``p_adjusted`` Holm's over all rows that
    were tested. ``needed`` is about how many rows would settle the margin for an equal candidate.
    """

    name: str
    kind: Kind
    rows: int
    positives: int
    margin: float
    difference: Interval | None = None
    p_worse: float | None = None
    p_adjusted: float | None = None
    needed: int | None = None
    outcome: Outcome
    reason: str = ""


class Gate(Frozen):
    """What the gate found: domains first, then the small ones together, the mean last."""

    rows: tuple[GateRow, ...]
    metric: str
    seeds: int
    rules: GateRules
    protocol: str

    @property
    def counts(self) -> dict[Outcome, int]:
        """Rows by outcome."""
        found = Counter(row.outcome for row in self.rows)
        return {outcome: found[outcome] for outcome in Outcome}

    def stops(self, row: GateRow) -> bool:
        """Whether this row stops the release; a mean that cannot be told always does."""
        if row.outcome is Outcome.cannot_tell:
            return self.rules.cannot_tell == "fail" or row.kind == "overall"
        return row.outcome is Outcome.worse

    @property
    def stopping(self) -> tuple[GateRow, ...]:
        """The rows that stop the release, those that are worse first."""
        found = [row for row in self.rows if self.stops(row)]
        return tuple(sorted(found, key=lambda row: row.outcome is not Outcome.worse))

    @property
    def exit_code(self) -> int:
        """0: nothing stops the release; 1: something is worse; 2: something cannot be told."""
        if not self.stopping:
            return 0
        return 1 if self.stopping[0].outcome is Outcome.worse else 2
