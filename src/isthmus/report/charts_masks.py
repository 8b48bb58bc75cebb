"""Which experts each domain uses, and how far the masks of two domains agree."""

from typing import Any

import altair as alt
import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from isthmus.report.data import Masks
from isthmus.report.palette import Palette
from isthmus.report.picture import MANY, Picture, step

_ABSENT = "No model in this report has masks."
_DENSE = 4000
"""From so many cells on, a picture is drawn on a canvas: as many SVG elements would be slow."""


def masks(found: Masks | None, palette: Palette) -> Picture:
    """Domain x expert, level beside level; domains with similar masks stand together."""
    key, title = "masks", "Experts of each domain"
    if found is None or not found.domains:
        return Picture(key, title, reason=_ABSENT)
    cells = len(found.domains) * sum(found.levels)
    caption = (
        "A cell is an expert that the domain's mask reaches; the stronger, the larger the share of "
        "its incoming edges that the mask keeps. Domains with similar masks stand together."
    )
    dense, tall = cells > _DENSE, len(found.domains) > MANY
    return Picture(key, title, caption, _mask_panels(found, palette), dense=dense, tall=tall)


def _mask_panels(found: Masks, palette: Palette) -> Any:
    order = clustered(found)
    panels = [
        _panel(found, level, order, palette, labels=level == 0)
        for level in range(len(found.levels))
    ]
    return alt.hconcat(*panels, spacing=14).resolve_scale(y="shared")


def _panel(found: Masks, level: int, order: list[int], palette: Palette, *, labels: bool) -> Any:
    names = [found.domains[i] for i in order]
    experts, active = found.levels[level], found.active[level]
    percent = [[round(100 * active[i][e]) for e in range(experts)] for i in order]
    width = max(11, min(30, 260 // experts))
    axis = alt.Axis(
        ticks=False, domain=False, labelFontSize=9 if len(names) > MANY else 11, labelOverlap=False
    )
    chart = _grid(f"mask{level}", percent, names).encode(
        x=alt.X("column:O", title=None, axis=alt.Axis(orient="top", labels=experts <= 24, labelAngle=0,
                                                      ticks=False, domain=False, labelExpr="datum.value + 1")),
        y=alt.Y("domain:N", sort=None, scale=alt.Scale(domain=names), title=None, axis=axis if labels else None),
        tooltip=[
            alt.Tooltip("domain:N", title="Domain"),
            alt.Tooltip("expert:N", title=f"Expert of level {level + 1}"),
            alt.Tooltip("shown:N", title="Incoming edges kept"),
        ],
    )  # fmt: skip
    drawn = chart.mark_rect(fill=palette.accent, stroke=palette.line, strokeWidth=0.5)
    return drawn.properties(
        title=alt.TitleParams(f"Level {level + 1}", frame="group"),
        width=alt.Step(width),
        height=alt.Step(step(len(names)) - 4 if len(names) <= MANY else 11),
    )


def _grid(name: str, percent: list[list[int]], names: list[str]) -> Any:
    """Cells of a matrix of whole percents, held as plain arrays: a tenth of the size of rows."""
    columns = max(1, len(percent[0]))
    at = f"floor(datum.cell / {columns})"
    return (
        alt.Chart(alt.sequence(0, len(percent) * columns, as_="cell"))
        .add_params(
            alt.param(name=f"{name}_values", value=percent),
            alt.param(name=f"{name}_names", value=names),
        )
        .transform_calculate(column=f"datum.cell % {columns}")
        .transform_calculate(domain=f"{name}_names[{at}]")
        .transform_calculate(expert="datum.column + 1")
        .transform_calculate(percent=f"{name}_values[{at}][datum.column]")
        .transform_calculate(shown="datum.percent + ' %'")
        .encode(
            fillOpacity=alt.FillOpacity(
                "percent:Q", scale=alt.Scale(domain=[0, 100], range=[0.02, 1]), legend=None
            )
        )
    )


def overlap(found: Masks | None, palette: Palette) -> Picture:
    """Domain x domain: the share of mask edges that two domains have in common."""
    key, title = "overlap", "Overlap of the masks"
    if found is None:
        return Picture(key, title, reason=_ABSENT)
    if not found.overlap:
        return Picture(key, title, reason="The masks were stored without their overlap.")
    count = len(found.domains)
    low = min((value for row in found.overlap for value in row), default=0.0)
    caption = (
        f"The share of mask edges that two domains have in common, from {100 * low:.0f} % (faintest) "
        f"to 100 %. The order is that of the picture above; blocks on the diagonal are groups that "
        f"share experts."
    )
    chart = _matrix(found, palette)
    return Picture(key, title, caption, chart, dense=count * count > _DENSE)


def _matrix(found: Masks, palette: Palette) -> Any:
    order = clustered(found)
    names = [found.domains[i] for i in order]
    percent = [[round(100 * found.overlap[a][b]) for b in order] for a in order]
    count = len(names)
    size = 17 if count <= 36 else 11 if count <= MANY else max(2, 640 // count)
    axis = alt.Axis(
        ticks=False, domain=False, labels=count <= MANY, labelFontSize=9 if size < 14 else 11,
        labelOverlap=False, labelLimit=160,
    )  # fmt: skip
    low = min((value for row in percent for value in row), default=0)
    chart = (
        _grid("overlap", percent, names)
        .transform_calculate(other="overlap_names[datum.column]")
        .encode(
            x=alt.X("other:N", sort=None, scale=alt.Scale(domain=names), title=None, axis=axis),
            y=alt.Y("domain:N", sort=None, scale=alt.Scale(domain=names), title=None, axis=axis),
            fillOpacity=alt.FillOpacity(
                "percent:Q", scale=alt.Scale(domain=[low, 100], range=[0.03, 1]), legend=None
            ),
            tooltip=[
                alt.Tooltip("domain:N", title="Domain"),
                alt.Tooltip("other:N", title="and"),
                alt.Tooltip("shown:N", title="Edges in common"),
            ],
        )
    )  # fmt: skip
    drawn = chart.mark_rect(fill=palette.accent)
    return drawn.properties(width=alt.Step(size), height=alt.Step(size))


def clustered(found: Masks) -> list[int]:
    """Positions of the domains, similar masks together: average linkage, leaves ordered.

    The distance is 1 minus the overlap where it is known, else the mean difference of ``active``.
    """
    count = len(found.domains)
    if count < 3:
        return list(range(count))
    distance = _distances(found)
    tree = linkage(
        squareform(distance, checks=False), method="average", optimal_ordering=count <= 400
    )
    return [int(i) for i in leaves_list(tree)]


def _distances(found: Masks) -> npt.NDArray[np.float64]:
    if found.overlap:
        distance = 1.0 - np.asarray(found.overlap, dtype=np.float64)
        distance = (distance + distance.T) / 2
    else:
        flat = np.concatenate(
            [np.asarray(level, dtype=np.float64) for level in found.active], axis=1
        )
        distance = np.abs(flat[:, None, :] - flat[None, :, :]).mean(axis=2)
    np.fill_diagonal(distance, 0.0)
    return distance
