"""The transfer map as clustered matrices, and its ways against each other."""

from typing import Any, Final

import altair as alt
import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from isthmus.evaluation.mantel import mean_ranks
from isthmus.evaluation.transfer import MEANING, SURE, WAYS, TransferMap, Way
from isthmus.report.palette import Palette
from isthmus.report.picture import MANY, Picture
from isthmus.report.transfer_table import agreement

Floats = npt.NDArray[np.float64]
_DENSE: Final = 4000
_SPOTS: Final = 2500  # points of a scatter, at most
_STEPS: Final = ((8, 40), (12, 30), (36, 17), (MANY, 11))
"""The side of a cell, by how many groups there are at most."""
_TITLES: Final[dict[Way, str]] = {
    "left_out": "What each gives to each, by leaving it out",
    "gradients": "Whose gradients agree",
    "masks": "Whose masks agree",
}


def transfer(found: TransferMap, palette: Palette) -> list[Picture]:
    """A matrix for each way, all in one order, and every two ways against each other."""
    order = clustered(found)
    pairs = [agreement.ways for agreement in found.agreement]
    return [
        *(_matrix(found, way, order, palette) for way in WAYS if way in found.ways),
        *(_scatter(found, *ways, palette) for ways in pairs),
    ]


def clustered(found: TransferMap) -> list[int]:
    """Positions of the groups, those that help each other together: average linkage, leaves ordered.

    Two are the closer, the higher their cells rank, both directions and all ways alike.
    """
    count = len(found.groups)
    if count < 3 or not found.ways:
        return list(range(count))
    likeness = np.mean([_ranked(one.values()) for one in found.ways.values()], axis=0)
    distance = 1.0 - (likeness + likeness.T) / 2
    np.fill_diagonal(distance, 0.0)
    tree = linkage(
        squareform(distance, checks=False), method="average", optimal_ordering=count <= 400
    )
    return [int(i) for i in leaves_list(tree)]


def _ranked(values: Floats) -> Floats:
    """Ranks of the known cells, from 0 to 1; a half where nothing was measured."""
    known = np.isfinite(values)
    ranks = np.full(values.shape, 0.5)
    if known.any():
        ranks[known] = mean_ranks(values[known]) / known.sum()
    return ranks


def _matrix(found: TransferMap, way: Way, order: list[int], palette: Palette) -> Picture:
    measured = found.ways[way]
    value, error = measured.values(), measured.errors()
    centre = float(np.nanmean(value)) if way == "masks" and np.isfinite(value).any() else 0.0
    count = len(order)
    sure = np.isfinite(error) & (np.abs(value) > SURE * error) & (way == "left_out")
    caption = (
        f"Rows give, columns receive: {measured.unit}. "
        + (f"Green lies above the mean of {centre:.2f}, orange below; " if centre else "Green helps, orange hurts; ")
        + f"the stronger, the farther from {'it' if centre else '0'}, in full from {_most(value - centre):.2g} on."
        + (" A dot: more than two standard errors." if sure.any() and count <= MANY else "")
        + " Those that help each other stand together."
    )  # fmt: skip
    chart = _cells(found, way, order, (value - centre, error, sure), palette)
    return Picture(f"transfer-{way.replace('_', '-')}", _TITLES[way], caption, chart,
                   dense=count * count > _DENSE)  # fmt: skip


