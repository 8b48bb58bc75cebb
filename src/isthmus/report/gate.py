"""The gate's findings in words: the headline, one line a row that stops, what to do about it."""

from typing import Final

from isthmus.evaluation import Gate, GateRow, Outcome
from isthmus.report import words

DIGITS: Final = 4


def headline(gate: Gate) -> str:
    """The answer in one sentence, with the exit code's meaning."""
    counts = gate.counts
    said = ", ".join(f"{count} {outcome.value}" for outcome, count in counts.items() if count)
    answers = (
        "passed: nothing stops the release",
        "failed: worse than the incumbent",
        "cannot tell: too little data for the margin",
    )
    return f"Gate {answers[gate.exit_code]} ({said})."


def level(gate: Gate) -> str:
    """Both bounds are one-sided, so that the interval between them holds twice alpha outside."""
    return f"{100 * (1 - 2 * gate.rules.alpha):g} %"


def figures(gate: Gate, row: GateRow) -> str:
    """``−0.0240 [−0.0370, −0.0110] AUC, margin 0.02``; the reason where nothing was tested."""
    if row.difference is None:
        return f"{row.reason}; margin {row.margin:g}"
    return f"{difference(row)} {_title(gate)}, margin {row.margin:g}"


def line(gate: Gate, row: GateRow) -> str:
    """A row that stops the release: which, by how much, and what to do."""
    return f"{row.outcome.value}: {row.name}: {figures(gate, row)}. {advice(row)}"


def advice(row: GateRow) -> str:
    """What to do about a row that is worse, or what it lacks."""
    if row.outcome is Outcome.worse:
        if row.kind == "overall":
            return "It loses over all domains: keep the incumbent."
        return "Keep the incumbent for it, train again, or allow a wider margin."
    if row.difference is None or row.needed is None:
        return "It cannot be tested on these rows."
    if row.difference.value <= -row.margin:
        return f"It looks worse by the margin, which {row.rows:,} rows do not prove."
    if row.needed <= row.rows:
        return f"{row.rows:,} rows would do for an equal candidate; this one looks lower."
    return f"About {row.needed:,} rows would settle an equal candidate; it has {row.rows:,}."


def cure(gate: Gate) -> str:
    """What to do about rows that cannot be told; empty where none stops the release."""
    if not any(row.outcome is Outcome.cannot_tell for row in gate.stopping):
        return ""
    return (
        "Where it cannot tell: evaluate on more rows, judge small domains together (--small N), "
        "allow a wider margin or exclude them (--margins FILE), or let them be (--cannot-tell pass)."
    )


def difference(row: GateRow) -> str:
    """The cell of a table."""
    return words.with_bounds(row.difference, DIGITS, plus=True)


def _title(gate: Gate) -> str:
    return gate.metric if gate.metric == "AUC" else gate.metric.upper()
