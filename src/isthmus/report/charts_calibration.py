"""Pictures of calibration: each model's ratio by domain, and what joint training shifted."""

from collections.abc import Mapping
from typing import Any, Final

import altair as alt

from isthmus.evaluation import CalibrationShift, DomainSharing, Metrics, SharingTable, Shift
from isthmus.report import words
from isthmus.report.charts_domains import ROLE_SHAPES, bar, domain_axis
from isthmus.report.palette import Palette
from isthmus.report.picture import MANY, Picture, rows_of, step

_MODEL_SHAPES: Final = ("circle", "diamond", "square", "triangle-up", "cross")
_RATIO_TICKS: Final = (0.1, 0.2, 0.5, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 5, 10)
_SHIFT_SHAPES: Final = {
    Shift.nearer: "triangle-up",
    Shift.none: "circle",
    Shift.moved: "diamond",
    Shift.farther: "triangle-down",
}


def shifts(table: SharingTable | None, palette: Palette) -> Picture:
    """Interval plot of the calibration shift: one row a domain, the largest first."""
    key, title = "calibration-shift", "Calibration shift by sharing"
    if table is None:
        reason = "The report was made without isolated models, so there is no shift to show."
        return Picture(key, title, reason=reason)
    found = [
        (row, row.calibration) for row in table.rows if row.calibration and row.calibration.shift
    ]
    if not found:
        reason = "No domain has scores that promise a rate, and enough rows to test them."
        return Picture(key, title, reason=reason)
    caption = (
        f"What {table.names.get('joint', 'joint')} promises by what "
        f"{table.names.get('isolated', 'isolated')} promises, with 95 % intervals; the axis is "
        "logarithmic. Farther, nearer: from or to what comes true, by more than chance."
    )
    chart = _shift_plot(found, palette)
    return Picture(key, title, caption, chart, tall=len(found) > MANY, by_domain=True)


def _shift_plot(found: list[tuple[DomainSharing, CalibrationShift]], palette: Palette) -> Any:
    values: list[dict[str, Any]] = [
        {"domain": row.domain, **bar(one.shift), "said": words.SHIFT_MEANING[one.verdict],
         "joint": words.times(one.joint), "isolated": words.times(one.isolated),
         "p": words.p_value(one.p_adjusted), "rows": row.rows}
        for row, one in found
    ]  # fmt: skip
    values.sort(key=lambda value: -value["value"])
    present = [shift for shift in words.SHIFTS if any(one.verdict == shift for _, one in found)]
    colours = {
        Shift.nearer: palette.gains,
        Shift.none: palette.unchanged,
        Shift.moved: palette.joint,
        Shift.farther: palette.hurt,
    }
    said = [words.SHIFT_MEANING[shift] for shift in present]
    shapes = alt.Scale(domain=said, range=[_SHIFT_SHAPES[shift] for shift in present])
    scale = alt.Scale(domain=said, range=[colours[shift] for shift in present])
    legend = alt.Legend(title=None, labelLimit=400, columns=2)
    tooltip = [
        alt.Tooltip("domain:N", title="Domain"),
        alt.Tooltip("said:N", title="Shift"),
        alt.Tooltip("value:Q", title="Joint by isolated", format=".3f"),
        alt.Tooltip("joint:N", title="Joint by observed"),
        alt.Tooltip("isolated:N", title="Isolated by observed"),
        alt.Tooltip("p:N", title="Corrected p-value"),
        alt.Tooltip("rows:Q", title="Test rows", format=","),
    ]
    base = alt.Chart(rows_of(values)).encode(
        y=domain_axis([value["domain"] for value in values]),
        color=alt.Color("said:N", scale=scale, legend=legend),
        tooltip=tooltip,
    )
    one = alt.Chart(rows_of([{"one": 1}])).mark_rule(color=palette.muted).encode(x="one:Q")
    ends = [value[end] for value in values for end in ("low", "high")]
    lines = base.mark_rule(strokeWidth=2, opacity=0.75).encode(x=_shift_axis(ends), x2="high:Q")
    points = base.mark_point(filled=True, size=70, opacity=1).encode(
        x="value:Q", shape=alt.Shape("said:N", scale=shapes, legend=legend)
    )
    return alt.layer(one, lines, points).properties(
        width="container", height=step(len(values)) * len(values)
    )


