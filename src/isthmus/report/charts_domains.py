"""Pictures with one row a domain: gains, and the AUC of the models."""

import math
from typing import Any, Final

import altair as alt

from isthmus.evaluation import DomainSharing, Interval, SharingTable
from isthmus.report import words
from isthmus.report.palette import SHAPES, Palette
from isthmus.report.picture import MANY, Picture, rows_of, step

ROLE_SHAPES: Final = {"joint": "circle", "shared": "diamond", "isolated": "square"}
_ABSENT: Final = "The report was made without isolated models, so there is no gain to show."


def gains(table: SharingTable | None, palette: Palette) -> Picture:
    """Interval plot of the gain over isolated: one row a domain, largest gain first."""
    key, title = "gains", "Gain over isolated models"
    if table is None:
        return Picture(key, title, reason=_ABSENT)
    rows = sorted(
        (row for row in table.rows if row.gain is not None),
        key=lambda row: -row.gain.value if row.gain else 0.0,
    )
    if not rows:
        return Picture(key, title, reason="No domain has enough rows to measure a gain.")
    chart = _interval_plot(rows, table, palette)
    return Picture(
        key, title, _gain_caption(table, len(rows)), chart, tall=len(rows) > MANY, by_domain=True
    )


def _gain_caption(table: SharingTable, shown: int) -> str:
    missing = len(table.rows) - shown
    left_out = (
        f" {words.plural(missing, 'domain')} without a measured gain left out." if missing else ""
    )
    return (
        f"{table.title} of {table.names.get('joint', 'joint')} minus {table.title} of "
        f"{table.names.get('isolated', 'isolated')}, with 95 % intervals. "
        f"Larger marks have more test rows.{left_out}"
    )


def _interval_plot(rows: list[DomainSharing], table: SharingTable, palette: Palette) -> Any:
    values = [{**_tooltip_values(row, table), **bar(row.gain)} for row in rows]
    names = [row.domain for row in rows]
    present = [v for v in words.ORDER if any(row.verdict == v for row in rows)]
    tooltip = [
        alt.Tooltip("rows:Q", title=title, format=",")
        if field == "rows"
        else alt.Tooltip(f"{field}:N", title=title)
        for field, title in _tooltip_titles(table)
    ]
    scale = alt.Scale(domain=present, range=[palette.verdicts[v] for v in present])
    shapes = alt.Scale(domain=present, range=[SHAPES[v] for v in present])
    base = alt.Chart(rows_of(values)).encode(
        y=domain_axis(names),
        color=alt.Color("verdict:N", scale=scale, legend=alt.Legend(title=None)),
    )
    zero = alt.Chart(rows_of([{"zero": 0}])).mark_rule(color=palette.muted).encode(x="zero:Q")
    lines = base.mark_rule(strokeWidth=2, opacity=0.75).encode(
        x=alt.X(
            "low:Q",
            title=f"gain in {table.title}",
            axis=_value_axis("+.3~f" if table.of_items else "+.2f"),
        ),
        x2="high:Q",
        tooltip=tooltip,
    )
    points = base.mark_point(filled=True, opacity=1).encode(
        x="value:Q",
        shape=alt.Shape("verdict:N", scale=shapes, legend=alt.Legend(title=None)),
        size=alt.Size(
            "rows:Q",
            # its own domain, not that of the rows shown: filtering changes no mark's size
            scale=alt.Scale(
                type="sqrt", domain=[0, max(row.rows for row in rows) or 1], range=[20, 240]
            ),
            legend=_size_legend([row.rows for row in rows], palette),
        ),
        tooltip=tooltip,
    )
    return alt.layer(zero, lines, points).properties(
        width="container", height=step(len(rows)) * len(rows)
    )


def _value_axis(format: str) -> Any:
    return alt.Axis(format=format, orient="top", tickCount=6, grid=False)


def _size_legend(rows: list[int], palette: Palette) -> Any:
    """Three round numbers of rows at most, each a tenth of the one before it."""
    top = 10.0 ** math.floor(math.log10(max(rows, default=1) or 1))
    top = max((m * top for m in (1, 2, 5) if m * top <= max(rows, default=1)), default=1.0)
    values = sorted({max(1, round(top / 10**i)) for i in range(3)})
    return alt.Legend(
        title="test rows", values=values, format=",.0f", symbolFillColor=palette.muted
    )


