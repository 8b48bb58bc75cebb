"""Pictures of a leaderboard: intervals, figure against cost, gains domain by domain."""

import math
from typing import Any, Final

import altair as alt

from isthmus.report import words
from isthmus.report.board import Board, Line
from isthmus.report.labels import placed
from isthmus.report.palette import Palette
from isthmus.report.picture import MANY, Picture, rows_of, step

_STANDINGS: Final = (
    "best",
    "not told apart from it",
    "behind by more than chance",
    "not tested",
)
_WIDTH: Final = 550
_HEIGHT: Final = 360
"""Pixels of the scatter as it is drawn for an image, axes left out: names are placed for these."""
_CLIP: Final = 0.9


def standing(board: Board, metric: str, palette: Palette) -> Picture:
    """Interval plot: one row an entry, in the order of the main metric."""
    key, title = standing_key(metric), f"{board.metrics[metric]} of the models"
    lines = [line for line in board.lines if line.figures[metric] is not None]
    if not lines:
        return Picture(key, title, reason=f"No model has a {board.metrics[metric]}.")
    values = [_standing(board, line, metric) for line in lines]
    caption = (
        f"Mean over seeds with its 95 % interval; in the order of {board.metrics[board.main]}."
    )
    if board.tested:
        caption += (
            " Whether a model is behind the best is tested on the same rows, seed by seed, which "
            "tells more apart than these intervals do."
        )
    return Picture(key, title, caption, _intervals(values, board.metrics[metric], palette))


def standing_key(metric: str) -> str:
    """The key of the metric's picture: part of file names and of addresses in the page."""
    return f"standing-{metric.replace('@', '')}"


def _standing(board: Board, line: Line, metric: str) -> dict[str, Any]:
    spread, behind = line.figures[metric], line.behind.get(metric)
    assert spread is not None
    if board.best[metric] == line.label:
        place = 0
    else:
        place = 3 if behind is None else 2 if behind.significant else 1
    half = spread.half or 0.0
    return {
        "label": line.label,
        "mean": round(spread.mean, 5),
        "low": round(spread.mean - half, 5),
        "high": round(spread.mean + half, 5),
        "standing": _STANDINGS[place],
        "seeds": line.seeds,
        "behind": f"{words.signed(behind.difference, 4)} [{words.signed(behind.low, 4)}, "
        f"{words.signed(behind.high, 4)}], p {words.p_value(behind.p)}"
        if behind
        else words.NONE,
    }


def _intervals(values: list[dict[str, Any]], title: str, palette: Palette) -> Any:
    present = [name for name in _STANDINGS if any(v["standing"] == name for v in values)]
    hues = (palette.gains, palette.joint, palette.unchanged, palette.unmeasured)
    colours = dict(zip(_STANDINGS, hues, strict=True))
    shapes = dict(zip(_STANDINGS, ("diamond", "circle", "triangle-down", "square"), strict=True))
    names = [value["label"] for value in values]
    axis = alt.Axis(grid=True, ticks=False, domain=False, labelOverlap=False)
    base = alt.Chart(rows_of(values)).encode(
        y=alt.Y("label:N", sort=None, scale=alt.Scale(domain=names), title=None, axis=axis),
        color=alt.Color(
            "standing:N",
            scale=alt.Scale(domain=present, range=[colours[name] for name in present]),
            legend=alt.Legend(title=None),
        ),
        tooltip=[
            alt.Tooltip("label:N", title="Model"),
            alt.Tooltip("mean:Q", title=title, format=".4f"),
            alt.Tooltip("seeds:Q", title="Seeds"),
            alt.Tooltip("behind:N", title="Against the best"),
        ],
    )
    scale = alt.Scale(zero=False, padding=8)
    x = alt.X("low:Q", title=title, scale=scale, axis=alt.Axis(orient="top", tickCount=6))
    lines = base.mark_rule(strokeWidth=2, opacity=0.75).encode(x=x, x2="high:Q")
    points = base.mark_point(filled=True, size=80, opacity=1).encode(
        x="mean:Q",
        shape=alt.Shape(
            "standing:N",
            scale=alt.Scale(domain=present, range=[shapes[name] for name in present]),
            legend=alt.Legend(title=None),
        ),
    )
    return alt.layer(lines, points).properties(width="container", height=22 * len(values))


def cost(board: Board, palette: Palette) -> Picture:
    """The main metric against the CPU-seconds of a run; larger marks have more parameters."""
    main = board.metrics[board.main]
    key, title = "cost", f"{main} against cost"
    values = [
        {
            "label": line.label,
            "seconds": round(seconds, 1),
            "auc": round(auc, 5),
            "parameters": round(line.mean("parameters") or 0),
        }
        for line in board.lines
        if (seconds := line.mean("cpu_seconds")) and (auc := line.mean(board.main))
    ]
    if not values:
        return Picture(key, title, reason="The cost of training was not stored.")
    caption = (
        "CPU-seconds of one run, training and scoring, on a logarithmic axis; means over seeds. "
        "Larger marks have more parameters."
    )
    return Picture(key, title, caption, _scatter(values, main, palette))