def _cells(
    found: TransferMap,
    way: Way,
    order: list[int],
    figures: tuple[Floats, Floats, npt.NDArray[np.bool_]],
    palette: Palette,
) -> Any:
    """Cells as plain arrays, which the chart looks into: a tenth of the size of rows."""
    place = np.ix_(order, order)
    value, error, sure = figures[0][place], figures[1][place], figures[2][place]
    names = [found.names[i] for i in order]
    count, prefix = len(names), f"transfer_{way}"
    size = next((step for most, step in _STEPS if count <= most), max(2, 640 // count))
    axis = alt.Axis(
        ticks=False, domain=False, labels=count <= MANY, labelFontSize=9 if size < 14 else 11,
        labelOverlap=False, labelLimit=160,
    )  # fmt: skip
    at = f"[floor(datum.cell / {count})][datum.cell % {count}]"
    scale = alt.Scale(domain=names)
    base = (
        alt.Chart(alt.sequence(0, count * count, as_="cell"))
        .add_params(
            alt.param(name=f"{prefix}_values", value=_rounded(value)),
            alt.param(name=f"{prefix}_errors", value=_rounded(error) if count <= MANY else []),
            alt.param(name=f"{prefix}_sure", value=sure.astype(int).tolist()),
            alt.param(name=f"{prefix}_names", value=names),
        )
        .transform_calculate(source=f"{prefix}_names[floor(datum.cell / {count})]")
        .transform_calculate(target=f"{prefix}_names[datum.cell % {count}]")
        .transform_calculate(value=f"{prefix}_values{at}")
        .transform_calculate(sure=f"{prefix}_sure{at}")
        .transform_filter("isValid(datum.value)")
        .transform_calculate(shown=_shown(f"{prefix}_errors{at}" if count <= MANY else "null"))
        .transform_calculate(strength=f"min(1, abs(datum.value) / {_most(value)})")
        .encode(
            x=alt.X("target:N", sort=None, scale=scale, title="receives",
                    axis=axis),
            y=alt.Y("source:N", sort=None, scale=scale, title="gives", axis=axis),
            tooltip=[
                alt.Tooltip("source:N", title="From"),
                alt.Tooltip("target:N", title="to"),
                alt.Tooltip("shown:N", title=MEANING[way]),
            ],
        )
    )  # fmt: skip
    drawn = base.mark_rect().encode(
        fill=alt.condition("datum.value > 0", alt.value(palette.gains), alt.value(palette.hurt)),
        fillOpacity=alt.FillOpacity(
            "strength:Q", scale=alt.Scale(domain=[0, 1], range=[0.03, 1]), legend=None
        ),
    )
    if sure.any() and count <= MANY:
        dots = base.transform_filter("datum.sure == 1").mark_circle(
            size=size * size / 16, fill=palette.ink, fillOpacity=1
        )
        drawn = drawn + dots
    return drawn.properties(width=alt.Step(size), height=alt.Step(size))


def _most(value: Floats) -> float:
    """Where colours are full: beyond 49 of 50 cells, so that a single wild one fades no other."""
    known = np.abs(value[np.isfinite(value)])
    return max(float(np.quantile(known, 0.98)), 1e-9) if known.size else 1.0


def _shown(error: str) -> str:
    """A signed figure, and its standard error where there is one."""
    signed = "(datum.value > 0 ? '+' : '') + format(datum.value, '.4f')"
    return f"{signed} + (isValid({error}) ? ' ± ' + format({error}, '.4f') : '')"


def _rounded(values: Floats) -> list[list[float | None]]:
    return [[round(v, 5) if np.isfinite(v) else None for v in row] for row in values.tolist()]


def _scatter(found: TransferMap, one: Way, other: Way, palette: Palette) -> Picture:
    """A point is an ordered pair of groups."""
    x, y = found.ways[one].values(), found.ways[other].values()
    cells = np.argwhere(np.isfinite(x) & np.isfinite(y))
    if len(cells) > _SPOTS:
        drawn = np.random.default_rng(0).choice(len(cells), _SPOTS, replace=False)
        cells = cells[np.sort(drawn)]
    rows = [
        {"x": round(float(x[j, i]), 5), "y": round(float(y[j, i]), 5),
         "source": found.names[j], "target": found.names[i]}
        for j, i in cells.tolist()
    ]  # fmt: skip
    said = next(a for a in found.agreement if a.ways == (one, other))
    key = f"transfer-{one}-{other}".replace("_", "-")
    title = f"{MEANING[one].capitalize()} against {MEANING[other]}"
    chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_point(filled=True, size=42, fill=palette.accent, fillOpacity=0.6)
        .encode(
            x=alt.X("x:Q", title=found.ways[one].unit.partition(",")[0]),
            y=alt.Y("y:Q", title=found.ways[other].unit.partition(",")[0]),
            tooltip=[
                alt.Tooltip("source:N", title="From"),
                alt.Tooltip("target:N", title="to"),
                alt.Tooltip("x:Q", title=MEANING[one]),
                alt.Tooltip("y:Q", title=MEANING[other]),
            ],
        )
        .properties(width="container", height=280)
    )
    return Picture(key, title, agreement(said), chart, dense=len(rows) > _DENSE)
