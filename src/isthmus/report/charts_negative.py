"""Which domains several joint models hurt, side by side (SyNCRec's figure 1)."""

from collections.abc import Sequence
from typing import Any, Final

import altair as alt

from isthmus.evaluation import SharingTable, Verdict
from isthmus.report.palette import Palette
from isthmus.report.picture import Picture, rows_of

_SHAPES: Final = ("circle", "diamond", "square", "triangle-up")
_STEP: Final = 13


def negative_transfer(tables: Sequence[SharingTable], palette: Palette) -> Picture:
    """Gain of each table's joint model over the same isolated ones, by domain, with its interval.

    Domains stand in the order of the first table, without those that no table has a gain of.
    """
    key, title = "negative_transfer", "Negative transfer by domain"
    values = [value for table in tables for value in _values(table)]
    if not values:
        return Picture(key, title, reason="No domain has a measured gain.")
    first = tables[0]
    hurt = [f"{_joint(table)} {_hurt(table)}" for table in tables]
    caption = (
        f"{first.title} of each joint model minus {first.title} of "
        f"{first.names.get('isolated', 'isolated')}, with 95 % intervals over rows and seeds; left "
        f"of zero sharing hurts. Domains that are hurt by more than chance: {', '.join(hurt)}."
    )
    return Picture(key, title, caption, _chart(values, tables, palette))


def _joint(table: SharingTable) -> str:
    return table.names.get("joint", "joint")


def _hurt(table: SharingTable) -> str:
    names = [row.domain for row in table.rows if row.verdict is Verdict.hurt]
    return f"{len(names)} ({', '.join(names)})" if names else "none"


def _values(table: SharingTable) -> list[dict[str, Any]]:
    return [
        {
            "domain": row.domain,
            "model": _joint(table),
            "verdict": row.verdict.value,
            "rows": row.rows,
            **{name: round(getattr(row.gain, name), 5) for name in ("value", "low", "high")},
        }
        for row in table.rows
        if row.gain is not None
    ]


def _chart(values: list[dict[str, Any]], tables: Sequence[SharingTable], palette: Palette) -> Any:
    models = [_joint(table) for table in tables]
    domains = list(dict.fromkeys(value["domain"] for value in values))
    hues = palette.series[: len(models)]
    legend = alt.Legend(title=None, orient="top")
    axis = alt.Axis(grid=True, ticks=False, domain=False, labelOverlap=False)
    base = alt.Chart(rows_of(values)).encode(
        y=alt.Y("domain:N", sort=None, scale=alt.Scale(domain=domains), title=None, axis=axis),
        yOffset=alt.YOffset("model:N", scale=alt.Scale(domain=models)),
        color=alt.Color("model:N", scale=alt.Scale(domain=models, range=list(hues)), legend=legend),
        tooltip=[
            "domain:N",
            "model:N",
            "verdict:N",
            alt.Tooltip("value:Q", title="gain", format="+.4f"),
            alt.Tooltip("rows:Q", title="test rows", format=","),
        ],
    )
    x = alt.X(
        "low:Q",
        title=f"gain in {tables[0].title} over one model a domain",
        axis=alt.Axis(format="+.3~f", orient="top", tickCount=6, grid=False),
    )
    shape = alt.Shape(
        "model:N",
        scale=alt.Scale(domain=models, range=list(_SHAPES[: len(models)])),
        legend=legend,
    )
    zero = alt.Chart(rows_of([{"zero": 0}])).mark_rule(color=palette.ink, strokeDash=[4, 3])
    return alt.layer(
        zero.encode(x="zero:Q"),
        base.mark_rule(strokeWidth=2, opacity=0.75).encode(x=x, x2="high:Q"),
        base.mark_point(filled=True, size=60, opacity=1).encode(x="value:Q", shape=shape),
    ).properties(width="container", height=_STEP * (len(models) + 0.5) * len(domains))
