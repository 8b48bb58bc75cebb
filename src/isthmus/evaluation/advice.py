"""What to do with a domain, by explicit rules, from its row of the sharing table."""

import math

from isthmus.evaluation.rules import Rules
from isthmus.evaluation.types import (
    UNKNOWN,
    Action,
    Advice,
    DomainSharing,
    Interval,
    Shift,
    Verdict,
)

CHANCE = 0.5
"""The AUC of a model that knows nothing."""
LITTLE = 0.25
"""Of a metric of rankings: an own model below this part of the joint one's has learnt little."""

FEW_SEEDS = 5
"""Below so many, Student's t makes the noise between seeds count for much more than it is."""


def advise(
    row: DomainSharing, rules: Rules, metric: str = "AUC", *, seeds: int = 1
) -> Advice | None:
    """The first of these that holds; ``None`` for the unknown domain, which has no model of its own.

    1. hurt: serve its own.
    2. gains, and its own model is near chance (``near_chance``): pool more.
    3. gains, or unchanged: serve jointly.
    4. not measurable: collect rows, about as many as would show a change of ``rules.resolution``.

    Whatever is served jointly, and is farther from what comes true than its own model, is to be
    recalibrated; the reason says so.
    """
    if row.domain == UNKNOWN:
        return None
    if row.verdict == Verdict.not_measurable:
        return _collect(row, rules, metric, seeds)
    title = metric.upper()
    size = _size(row.gain, 3 if metric == "AUC" else 4)
    if row.verdict == Verdict.hurt:
        reason = (
            f"Sharing costs it {size} {title}, more than chance explains; `isthmus guard` serves "
            "it by its own model and all others jointly."
        )
        return Advice(action=Action.own, reason=reason)
    if row.verdict == Verdict.gains and near_chance(row, metric):
        reason = (
            f"All that is known of it comes from other domains: {_own_rows(row)} teach its own model "
            f"next to nothing ({_value(row.isolated)} {title}), sharing adds {size}; pool it with "
            "more data like it."
        )
        return Advice(action=Action.pool, reason=reason + _recalibrate(row))
    if row.verdict == Verdict.gains:
        reason = (
            f"Sharing adds {size} {title}, more than chance explains, to what its own "
            f"{_own_rows(row)} teach."
        )
    else:
        reason = (
            f"No difference, where one of {rules.resolution:g} would have shown: one model for all "
            "is cheaper to keep."
        )
    return Advice(action=Action.jointly, reason=reason + _recalibrate(row))


def near_chance(row: DomainSharing, metric: str = "AUC") -> bool:
    """Whether its own model has learnt next to nothing.

    Of AUC: its interval holds a half, or lies below. Of a metric of rankings, whose floor is near
    0: it is below ``LITTLE`` of the joint model's.
    """
    if row.isolated is None:
        return row.train_rows == 0
    if metric == "AUC":
        return row.isolated.low <= CHANCE
    return row.joint is not None and row.isolated.value < LITTLE * row.joint.value


def rows_to_show(rows: int, detectable: float, resolution: float) -> int:
    """Test rows that would show a difference of ``resolution``: what is detectable falls with 1/sqrt(n).

    Rounded up to two digits: no more of it is known. Noise between seeds, which rows do not lower,
    makes it too many.
    """
    needed = rows * (detectable / resolution) ** 2
    unit = 10 ** max(0, math.floor(math.log10(max(needed, 1.0))) - 1)
    return math.ceil(needed / unit) * unit


def _collect(row: DomainSharing, rules: Rules, metric: str, seeds: int) -> Advice:
    if row.detectable is not None:
        wanted = rows_to_show(row.rows, row.detectable, rules.resolution)
        reason = (
            f"Its {row.rows:,} test rows show changes of {row.detectable:.3f} {metric.upper()} at "
            f"best; about {wanted:,} would show one of {rules.resolution:g}{_fewer(seeds)}. Nothing "
            "speaks against serving it jointly until then."
        )
        return Advice(action=Action.collect, reason=reason + _recalibrate(row), rows=wanted)
    wanted_rows = _to_be_tested(row, rules, metric)
    about = (
        f"; from about {wanted_rows:,} rows on it can be tested at all, and it is then known how "
        "many more it needs"
        if wanted_rows
        else ""
    )
    said = row.reason[:1].upper() + row.reason[1:]
    return Advice(action=Action.collect, reason=f"{said}{about}.", rows=wanted_rows)


def _fewer(seeds: int) -> str:
    """Of few seeds the noise between them weighs much, and rows do not lower it."""
    return f", fewer with more than {seeds} seeds" if 1 < seeds < FEW_SEEDS else ""


def _to_be_tested(row: DomainSharing, rules: Rules, metric: str) -> int | None:
    """Rows that would hold ``min_class`` of the rarer label, at the rate of those that there are."""
    rarer = min(row.positives, row.rows - row.positives)
    if metric != "AUC" or rarer <= 0 or rarer >= rules.min_class:
        return None
    return math.ceil(row.rows * rules.min_class / rarer)


def _recalibrate(row: DomainSharing) -> str:
    found = row.calibration
    if found is None or found.verdict != Shift.farther:
        return ""
    return (
        f" Recalibrate it: its scores promise {_value(found.joint, 2)} times what comes true, its "
        f"own model's {_value(found.isolated, 2)} times."
    )


def _own_rows(row: DomainSharing) -> str:
    return f"{row.train_rows:,} training row{'' if row.train_rows == 1 else 's'}"


def _size(gain: Interval | None, digits: int) -> str:
    return f"{abs(gain.value):.{digits}f}" if gain else "an unknown amount of"


def _value(interval: Interval | None, digits: int = 3) -> str:
    return f"{interval.value:.{digits}f}" if interval else "none"