def _scatter(values: list[dict[str, Any]], main: str, palette: Palette) -> Any:
    x_domain = _padded([math.log10(value["seconds"]) for value in values])
    y_domain = _padded([value["auc"] for value in values])
    places = [
        (
            _WIDTH * _share(math.log10(value["seconds"]), x_domain),
            _HEIGHT * (1 - _share(value["auc"], y_domain)),
        )
        for value in values
    ]
    base = alt.Chart(rows_of(values)).encode(
        x=alt.X(
            "seconds:Q",
            title="CPU-seconds of a run",
            scale=alt.Scale(type="log", domain=[10**end for end in x_domain], nice=False),
            axis=alt.Axis(format="~s", grid=False, tickCount=6, labelFlush=False),
        ),
        y=alt.Y(
            "auc:Q",
            title=main,
            scale=alt.Scale(domain=list(y_domain), nice=False),
            axis=alt.Axis(tickCount=6, format=".3f"),
        ),
    )
    points = base.mark_point(filled=True, opacity=0.85, color=palette.accent).encode(
        size=alt.Size("parameters:Q", scale=alt.Scale(type="sqrt", range=[40, 260]), legend=None),
        tooltip=[
            alt.Tooltip("label:N", title="Model"),
            alt.Tooltip("auc:Q", title=main, format=".4f"),
            alt.Tooltip("seconds:Q", title="CPU-seconds", format=",.0f"),
            alt.Tooltip("parameters:Q", title="Parameters", format=","),
        ],
    )
    names = [value["label"] for value in values]
    texts = [
        alt.Chart(rows_of([value]))
        .mark_text(align=spot.align, dx=spot.dx, dy=spot.dy, color=palette.ink, fontSize=11)
        .encode(x="seconds:Q", y="auc:Q", text="label:N")
        for value, spot in zip(values, placed(places, names, (_WIDTH, _HEIGHT)), strict=True)
    ]
    return alt.layer(points, *texts).properties(width="container", height=_HEIGHT)


def _padded(values: list[float]) -> tuple[float, float]:
    room = 0.08 * (max(values) - min(values)) or 0.01
    return min(values) - room, max(values) + room


def _share(value: float, ends: tuple[float, float]) -> float:
    return (value - ends[0]) / (ends[1] - ends[0])


def domains(board: Board, palette: Palette) -> Picture:
    """Heat map, domain x model: AUC (of retrievers NDCG@10) minus that of the median model there."""
    key, title = "domains", "Who is good where"
    if not board.gains:
        return Picture(key, title, reason="No figures by domain were stored with these rows.")
    gains = sorted(abs(gain) for gain in board.gains.values())
    most = max(gains[min(int(_CLIP * len(gains)), len(gains) - 1)], 1e-4)
    values = [
        {
            "label": label,
            "domain": domain,
            "gain": round(gain, 4),
            "size": round(min(abs(gain) / most, 1.0), 3),
            "side": "above" if gain >= 0 else "below",
            "rows": board.domains[domain],
        }
        for (label, domain), gain in board.gains.items()
    ]
    caption = (
        f"{_figure(board)} (mean over seeds) minus that of the median model in the same domain, full colour from "
        f"{words.number(most)} on. Domains with many test rows stand at the top, models with a high "
        f"{board.metrics[board.main]} at the left. What looks strong at the bottom is mostly chance: few rows."
    )
    tall = len(board.domains) > MANY
    return Picture(key, title, caption, _heat(values, board, palette), tall=tall)


def _figure(board: Board) -> str:
    """What is stored of a domain."""
    return "NDCG@10" if board.of_items else "AUC"


def _heat(values: list[dict[str, Any]], board: Board, palette: Palette) -> Any:
    labels = [line.label for line in board.lines if any(v["label"] == line.label for v in values)]
    names = list(board.domains)
    rows = alt.Axis(ticks=False, domain=False, labelOverlap=False, labelFontSize=10)
    columns = alt.Axis(
        orient="top", ticks=False, domain=False, labelAngle=-45, labelOverlap=False, labelLimit=150
    )
    sides = alt.Scale(domain=["above", "below"], range=[palette.gains, palette.hurt])
    chart = alt.Chart(rows_of(values)).mark_rect(stroke=palette.line, strokeWidth=0.5)
    chart = chart.encode(
        x=alt.X("label:N", sort=None, scale=alt.Scale(domain=labels), title=None, axis=columns),
        y=alt.Y("domain:N", sort=None, scale=alt.Scale(domain=names), title=None, axis=rows),
        fill=alt.Fill(
            "side:N",
            scale=sides,
            legend=alt.Legend(title="the median model", orient="bottom", titleOrient="right"),
        ),
        fillOpacity=alt.FillOpacity(
            "size:Q", scale=alt.Scale(domain=[0, 1], range=[0.02, 1]), legend=None
        ),
        tooltip=[
            alt.Tooltip("domain:N", title="Domain"),
            alt.Tooltip("label:N", title="Model"),
            alt.Tooltip("gain:Q", title=f"{_figure(board)} over the median", format="+.4f"),
            alt.Tooltip("rows:Q", title="Test rows", format=","),
        ],
    )
    height = step(len(names)) - 4 if len(names) <= MANY else 12
    return chart.properties(width=alt.Step(24), height=alt.Step(height))


def board_pictures(board: Board, palette: Palette) -> list[Picture]:
    """All pictures of a leaderboard, in the order of the page."""
    return [
        *(standing(board, metric, palette) for metric in board.metrics_tested),
        cost(board, palette),
        domains(board, palette),
    ]
