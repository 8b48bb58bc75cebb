"""What a guard decides on and shows: halves of users, figures by domain, the table before and after.

Which domains are guarded, and how, is decided on some rows; what became of them is shown on others.
Shown on the same rows, the domains that chance made look worst would seem to recover.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from isthmus.evaluation.either import Table, compared
from isthmus.evaluation.evaluate import evaluate
from isthmus.evaluation.predictions import Ints, Predictions
from isthmus.evaluation.rank_compare import arm_intervals
from isthmus.evaluation.rank_metrics import evaluate_ranks
from isthmus.evaluation.ranks import METRIC, Ranks
from isthmus.evaluation.rules import Rules
from isthmus.evaluation.types import UNKNOWN, Comparison, DomainComparison, Interval, Verdict
from isthmus.schema import Frozen

Way = Literal["own", "part"]
"""A guarded domain is served by its own model, or by its own part of the joint one, trained further."""


class Decision(Frozen):
    """Why and how a domain is guarded, on the rows that decide.

    ``difference`` is the metric of the joint model minus that of the domain's own, ``p_adjusted``
    its p-value, corrected over the domains. ``scores`` are the metric of what could serve it:
    "joint", and "own" and "part" where there are such. ``way`` is ``None`` where the joint model
    goes on serving it, and ``reason`` says why.
    """

    domain: str
    forced: bool = False
    way: Way | None = None
    difference: Interval | None = None
    p_adjusted: float | None = None
    scores: dict[str, float] = {}
    reason: str = ""


class GuardedDomain(Frozen):
    """A guarded domain before and after, on the rows that show."""

    decision: Decision
    rows: int
    before: Interval | None = None
    after: Interval | None = None
    change: Interval | None = None
    p_adjusted: float | None = None
    verdict: Verdict
    reason: str = ""

    @property
    def domain(self) -> str:
        """Its name."""
        return self.decision.domain


class GuardTable(Frozen):
    """What guarding changed: ``rows`` in the order of the schema, and all domains together.

    ``left`` are the domains that were found hurt, or named, and for which nothing better was found.
    ``untouched`` counts the other domains, ``untouched_rows`` their rows on which the scores were
    compared bit for bit. ``before``, ``after`` and ``change`` are of the DomainAUC (of retrievers
    of the metric over all rows of known domains). ``protocol`` says in words how it was decided.
    """

    joint: str
    isolated: str
    metric: str
    alpha: float
    rows: tuple[GuardedDomain, ...]
    left: tuple[Decision, ...] = ()
    untouched: int
    untouched_rows: int
    before: Interval | None = None
    after: Interval | None = None
    change: Interval | None = None
    p_value: float | None = None
    protocol: str


def half(user: Ints) -> npt.NDArray[np.bool_]:
    """Whether a user's rows are of the first half, [N]: by a hash of the id, so all rows or none."""
    with np.errstate(over="ignore"):
        mixed = user.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return (mixed >> np.uint64(63)) == 0


def figures(table: Table) -> dict[str, Interval]:
    """The metric of each domain in which it is defined."""
    if isinstance(table, Ranks):
        return arm_intervals([table], METRIC)
    found = evaluate(table).by_domain
    return {name: one.auc for name, one in found.items() if one.auc is not None}


def hurt(comparison: Comparison) -> list[DomainComparison]:
    """The known domains in which the first is significantly worse."""
    return [row for row in comparison.rows if row.verdict == Verdict.hurt and row.domain != UNKNOWN]


def choose(scores: Mapping[str, float], ways: Sequence[Way], *, forced: bool) -> Way | None:
    """The better of the ``ways`` that are open (if alike, the first); ``None`` to leave it as it is.

    One that is no better than "joint", or is not measured, is taken only if ``forced``.
    """
    if not ways:
        return None
    best = max(ways, key=lambda way: scores.get(way, -np.inf))
    better = scores.get(best, -np.inf) > scores.get("joint", -np.inf)
    return best if forced or better else None


def changed_rows(before: Table, after: Table, guarded: Sequence[str]) -> Ints:
    """The rows of other domains than ``guarded`` whose scores (or places) differ in any bit."""
    ids = 1 + np.flatnonzero(np.isin(before.domains, list(guarded)))
    if isinstance(before, Predictions) and isinstance(after, Predictions):
        differ = before.score.view(np.int64) != after.score.view(np.int64)
    else:
        assert isinstance(before, Ranks)
        assert isinstance(after, Ranks)
        differ = np.zeros(len(before), bool)
        for name in ("above", "tied", "of"):
            for protocol, places in getattr(before, name).items():
                differ |= places != getattr(after, name)[protocol]
    rows: Ints = before.row[differ & ~np.isin(before.domain, ids)]
    return rows


def guard_table(
    before: Table, after: Table, decisions: Sequence[Decision], rules: Rules, **said: str
) -> GuardTable:
    """The table of the domains that were decided to be guarded, on rows that decided nothing.

    Holm's correction of the changes is over the guarded domains alone. ``said`` are the names of
    the runs, "joint" and "isolated", and the "protocol".

    Raises as ``compare`` and ``compare_ranks`` do.
    """
    guarded = {one.domain: one for one in decisions if one.way is not None}
    ids = 1 + np.flatnonzero(np.isin(before.domains, list(guarded)))
    own = np.isin(before.domain, ids)
    found = {row.domain: row for row in compared([after.take(own)], [before.take(own)], rules).rows}
    values = figures(before), figures(after)
    whole = compared([after], [before], rules)
    return GuardTable(
        metric=whole.metric,
        alpha=rules.alpha,
        rows=tuple(
            _row(guarded[name], found[name], values) for name in before.domains if name in guarded
        ),
        left=tuple(one for one in decisions if one.way is None),
        untouched=len(before.domains) - len(guarded),
        untouched_rows=int((~own).sum()),
        before=_overall(before),
        after=_overall(after),
        change=whole.overall,
        p_value=whole.overall_p_value,
        **said,
    )


def _row(
    decision: Decision,
    found: DomainComparison,
    values: tuple[Mapping[str, Interval], Mapping[str, Interval]],
) -> GuardedDomain:
    before, after = (by_domain.get(decision.domain) for by_domain in values)
    return GuardedDomain(
        decision=decision,
        rows=found.rows,
        before=before,
        after=after,
        change=found.difference,
        p_adjusted=found.p_adjusted,
        verdict=found.verdict,
        reason=found.reason,
    )


def _overall(table: Table) -> Interval | None:
    if isinstance(table, Ranks):
        return evaluate_ranks(table).primary.weighted.get(METRIC)
    return evaluate(table).domain_auc_interval
