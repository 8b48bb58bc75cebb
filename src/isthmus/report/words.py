"""Figures in words, said once and alike in every form of the report."""

import math
from collections.abc import Sequence
from typing import Final

from isthmus.diagnosis import RANK, Finding
from isthmus.evaluation import (
    UNKNOWN,
    Action,
    CalibrationShift,
    DomainSharing,
    Interval,
    Metrics,
    SharingTable,
    Shift,
    Verdict,
)

ROLES: Final = ("joint", "shared", "isolated")
ORDER: Final = (Verdict.gains, Verdict.unchanged, Verdict.hurt, Verdict.not_measurable)
MEANING: Final = {
    Verdict.gains: "better than its own model, by more than chance",
    Verdict.unchanged: "no difference, in a domain large enough to have shown one",
    Verdict.hurt: "worse than its own model, by more than chance",
    Verdict.not_measurable: "no difference seen, and too little data to have shown one",
}
ACTIONS: Final = (Action.own, Action.collect, Action.pool, Action.jointly)
"""Those first that ask for something to be done."""
SHIFTS: Final = (Shift.nearer, Shift.none, Shift.moved, Shift.farther)
SHIFT_MEANING: Final = {
    Shift.nearer: "nearer to what comes true",
    Shift.none: "no shift",
    Shift.moved: "shifted, too few labels to say whether for the better",
    Shift.farther: "farther from what comes true",
    Shift.not_measurable: "not measurable",
}
MINUS: Final = "\N{MINUS SIGN}"
NONE: Final = "\N{EN DASH}"
"""Shown for an undefined figure."""


def number(value: float | None, digits: int = 3) -> str:
    """``0.713``; a dash where undefined."""
    return NONE if value is None else f"{value:.{digits}f}".replace("-", MINUS)


def signed(value: float | None, digits: int = 3) -> str:
    """``+0.013`` or a true minus sign; a zero carries no sign."""
    if value is None:
        return NONE
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", MINUS)


def bounds(interval: Interval | None, digits: int = 3, *, plus: bool = False) -> str:
    """``[0.701, 0.725]``; empty where undefined."""
    if interval is None:
        return ""
    write = signed if plus else number
    return f"[{write(interval.low, digits)}, {write(interval.high, digits)}]"


def with_bounds(interval: Interval | None, digits: int = 3, *, plus: bool = False) -> str:
    """``0.713 [0.701, 0.725]``; a dash where undefined."""
    if interval is None:
        return NONE
    write = signed if plus else number
    return f"{write(interval.value, digits)} {bounds(interval, digits, plus=plus)}"


def spread(interval: Interval | None, *, plus: bool = False) -> str:
    """``.713±.012``: three decimals, the wider side of the interval after the sign."""
    if interval is None:
        return NONE
    write = signed if plus else number
    half = max(interval.high - interval.value, interval.value - interval.low)
    return f"{write(interval.value)}±{number(half)}".replace("0.", ".")


def p_value(p: float | None) -> str:
    """``0.031``, ``<0.001``; a dash where undefined."""
    if p is None:
        return NONE
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def times(ratio: Interval | None) -> str:
    """``×1.12``; a dash where undefined."""
    return NONE if ratio is None else f"×{number(ratio.value, 2)}"


def shifted(found: CalibrationShift | None) -> str:
    """``[1.05, 1.19] farther``: the interval, and what is said where it is more than chance."""
    if found is None or found.shift is None:
        return ""
    said = "" if found.verdict == Shift.none else f" {found.verdict.value}"
    return f"{bounds(found.shift, 2)}{said}"


def plural(count: int, noun: str) -> str:
    """``1 domain``, ``32 domains``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def tally(counts: dict[Verdict, int]) -> str:
    """``12 gain, 9 unchanged, 2 hurt, 9 not measurable``."""
    word = {Verdict.gains: "gain"}
    return ", ".join(f"{counts.get(v, 0)} {word.get(v, v.value)}" for v in ORDER)


def to_do(table: SharingTable) -> str:
    """``Serve its own: 2 (A, B). Serve jointly: 9.``; empty without advice."""
    said = []
    for action in ACTIONS:
        names = [row.domain for row in table.rows if row.advice and row.advice.action == action]
        if not names:
            continue
        some = "" if action == Action.jointly else f" ({_some(names)})"
        said.append(f"{action.value.capitalize()}: {len(names):,}{some}.")
    return " ".join(said)


def findings(found: Sequence[Finding]) -> str:
    """``Diagnosis: 1 warning (ISTH402), 2 notes (ISTH104, ISTH601)``; empty without findings."""
    said = []
    for level in RANK:
        codes = [finding.code for finding in found if finding.severity is level]
        if codes:
            said.append(f"{plural(len(codes), level.value)} ({', '.join(dict.fromkeys(codes))})")
    return f"Diagnosis: {', '.join(said)}" if said else ""


def _some(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def calibration(table: SharingTable) -> str:
    """How many domains' scores were shifted, to which side, and the worst; empty where none was tested."""
    found = {row.domain: row.calibration for row in table.rows if row.calibration}
    tested = {name: one for name, one in found.items() if one.shift}
    if not tested:
        return ""
    count = {shift: sum(one.verdict == shift for one in tested.values()) for shift in SHIFTS}
    wrong = {n: one.shift.value for n, one in tested.items()
             if one.verdict == Shift.farther and one.shift}  # fmt: skip
    worst = max(wrong, key=lambda name: abs(math.log(wrong[name])), default="")
    example = f" (most: {worst}, ×{number(wrong[worst], 2)})" if worst else ""
    return (
        f"Of {plural(len(tested), 'domain')} tested, sharing moved the scores of "
        f"{count[Shift.farther]} farther from what comes true{example}, of {count[Shift.nearer]} "
        f"nearer to it, and of {count[Shift.moved]} with too few labels to say which; "
        f"{count[Shift.none]} show no shift."
    )


