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
    bounds = words.bounds(row.difference, DIGITS, plus=True)
    value = words.signed(row.difference.value, DIGITS)
    return f"{value} {bounds} {_title(gate)}, margin {row.margin:g}"


def line(gate: Gate, row: GateRow) -> str:
    """A row that stops the release: which, by how much, and what to do."""
    return f"{row.outcome.value}: {row.name}: {figures(gate, row)}. {advice(row)}"


def advice(row: GateRow) -> str:
    """What to do about a row that is worse, or cannot be told."""
    if row.outcome is Outcome.worse:
        if row.kind == "overall":
            return "The candidate loses over all domains: keep the incumbent."
        return "Keep the incumbent for it, train again, or allow a wider margin."
    if row.kind == "overall":
        return f"{_more(row)} Evaluate on more rows, or allow a wider margin.".strip()
    cure = "Judge small domains together (--small), allow a wider margin, or exclude it."
    return f"{_more(row)} {cure}".strip()


def difference(row: GateRow) -> str:
    """The cell of a table."""
    if row.difference is None:
        return words.NONE
    bounds = words.bounds(row.difference, DIGITS, plus=True)
    return f"{words.signed(row.difference.value, DIGITS)} {bounds}"


def _title(gate: Gate) -> str:
    return gate.metric if gate.metric == "AUC" else gate.metric.upper()


def _more(row: GateRow) -> str:
    if row.needed is None or row.difference is None:
        return ""
    if row.difference.value <= -row.margin:
        return f"It looks worse by the margin, which {row.rows:,} rows do not prove."
    return f"It has {row.rows:,} rows; about {row.needed:,} would settle an equal candidate."