def _shift_axis(ends: list[float]) -> Any:
    """Logarithmic; beyond tenfold a shift stands at the edge."""
    low, high = max(0.1, min(0.95, *ends)), min(10.0, max(1.05, *ends))
    ticks = [tick for tick in _RATIO_TICKS if low <= tick <= high]
    return alt.X(
        "low:Q",
        title="joint / isolated",
        scale=alt.Scale(type="log", domain=[low, high], nice=False, clamp=True),
        axis=alt.Axis(values=ticks, format="~g", orient="top", grid=False),
    )


def calibration(
    metrics: Mapping[str, Metrics], palette: Palette, table: SharingTable | None = None
) -> Picture:
    """Mean score over mean label of each domain against its size; 1 is right.

    Models of the ``table`` have the colours and shapes that they have in its pictures.
    """
    key, title = "calibration", "Calibration by domain"
    values = [
        {
            "domain": domain,
            "model": model,
            "rows": found.rows,
            "ratio": round(found.calibration_ratio, 4),
            "ece": words.number(found.ece),
        }
        for model, whole in metrics.items()
        for domain, found in whole.by_domain.items()
        if found.calibration_ratio is not None and found.calibration_ratio > 0 and found.rows > 0
    ]
    if not values:
        reason = "No model was measured domain by domain by what its scores promise."
        return Picture(key, title, reason=reason)
    caption = (
        "Mean predicted over observed rate, by the number of test rows: at 1 a model promises what "
        "comes true, at 2 twice as much. Both axes are logarithmic."
    )
    roles = {name: role for role, name in table.names.items()} if table else {}
    chart = _calibration_plot(values, {name: roles.get(name, "") for name in metrics}, palette)
    return Picture(key, title, caption, chart, by_domain=True)


def _calibration_plot(
    values: list[dict[str, Any]], roles: Mapping[str, str], palette: Palette
) -> Any:
    models, series = list(roles), palette.series
    colours = [
        getattr(palette, role) if role else series[i % len(series)]
        for i, role in enumerate(roles.values())
    ]
    shapes = [
        ROLE_SHAPES.get(role, _MODEL_SHAPES[i % len(_MODEL_SHAPES)])
        for i, role in enumerate(roles.values())
    ]
    one = alt.Chart(rows_of([{"one": 1}])).mark_rule(color=palette.muted).encode(y="one:Q")
    points = alt.Chart(rows_of(values)).mark_point(filled=True, size=55, opacity=0.75, clip=True)
    points = points.encode(
        x=alt.X(
            "rows:Q",
            title="test rows",
            scale=alt.Scale(type="log", nice=False, padding=16),
            axis=alt.Axis(format="~s", grid=False, tickCount=6, labelFlush=False),
        ),
        y=_ratio_axis([value["ratio"] for value in values]),
        color=_by_model(alt.Color, models, colours),
        shape=_by_model(alt.Shape, models, shapes),
        tooltip=[
            alt.Tooltip("domain:N", title="Domain"),
            alt.Tooltip("model:N", title="Model"),
            alt.Tooltip("ratio:Q", title="Predicted / observed", format=".3f"),
            alt.Tooltip("ece:N", title="Calibration error (ECE)"),
            alt.Tooltip("rows:Q", title="Test rows", format=","),
        ],
    )
    return alt.layer(one, points).properties(width="container", height=280)


def _by_model(channel: Any, models: list[str], range: list[str]) -> Any:
    scale = alt.Scale(domain=models, range=range)
    return channel("model:N", scale=scale, legend=alt.Legend(title=None))


def _ratio_axis(ratios: list[float]) -> Any:
    """A logarithmic axis, as far above 1 as below it; beyond tenfold a ratio stands at the edge."""
    far = min(10.0, 1.1 * max(1.15, *(max(ratio, 1 / ratio) for ratio in ratios)))
    ticks = [tick for tick in _RATIO_TICKS if 1 / far <= tick <= far]
    return alt.Y(
        "ratio:Q",
        title="predicted / observed",
        scale=alt.Scale(type="log", domain=[1 / far, far], nice=False, clamp=True),
        axis=alt.Axis(values=ticks, format="~g"),
    )