def headline(table: SharingTable) -> str:
    """Who gains, who is hurt, and by how much: one to three plain sentences."""
    total = sum(table.counts.values())
    if not total:
        return "There is no domain to report on."
    said = [_who(table, Verdict.gains), _who(table, Verdict.hurt)]
    silent = []
    if same := table.counts.get(Verdict.unchanged, 0):
        silent.append(f"{same} {'shows' if same == 1 else 'show'} no difference")
    if small := table.counts.get(Verdict.not_measurable, 0):
        silent.append(f"{small} {'has' if small == 1 else 'have'} too little data to tell")
    decided = table.counts.get(Verdict.gains, 0) + table.counts.get(Verdict.hurt, 0)
    rest = f" {'Of the others, ' if decided else ''}{' and '.join(silent)}." if silent else ""
    return (
        f"Of {plural(total, 'domain')}, {said[0]}, and {said[1]}.{rest} {mean_gain(table)}".strip()
    )


def _who(table: SharingTable, verdict: Verdict) -> str:
    rows = [row for row in table.rows if row.verdict == verdict and row.gain is not None]
    count = table.counts.get(verdict, 0)
    gaining = verdict == Verdict.gains
    if not count:
        return "none gains from sharing" if gaining else "none is hurt"
    verb = (
        ("gains from sharing" if gaining else "is hurt")
        if count == 1
        else ("gain from sharing" if gaining else "are hurt")
    )
    if not rows:
        return f"{count} {verb}"
    pick = max if gaining else min
    extreme = pick(rows, key=lambda row: row.gain.value if row.gain else 0.0)
    most = "" if count == 1 else "most: " if gaining else "worst: "
    amount = signed(extreme.gain.value, digits(table)) if extreme.gain else ""
    return f"{count} {verb} ({most}{extreme.domain}, {amount} {table.title})"


def mean_gain(table: SharingTable) -> str:
    """The gain over all domains weighted by their test rows, with its interval where there is one."""
    if table.overall is not None:
        return (
            f"Weighted by test rows, the gain is {signed(table.overall.value, 4)} {table.title} "
            f"{bounds(table.overall, 4, plus=True)}."
        )
    mean = weighted([(row.rows, row.gain) for row in known_domains(table)])
    if mean is None:
        return ""
    return f"Weighted by test rows, the gain is {signed(mean, 4)} {table.title}."


def digits(table: SharingTable) -> int:
    """Decimals of its figures: a hundredth is much for an NDCG, and little for an AUC."""
    return 4 if table.of_items else 3


def known(table: SharingTable) -> str:
    """What the column ``positives`` counts."""
    return "known items" if table.of_items else "positives"


def known_domains(table: SharingTable) -> list[DomainSharing]:
    """The rows that means go over: the unknown domain is in none."""
    return [row for row in table.rows if row.domain != UNKNOWN]


def weighted(rows: Sequence[tuple[int, Interval | None]]) -> float | None:
    """Mean of the defined values, weighted by rows; ``None`` if there is none."""
    known = [(weight, interval.value) for weight, interval in rows if interval is not None]
    total = sum(weight for weight, _ in known)
    return sum(weight * value for weight, value in known) / total if total else None


def domain_auc(table: SharingTable, metrics: dict[str, Metrics]) -> list[tuple[str, float]]:
    """(model, DomainAUC) for each model of the table: its metrics' own, else the table's mean.

    Of another metric than AUC, its mean over the rows of known domains.
    """
    found = []
    for role in ROLES:
        name = table.names.get(role)
        if name is None:
            continue
        stored = metrics.get(name)
        value = stored.domain_auc if stored else None
        if value is None:
            value = weighted([(row.rows, getattr(row, role)) for row in known_domains(table)])
        if value is not None:
            found.append((name, value))
    return found


def present_roles(table: SharingTable) -> list[tuple[str, str]]:
    """(role, model name) of the models that the table has figures of, joint first."""
    return [
        (role, table.names.get(role, role))
        for role in ROLES
        if any(getattr(row, role) is not None for row in table.rows)
    ]


def interval_of(row: DomainSharing, role: str) -> Interval | None:
    """The AUC (or other metric) of one of the three models in a domain."""
    found: Interval | None = getattr(row, role)
    return found
