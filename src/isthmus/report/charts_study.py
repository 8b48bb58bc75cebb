"""Pictures of the studies: differences to the default, and overlap of masks against chance."""

from typing import Any, Final

import altair as alt

from isthmus.report.board import Rows
from isthmus.report.palette import Palette
from isthmus.report.picture import Picture, rows_of
from isthmus.report.study import Study, clear

_KINDS: Final = ("above the default", "not told apart from it", "below the default", "one seed")
_PANEL: Final = 250


def differences(study: Study, palette: Palette) -> Picture:
    """Two interval plots side by side, one row a setting in the study's order; the default is zero."""
    title = "Difference to the default"
    values = [value for name in study.shown for value in _values(study, name)]
    if not values:
        return Picture(
            study.name, title, reason="No setting has a seed in common with the default."
        )
    caption = (
        "Setting minus default, paired by seed: mean with its 95 % interval, and each seed as a "
        "small tick. Intervals are not corrected for the number of settings."
    )
    labels = [s.label for s in study.settings if s.by_seed or s.label == study.default]
    panels = [
        _panel([v for v in values if v["metric"] == name], metric, labels, palette, named=not place)
        for place, (name, metric) in enumerate(study.shown.items())
    ]
    return Picture(study.name, title, caption, alt.hconcat(*panels, spacing=16))


def _values(study: Study, name: str) -> list[dict[str, Any]]:
    values = []
    for setting in study.settings:
        if name not in setting.differences:
            continue
        spread = setting.differences[name]
        half = spread.half or 0.0
        side = 0 if spread.mean > 0 else 2
        kind = 3 if spread.half is None else side if clear(spread) else 1
        values.append(
            {
                "metric": name,
                "label": setting.label,
                "mean": round(spread.mean, 5),
                "low": round(spread.mean - half, 5),
                "high": round(spread.mean + half, 5),
                "kind": _KINDS[kind],
                "seeds": [round(value, 5) for value in setting.by_seed[name]],
            }
        )
    return values


def _panel(
    values: list[dict[str, Any]], metric: str, labels: list[str], palette: Palette, *, named: bool
) -> Any:
    hues = (palette.gains, palette.unchanged, palette.hurt, palette.unmeasured)
    shapes = ("triangle-up", "circle", "triangle-down", "square")
    axis = alt.Axis(grid=True, ticks=False, domain=False, labels=named, labelOverlap=False)
    base = alt.Chart(rows_of(values)).encode(
        y=alt.Y("label:N", sort=None, scale=alt.Scale(domain=labels), title=None, axis=axis),
        color=alt.Color(
            "kind:N", scale=alt.Scale(domain=list(_KINDS), range=list(hues)), legend=None
        ),
    )
    top = alt.Axis(orient="top", tickCount=5, format="+.3~f")
    x = alt.X("low:Q", title=metric, scale=alt.Scale(padding=8), axis=top)
    zero = alt.Chart(rows_of([{"zero": 0}])).mark_rule(color=palette.ink, strokeDash=[4, 3])
    seeds = base.transform_flatten(["seeds"]).mark_tick(thickness=1.5, size=9, opacity=0.6)
    points = base.mark_point(filled=True, size=80, opacity=1).encode(
        x="mean:Q",
        shape=alt.Shape(
            "kind:N", scale=alt.Scale(domain=list(_KINDS), range=list(shapes)), legend=None
        ),
    )
    return alt.layer(
        base.mark_rule(strokeWidth=2, opacity=0.75).encode(x=x, x2="high:Q"),
        zero.encode(x="zero:Q"),
        seeds.encode(x="seeds:Q"),
        points,
    ).properties(width=_PANEL, height=22 * len(labels))


def mask_overlap(key: str, rows: Rows, palette: Palette) -> Picture:
    """Mean overlap of related and unrelated pairs by run, over what random masks would have."""
    title = "Overlap of masks, related domains and others"
    if not rows:
        return Picture(key, title, reason="No masks have been compared.")
    caption = (
        "Mean overlap ratio of the masks of two domains, for each run; grey bars: 95 % of what "
        "random masks of the same density have for the same pairs."
    )
    values: list[dict[str, Any]] = [
        {
            "label": f"{row['by']}, seed {row['seed']}",
            **{name: float(row[name]) for name in ("overlap", "random", "low", "high")},
            "pairs": f"{row['pairs']} domains",
        }
        for row in rows
    ]
    return Picture(key, title, caption, _overlaps(values, palette))


def _overlaps(values: list[dict[str, Any]], palette: Palette) -> Any:
    kinds = ["related domains", "unrelated domains"]
    labels = list(dict.fromkeys(value["label"] for value in values))
    axis = alt.Axis(grid=True, ticks=False, domain=False, labelOverlap=False)
    base = alt.Chart(rows_of(values)).encode(
        y=alt.Y("label:N", sort=None, scale=alt.Scale(domain=labels), title=None, axis=axis),
        yOffset=alt.YOffset("pairs:N", scale=alt.Scale(domain=kinds)),
    )
    x = alt.X(
        "low:Q",
        title="overlap ratio",
        scale=alt.Scale(zero=False, padding=8),
        axis=alt.Axis(orient="top", tickCount=6),
    )
    points = base.mark_point(filled=True, size=80, opacity=1).encode(
        x="overlap:Q",
        color=alt.Color(
            "pairs:N",
            scale=alt.Scale(domain=kinds, range=[palette.joint, palette.shared]),
            legend=alt.Legend(title=None),
        ),
        shape=alt.Shape(
            "pairs:N",
            scale=alt.Scale(domain=kinds, range=["diamond", "circle"]),
            legend=alt.Legend(title=None),
        ),
    )
    chance = base.mark_rule(strokeWidth=7, color=palette.line, opacity=1).encode(x=x, x2="high:Q")
    return alt.layer(chance, points).properties(width="container", height=44 * len(labels))
