"""The gate in the terminal: the whole table, then one line for each row that stops the release."""

from typing import Final

from rich.console import Console
from rich.text import Text

from isthmus.evaluation import Gate, GateRow, Outcome
from isthmus.report import gate as said
from isthmus.report import words
from isthmus.report.console import Column, clean, print_table, say

_STYLES: Final = {
    Outcome.passes: "green",
    Outcome.worse: "bold red",
    Outcome.cannot_tell: "yellow",
    Outcome.excluded: "dim",
}


def print_gate(gate: Gate, console: Console) -> None:
    """The table of ``isthmus gate``, what stops the release, and how it was tested."""
    print_table(console, _layouts(gate), gate.rows)
    console.print()
    say(console, gate.protocol, style="dim")
    say(console, said.headline(gate), style="bold")
    for row in gate.stopping:
        say(console, said.line(gate, row), style=_STYLES[row.outcome])
    say(console, said.cure(gate))


def _layouts(gate: Gate) -> list[list[Column[GateRow]]]:
    known = "positives" if gate.metric == "AUC" else "known items"
    whole: list[Column[GateRow]] = [
        Column("domain", lambda row: clean(row.name), left=True),
        Column("rows", lambda row: f"{row.rows:,}"),
        Column(known, lambda row: f"{row.positives:,}"),
        Column(f"difference [{said.level(gate)}]", said.difference),
        Column("margin", lambda row: f"{row.margin:g}"),
        Column("p worse", lambda row: words.p_value(row.p_adjusted)),
        Column("outcome", _outcome, left=True),
    ]
    return [whole, [*whole[:2], *whole[3:5], whole[6]], [whole[0], whole[3], whole[6]]]


def _outcome(row: GateRow) -> Text:
    return Text(row.outcome.value, style=_STYLES[row.outcome])
