"""The picture of what guarding changed: before and after, with intervals, one row a domain."""

from typing import Any

import altair as alt

from isthmus.evaluation import Interval
from isthmus.evaluation.guarding import GuardTable
from isthmus.report import words
from isthmus.report.guard_table import WAYS, guard_digits
from isthmus.report.palette import Palette
from isthmus.report.picture import MANY, Picture, rows_of, step

_WHOLE = "all domains"


def dumbbell(table: GuardTable, palette: Palette) -> Picture:
    """Each guarded domain before and after, and all domains together."""
    key, title = "guard", f"{table.metric.upper()} before and after guarding"
    values = _values(table)
    if not values:
        return Picture(key, title, reason="No guarded domain has rows enough to measure.")
    names = list(dict.fromkeys(value["domain"] for value in values))
    caption = (
        "On rows that decided nothing, with 95 % intervals. The line joins the two of one domain; "
        "all other domains are served as before."
    )
    chart = _chart(values, names, table, palette)
    return Picture(key, title, caption, chart, tall=len(names) > MANY)


def _values(table: GuardTable) -> list[dict[str, Any]]:
    figures = [(row.domain, row.before, row.after, WAYS[row.decision.way]) for row in table.rows]
    figures.append((_WHOLE, table.before, table.after, "guarded as a whole"))
    digits = guard_digits(table)
    return [
        {
            "domain": domain,
            "when": when,
            "by": by if when == "after" else "the joint model",
            **{key: round(getattr(found, key), 5) for key in ("value", "low", "high")},
            "text": words.with_bounds(found, digits),
        }
        for domain, before, after, by in figures
        for when, found in (("before", before), ("after", after))
        if isinstance(found, Interval)
    ]


def _chart(
    values: list[dict[str, Any]], names: list[str], table: GuardTable, palette: Palette
) -> Any:
    when = ["before", "after"]
    axis = alt.Axis(grid=True, ticks=False, domain=False, labelOverlap=False)
    y = alt.Y("domain:N", sort=None, scale=alt.Scale(domain=names), title=None, axis=axis)
    legend = alt.Legend(title=None)
    colour = alt.Color(
        "when:N",
        scale=alt.Scale(domain=when, range=[palette.isolated, palette.joint]),
        legend=legend,
    )
    shape = alt.Shape(
        "when:N", scale=alt.Scale(domain=when, range=["diamond", "circle"]), legend=legend
    )
    # both intervals of a domain are seen: one a little above its line, one a little below
    offset = alt.YOffset("when:N", scale=alt.Scale(domain=when))
    tooltip = [
        alt.Tooltip("domain:N", title="Domain"),
        alt.Tooltip("when:N", title="When"),
        alt.Tooltip("by:N", title="Served by"),
        alt.Tooltip("text:N", title=table.metric.upper()),
    ]
    base = alt.Chart(rows_of(values)).encode(y=y)
    x = alt.X(
        "value:Q",
        title=table.metric.upper(),
        scale=alt.Scale(zero=False),
        axis=alt.Axis(
            format=".2f" if table.metric == "AUC" else ".3~f",
            orient="top",
            tickCount=6,
            grid=False,
        ),
    )
    bar = base.mark_rule(color=palette.line, strokeWidth=4).encode(
        x=alt.X("min(value):Q"), x2="max(value):Q"
    )
    intervals = base.mark_rule(strokeWidth=2, opacity=0.7).encode(
        x=alt.X("low:Q"), x2="high:Q", color=colour, yOffset=offset, tooltip=tooltip
    )
    points = base.mark_point(filled=True, size=80, opacity=1).encode(
        x=x, color=colour, shape=shape, yOffset=offset, tooltip=tooltip
    )
    height = (step(len(names)) + 14) * len(names)
    return alt.layer(bar, intervals, points).properties(width="container", height=height)
