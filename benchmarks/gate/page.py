"""The simulated error rates as the docs show them: a table and a picture of the committed rows."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import altair as alt

from benchmarks.gate.errors import Errors
from benchmarks.gate.worlds import KINDS
from isthmus.bench.rows import Row
from isthmus.report.palette import Palette
from isthmus.report.picture import Picture, rows_of

RESULTS = Path(__file__).parent.parent / "results" / "gate_errors.csv"
PAGE = Path(__file__).parent.parent.parent / "docs" / "gate.md"
_START, _END = "<!-- gate errors -->", "<!-- /gate errors -->"
TOGETHER = "25 small domains as one"
COLUMNS = ("world", "margin", "repetitions", "row", "false_passes", "unguarded", "power", "worse_at_margin", "any_false_worse")  # fmt: skip
"""Shares of the repetitions; ``any_false_worse`` is of a gate, and the same for all of its rows."""
_OVERALL = "(overall)"


def rows_from(
    at: Errors, same: Errors, *, world: str, margin: float, repetitions: int
) -> list[Row]:
    """The rows of one world: at the margin, and of an equal candidate."""
    figures = zip(at.rows, same.rows, strict=True)
    return [
        {
            "world": world,
            "margin": f"{margin:g}",
            "repetitions": str(repetitions),
            "row": lost.name,
            "false_passes": f"{lost.passes:.4f}",
            "unguarded": f"{lost.unguarded:.4f}",
            "power": f"{level.passes:.4f}",
            "worse_at_margin": f"{lost.worse:.4f}",
            "any_false_worse": f"{same.any_worse:.4f}",
        }
        for lost, level in figures
    ]


def table(rows: Sequence[Row]) -> str:
    """One line a world and domain, in percent."""
    head = "| world, margin | domain | passes at the margin | with Student's bound alone | passes when equal | called worse at the margin |"
    lines = [head, "|---|---|--:|--:|--:|--:|"]
    for row in rows:
        shares = ("false_passes", "unguarded", "power", "worse_at_margin")
        figures = [f"{100 * float(row[name]):.1f} %" for name in shares]
        lines.append(f"| {row['world']}, {row['margin']} | {row['row']} | {' | '.join(figures)} |")
    return "\n".join(lines)


def false_alarms(rows: Sequence[Row]) -> str:
    """One line a world: the chance that a gate calls anything worse though all is equal."""
    lines = ["| world | anything called worse, all being equal |", "|---|--:|"]
    found = {row["world"]: float(row["any_false_worse"]) for row in rows}
    lines += [f"| {world} | {100 * share:.1f} % |" for world, share in found.items()]
    return "\n".join(lines)


def tables(rows: Sequence[Row]) -> str:
    """Both, as they stand between the marks of the page."""
    return f"{table(rows)}\n\n{false_alarms(rows)}"


def write_page(rows: Sequence[Row]) -> None:
    """Put the tables in their place in ``docs/gate.md``."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(_START)
    after = rest.partition(_END)[2]
    PAGE.write_text(f"{before}{_START}\n{tables(rows)}\n{_END}{after}", encoding="utf-8")


def picture(rows: Sequence[Row], palette: Palette) -> Picture:
    """Passes against rows of the domain, one panel a world: at the margin, and when equal."""
    charts = []
    for title, asked in _PANELS:
        panels = [_panel(rows, world, asked, palette) for world in KINDS]
        charts.append(alt.hconcat(*panels, spacing=14).properties(title=title))
    caption = (
        "Each panel is a world. Above, whatever passes is an error: the gate keeps to the line of "
        "5 %, Student's bound alone does not where losses are rare. Below, the same for a candidate "
        "that is equal: more rows, more passes."
    )
    return Picture(
        "errors", "Errors and power of the gate", caption, alt.vconcat(*charts, spacing=18)
    )


_PANELS = (
    ("Passes though worse by exactly the margin", (("the gate", "false_passes"), ("Student's bound alone", "unguarded"))),
    ("Passes when equal", (("the gate", "power"),)),
)  # fmt: skip


def _panel(
    rows: Sequence[Row], world: str, asked: Iterable[tuple[str, str]], palette: Palette
) -> Any:
    sized = [row for row in rows if row["world"] == world and row["row"] != _OVERALL]
    values = [
        {"bound": bound, "rows": int(row["row"].split()[0]), "share": float(row[name])}
        for row in sized
        for bound, name in asked
    ]
    several = len({value["bound"] for value in values}) > 1
    colour = alt.Color(
        "bound:N",
        title=None,
        scale=alt.Scale(
            domain=["the gate", "Student's bound alone"], range=[palette.gains, palette.hurt]
        ),
        legend=alt.Legend() if several and world == KINDS[0] else None,
    )
    share = alt.Y(
        "share:Q",
        title=None,
        axis=alt.Axis(format="%", tickCount=4),
        scale=alt.Scale(domain=[0, 0.5 if several else 1], clamp=True),
    )
    size = alt.X(
        "rows:Q", title="rows", scale=alt.Scale(type="log"), axis=alt.Axis(values=[100, 1000])
    )
    lines = alt.Chart(rows_of(values)).mark_line(point=True, strokeWidth=2)
    drawn = lines.encode(x=size, y=share, color=colour)
    level = alt.Chart(rows_of([{"share": 0.05}])).mark_rule(strokeDash=[4, 3], color=palette.muted)
    layers = [level.encode(y="share:Q"), drawn] if several else [drawn]
    return alt.layer(*layers).properties(width=112, height=130, title=world)