def domain_axis(names: list[str]) -> Any:
    """One row a domain, in this order."""
    close = len(names) > MANY
    axis = alt.Axis(
        grid=True, ticks=False, domain=False, labelFontSize=9 if close else 11, labelOverlap=False
    )
    return alt.Y("domain:N", sort=None, scale=alt.Scale(domain=names), title=None, axis=axis)


def bar(interval: Interval | None) -> dict[str, float]:
    """The fields ``value``, ``low`` and ``high`` of a row; none where it is undefined."""
    if interval is None:
        return {}
    return {key: round(getattr(interval, key), 5) for key in ("value", "low", "high")}


def _tooltip_titles(table: SharingTable) -> list[tuple[str, str]]:
    models = [(role, f"{table.title} {name}") for role, name in words.present_roles(table)]
    return [
        ("domain", "Domain"),
        ("verdict", "Verdict"),
        ("gain", "Gain"),
        *models,
        ("rows", "Test rows"),
        ("positives", words.known(table).capitalize()),
        ("train", "Training rows"),
        ("p", "Corrected p-value"),
        ("detectable", "Smallest detectable gain"),
        ("reason", "Note"),
    ]


def _tooltip_values(row: DomainSharing, table: SharingTable) -> dict[str, Any]:
    digits = words.digits(table)
    models = {
        role: words.with_bounds(words.interval_of(row, role), digits)
        for role, _ in words.present_roles(table)
    }
    return {
        "domain": row.domain,
        "verdict": row.verdict.value,
        "gain": words.with_bounds(row.gain, digits, plus=True),
        **models,
        "rows": row.rows,
        "positives": f"{row.positives:,}",
        "train": f"{row.train_rows:,}",
        "p": words.p_value(row.p_adjusted),
        "detectable": words.number(row.detectable, digits),
        "reason": row.reason or words.NONE,
    }


def aucs(table: SharingTable | None, palette: Palette) -> Picture:
    """Dot plot of the AUC (or other metric) of the models, one row a domain, in the table's order."""
    key, title = "auc", "{} of the models, domain by domain"
    if table is None:
        return Picture(key, title.format("AUC"), reason=_ABSENT)
    title = title.format(table.title)
    roles = words.present_roles(table)
    rows = [row for row in table.rows if any(words.interval_of(row, role) for role, _ in roles)]
    if not rows:
        missing = "No domain has both positives and negatives in its test rows."
        return Picture(key, title, reason="No domain has test rows." if table.of_items else missing)
    caption = "In the order of the table below. The line spans the models of one domain."
    chart = _dot_plot(rows, table, palette)
    return Picture(key, title, caption, chart, tall=len(rows) > MANY, by_domain=True)


def _dot_plot(rows: list[DomainSharing], table: SharingTable, palette: Palette) -> Any:
    roles = words.present_roles(table)
    values = [
        {
            "domain": row.domain,
            "model": name,
            **bar(auc),
            "auc": words.with_bounds(auc, words.digits(table)),
            "rows": row.rows,
        }
        for row in rows
        for role, name in reversed(roles)  # the joint model is drawn last, over the others
        if (auc := words.interval_of(row, role))
    ]
    models = [name for _, name in roles]
    colours = alt.Scale(domain=models, range=[getattr(palette, role) for role, _ in roles])
    shapes = alt.Scale(domain=models, range=[ROLE_SHAPES[role] for role, _ in roles])
    base = alt.Chart(rows_of(values)).encode(y=domain_axis([row.domain for row in rows]))
    x = alt.X(
        "value:Q",
        title=table.title,
        scale=alt.Scale(zero=False),
        axis=_value_axis(".3~f" if table.of_items else ".2f"),
    )
    span = base.mark_rule(color=palette.line, strokeWidth=3).encode(
        x="min(value):Q", x2="max(value):Q"
    )
    points = base.mark_point(filled=True, size=70, opacity=0.95).encode(
        x=x,
        color=alt.Color("model:N", scale=colours, legend=alt.Legend(title=None)),
        shape=alt.Shape("model:N", scale=shapes, legend=alt.Legend(title=None)),
        tooltip=[
            alt.Tooltip("domain:N", title="Domain"),
            alt.Tooltip("model:N", title="Model"),
            alt.Tooltip("auc:N", title=table.title),
            alt.Tooltip("rows:Q", title="Test rows", format=","),
        ],
    )
    return alt.layer(span, points).properties(width="container", height=step(len(rows)) * len(rows))
