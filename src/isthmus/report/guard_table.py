"""What guarding changed, domain by domain: for the terminal, for Markdown and for the page."""

from collections.abc import Sequence
from typing import Any, Final

from rich.console import Console

from isthmus.evaluation import Comparison
from isthmus.evaluation.guarding import Decision, GuardedDomain, GuardTable
from isthmus.report import words
from isthmus.report.console import Column, clean, print_table, say

WAYS: Final = {"own": "its own model", "part": "its own part, trained further", None: "joint"}


def guard_digits(table: GuardTable) -> int:
    """Decimals of a domain's figures."""
    return 3 if table.metric == "AUC" else 4


def guard_columns(table: GuardTable) -> list[tuple[str, bool]]:
    """Headings, and whether figures stand under them."""
    metric = table.metric.upper()
    return [
        ("Domain", False),
        ("Served by", False),
        ("Test rows", True),
        (f"{metric} before", True),
        (f"{metric} after", True),
        ("Change", True),
        ("p", True),
    ]


def guard_rows(table: GuardTable) -> list[list[str]]:
    """A row of cells a guarded domain, and one of all domains together."""
    digits = guard_digits(table)
    rows = [
        [
            row.domain,
            WAYS[row.decision.way] + (" (named)" if row.decision.forced else ""),
            f"{row.rows:,}",
            words.with_bounds(row.before, digits),
            words.with_bounds(row.after, digits),
            _change(row, digits),
            words.p_value(row.p_adjusted),
        ]
        for row in table.rows
    ]
    shown = sum(row.rows for row in table.rows) + table.untouched_rows
    whole = [
        "all domains",
        "",
        f"{shown:,}",
        words.with_bounds(table.before, 4),
        words.with_bounds(table.after, 4),
        words.with_bounds(table.change, 4, plus=True),
        words.p_value(table.p_value),
    ]
    return [*rows, whole]


def guard_headline(table: GuardTable) -> str:
    """How many are guarded, and what that did for all domains together."""
    mean = "DomainAUC" if table.metric == "AUC" else table.metric.upper()
    count = len(table.rows)
    said = (
        f"{words.plural(count, 'domain')} {'is' if count == 1 else 'are'} guarded; all scores of "
        f"the other {table.untouched} are those of {table.joint} to the bit "
        f"({table.untouched_rows:,} rows compared)."
    )
    if table.change is None:
        return said
    return f"{said} {mean} {words.with_bounds(table.change, 4, plus=True)}."


def guard_view(table: GuardTable | None) -> dict[str, Any] | None:
    """What the page's section shows."""
    if table is None:
        return None
    return {
        "headline": guard_headline(table),
        "columns": guard_columns(table),
        "rows": guard_rows(table),
        "left": left_lines(table.left),
    }


def left_lines(decisions: Sequence[Decision]) -> list[str]:
    """A line a domain that is served jointly as before, though it was hurt or named."""
    return [
        f"{one.domain} stays as it is: {one.reason} ("
        + ", ".join(f"{way} {words.number(value, 4)}" for way, value in one.scores.items())
        + ")"
        for one in decisions
        if one.way is None
    ]


def print_guard(table: GuardTable, console: Console) -> None:
    """The table of ``isthmus guard``, and what it adds up to."""
    columns: list[Column[list[str]]] = [
        Column(title, lambda row, place=place: clean(row[place]), left=not number)  # type: ignore[misc]
        for place, (title, number) in enumerate(guard_columns(table))
    ]
    narrow = [column for column in columns if column.header not in ("Served by", "Test rows")]
    print_table(console, [columns, narrow], guard_rows(table))
    console.print()
    say(console, guard_headline(table), style="bold")
    for line in left_lines(table.left):
        say(console, line)
    say(console, table.protocol, style="dim")


def print_left(
    comparison: Comparison | None, decisions: Sequence[Decision], console: Console
) -> None:
    """Why nothing is guarded: no domain is hurt, or nothing better was found."""
    if comparison is not None:
        say(
            console,
            f"joint (A) against isolated (B): {words.tally(comparison.counts)}",
            style="bold",
        )
        say(console, comparison.protocol, style="dim")
    for line in left_lines(decisions):
        say(console, line)


def _change(row: GuardedDomain, digits: int) -> str:
    if row.change is None and row.reason:
        return row.reason
    return words.with_bounds(row.change, digits, plus=True)
