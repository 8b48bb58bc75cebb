"""Training curves: the validation score and each named loss, one panel a model."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import altair as alt

from isthmus.report import words
from isthmus.report.data import Curves
from isthmus.report.palette import Palette
from isthmus.report.picture import Picture, rows_of

_ENDS: Final = 3
"""Of more domains than there are colours, so many at either end are named."""
_OTHERS: Final = "other domains"


def curves(models: Mapping[str, Curves], palette: Palette) -> list[Picture]:
    """Two pictures a model: its score with the best epoch marked, and its losses."""
    if not any(found.score for found in models.values()):
        reason = "No training history was stored with these figures."
        return [Picture("training", "Training", reason=reason)]
    pictures = []
    for number, (name, found) in enumerate(models.items()):
        if not found.score:
            continue
        key = f"training-{number}-{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}"
        pictures.append(_score(key, name, found, palette))
        if found.losses:
            pictures.append(_losses(key, name, found, palette))
        for place, what in enumerate(found.told):
            pictures.append(_told(f"{key}-told-{place}", (name, what), found, palette))
    return pictures


def _score(key: str, name: str, found: Curves, palette: Palette) -> Picture:
    best = found.best_epoch
    values = [
        {"epoch": i + 1, "score": round(score, 5), "best": i == best}
        for i, score in enumerate(found.score)
    ]
    caption = (
        f"Best {found.score_name} {words.number(found.score[best], 4)} after epoch {best + 1} "
        f"of {len(found.score)}."
    )
    base = alt.Chart(rows_of(values)).encode(
        x=_epochs(len(values)), y=_value("score", found.score_name)
    )
    line = base.mark_line(color=palette.joint, strokeWidth=2)
    point = base.mark_point(filled=True, color=palette.joint, size=30, opacity=1).encode(
        tooltip=[
            alt.Tooltip("epoch:Q", title="Epoch"),
            alt.Tooltip("score:Q", title=found.score_name),
        ]
    )
    chosen = alt.Chart(rows_of([values[best]])).encode(x="epoch:Q", y="score:Q")
    mark = chosen.mark_point(
        shape="circle", size=170, strokeWidth=2, color=palette.gains, opacity=1
    )
    label = chosen.mark_text(dy=-15, color=palette.ink, fontSize=11).encode(text=alt.value("best"))
    chart = alt.layer(line, point, mark, label).properties(width="container", height=170)
    return Picture(f"{key}-score", f"{name}: validation score", caption, chart)


def _losses(key: str, name: str, found: Curves, palette: Palette) -> Picture:
    values: list[dict[str, Any]] = [
        {"epoch": i + 1, "loss": round(value, 6), "name": loss}
        for loss, epochs in found.losses.items()
        for i, value in enumerate(epochs)
        if value is not None
    ]
    names = list(found.losses)
    sizes = [value["loss"] for value in values]
    uneven = bool(sizes) and min(sizes) > 0 and max(sizes) > 30 * min(sizes)
    scale = alt.Scale(type="log") if uneven else alt.Scale(zero=False)
    colours = [palette.series[i % len(palette.series)] for i in range(len(names))]
    dashes = [[1, 0], [6, 3], [2, 2], [8, 2, 2, 2]]
    base = alt.Chart(rows_of(values)).encode(
        x=_epochs(len(found.score)),
        y=alt.Y("loss:Q", title="loss, log scale" if uneven else "loss", scale=scale, axis=alt.Axis(tickCount=4)),
        color=alt.Color("name:N", scale=alt.Scale(domain=names, range=colours), legend=alt.Legend(title=None, symbolType="stroke")),
        tooltip=[
            alt.Tooltip("name:N", title="Loss"),
            alt.Tooltip("epoch:Q", title="Epoch"),
            alt.Tooltip("loss:Q", title="Mean over the epoch", format=".4f"),
        ],
    )  # fmt: skip
    dash = alt.StrokeDash(
        "name:N",
        scale=alt.Scale(domain=names, range=[dashes[i % len(dashes)] for i in range(len(names))]),
        legend=alt.Legend(title=None),
    )
    points = base.mark_point(filled=True, size=24, opacity=1)
    chart = alt.layer(base.mark_line(strokeWidth=2).encode(strokeDash=dash), points)
    caption = "Mean of each loss over the epoch's steps."
    return Picture(
        f"{key}-losses", f"{name}: losses", caption, chart.properties(width="container", height=170)
    )


def _told(key: str, titles: tuple[str, str], found: Curves, palette: Palette) -> Picture:
    """A line a domain; of many domains those that end lowest and highest are told apart."""
    domains = found.told[titles[1]]
    last = {name: ended for name in domains if (ended := _last(domains[name])) is not None}
    by_end = sorted(last, key=lambda name: last[name])
    few = len(by_end) <= len(palette.series)
    shown = by_end if few else [*by_end[:_ENDS], *by_end[-_ENDS:]]
    colours = palette.series[: len(shown)] if few else _end_colours(palette)
    values = [
        {
            "epoch": i + 1,
            "value": round(value, 6),
            "domain": name,
            "named": name if name in shown else _OTHERS,
        }
        for name, epochs in domains.items()
        for i, value in enumerate(epochs)
        if value is not None
    ]
    named = [*shown, *([] if few else [_OTHERS])]
    scale = alt.Scale(domain=named, range=[*colours, *([] if few else [palette.line])])
    base = alt.Chart(rows_of(values)).encode(
        x=_epochs(len(found.score)),
        y=_value("value", titles[1]),
        detail="domain:N",
        color=alt.Color(
            "named:N",
            scale=scale,
            legend=alt.Legend(title=None, symbolType="stroke", columns=3, labelLimit=160),
        ),
        tooltip=[
            alt.Tooltip("domain:N", title="Domain"),
            alt.Tooltip("epoch:Q", title="Epoch"),
            alt.Tooltip("value:Q", title=titles[1], format=".4f"),
        ],
    )
    chart = alt.layer(base.mark_line(strokeWidth=2), base.mark_point(filled=True, size=24))
    lowest = f" Lowest at the end: {by_end[0]}, {words.number(last[by_end[0]], 4)}." if last else ""
    caption = f"At the end of each epoch, a line a domain.{lowest}"
    title = f"{titles[0]}: {titles[1]}"
    return Picture(key, title, caption, chart.properties(width="container", height=200))


def _last(values: Sequence[float | None]) -> float | None:
    return next((value for value in reversed(values) if value is not None), None)


def _end_colours(palette: Palette) -> tuple[str, ...]:
    """Of the lines that end lowest, and of those that end highest."""
    return (
        palette.hurt,
        palette.shared,
        palette.ink,
        palette.isolated,
        palette.joint,
        palette.gains,
    )


def _epochs(count: int) -> Any:
    axis = alt.Axis(format="d", tickMinStep=1, grid=False, labelFlush=False)
    return alt.X("epoch:Q", title="epoch", axis=axis, scale=alt.Scale(domain=[1, max(count, 2)]))


def _value(field: str, title: str) -> Any:
    scale = alt.Scale(zero=False, padding=12)
    return alt.Y(f"{field}:Q", title=title, scale=scale, axis=alt.Axis(tickCount=4, format=".3~f"))
