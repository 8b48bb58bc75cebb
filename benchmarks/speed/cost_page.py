"""The cost study as the docs show it: tables and line charts of ``benchmarks/results/cost.csv``."""

from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt

from benchmarks.speed.cost import FEW, ISOLATED, LIMITS, MOST
from isthmus.bench.rows import Row
from isthmus.report.palette import LIGHT, Palette
from isthmus.report.picture import Picture, rows_of

NAMES = {
    "star": "STAR",
    "ple": "PLE",
    "mmoe": "MMoE",
    "pepnet": "PEPNet",
    "aread": "AREAD",
    ISOLATED: "isolated MLPs",
}
OTHERS = "the other rankers"
_SHAPES = ("triangle-up", "square", "diamond", "triangle-down", "circle", "cross", "stroke")
_AXIS = (5, 10, 20, 40, 60)


def limits(rows: Sequence[Row]) -> str:
    """The models that have a limit, and whether they keep it."""
    lines = [f"| model | step at {MOST} domains over {FEW} | limit | |", "|---|---:|---:|---|"]
    for name, limit in LIMITS.items():
        row = _of(rows, name, MOST)
        kept = "kept" if float(row["ratio_to_6"]) <= limit else "**exceeded**"
        lines.append(f"| {NAMES[name]} | {_spread(row)} | {limit} | {kept} |")
    return "\n".join(lines)


def table(rows: Sequence[Row]) -> str:
    """Every model's parameters and times at the ends, the cheapest at 60 domains first."""
    head = f"| model | parameters at 5 | at {MOST} | ms / 1,000 rows at 5 | at {MOST} | time {MOST} / 5 | {MOST} / {FEW} |"
    names = sorted({row["model"] for row in rows}, key=lambda name: _time(_of(rows, name, MOST)))
    lines = [_line(name, _of(rows, name, 5), _of(rows, name, MOST)) for name in names]
    return "\n".join([head, "|---|---:|---:|---:|---:|---:|---:|", *lines])


def _line(name: str, few: Row, most: Row) -> str:
    shown = f"**{NAMES[name]}**" if name in LIMITS else NAMES.get(name, f"`{name}`")
    counts = [f"{int(row['parameters']):,}" for row in (few, most)]
    if most.get("cpu_s_per_1000_rows"):
        times = [f"{1000 * _time(row):.1f}" for row in (few, most)]
        times += [f"{float(most['ratio_to_5']):.2f}", _spread(most)]
    else:
        times = [""] * 4
    return f"| {' | '.join([shown, *counts, *times])} |"


def pictures(rows: Sequence[Row], palette: Palette = LIGHT) -> list[Picture]:
    """Time, its growth, and parameters, against the number of domains."""
    shown = [row for row in rows if int(row["domains"]) in _AXIS]
    timed = [row for row in shown if row.get("cpu_s_per_1000_rows")]
    ratio = alt.Y(
        "value:Q",
        title="time of a step / time at 5 domains",
        scale=alt.Scale(zero=False, nice=True, padding=6),
    )
    time = alt.Y(
        "value:Q",
        title="CPU-ms for 1,000 rows",
        scale=alt.Scale(type="log", nice=False, padding=12),
        axis=alt.Axis(values=[5, 10, 20, 50, 100, 200]),
    )
    count = alt.Y("value:Q", title="parameters", axis=alt.Axis(format="~s", tickCount=6))
    return [
        Picture(
            "growth",
            "Training time relative to 5 domains",
            "Median of the rounds' ratios; process CPU time of whole training steps.",
            _lines([(row, float(row["ratio_to_5"])) for row in timed], ratio, palette),
        ),
        Picture(
            "time",
            "Training time of 1,000 rows",
            "CPU milliseconds, on a logarithmic axis.",
            _lines([(row, 1000 * _time(row)) for row in timed], time, palette),
        ),
        Picture(
            "parameters",
            "Parameters",
            "Embedding tables included: 0.52 million in each model but the isolated ones, of which "
            "each has those of its own ids.",
            _lines([(row, float(row["parameters"])) for row in shown], count, palette),
        ),
    ]


def markdown(rows: Sequence[Row], folder: str) -> str:
    """Links to the pictures, with their captions."""
    return "\n\n".join(
        f"![{p.title}](pictures/{folder}/{p.key}.png)\n\n*{p.title}.* {p.caption}"
        for p in pictures(rows)
    )


def _lines(values: Iterable[tuple[Row, float]], y: Any, palette: Palette) -> Any:
    """Thin grey lines for the other rankers, under coloured and marked ones; what is counted alone
    is dashed and drawn last, so that it hides none."""
    named = [*NAMES.values(), OTHERS]
    drawn = [
        {
            "model": row["model"],
            "name": NAMES.get(row["model"], OTHERS),
            "domains": int(row["domains"]),
            "value": value,
        }
        for row, value in values
    ]
    drawn.sort(key=lambda value: named.index(value["name"]))
    present = list(dict.fromkeys(value["name"] for value in drawn))
    hues = dict(zip(NAMES.values(), _hues(palette), strict=True)) | {OTHERS: palette.unmeasured}
    shapes = dict(zip([*NAMES.values(), OTHERS], _SHAPES, strict=True))
    colour = alt.Color(
        "name:N",
        scale=alt.Scale(domain=present, range=[hues[name] for name in present]),
        legend=alt.Legend(title=None),
    )
    shape = alt.Shape(
        "name:N",
        scale=alt.Scale(domain=present, range=[shapes[name] for name in present]),
        legend=alt.Legend(title=None),
    )
    alone = alt.datum.name == NAMES[ISOLATED]
    dash = alt.condition(alone, alt.value([5, 4]), alt.value([1, 0]))
    x = alt.X(
        "domains:Q",
        title="domains",
        scale=alt.Scale(domain=[0, 62], nice=False),
        axis=alt.Axis(values=list(_AXIS), grid=False),
    )
    groups = ([v for v in drawn if (v["name"] == OTHERS) is other] for other in (True, False))
    others, marked = (alt.Chart(rows_of(group)).encode(x=x, y=y, color=colour) for group in groups)
    return alt.layer(
        others.mark_line(strokeWidth=1, opacity=0.7).encode(detail="model:N"),
        marked.mark_line(strokeWidth=2).encode(strokeDash=dash),
        marked.mark_point(filled=True, size=60, opacity=1).encode(shape=shape),
    ).properties(width="container", height=340)


def _hues(palette: Palette) -> tuple[str, ...]:
    return (
        palette.hurt,
        palette.gains,
        palette.shared,
        palette.ink,
        palette.joint,
        palette.isolated,
    )


def _of(rows: Sequence[Row], name: str, domains: int) -> Row:
    return next(row for row in rows if (row["model"], row["domains"]) == (name, str(domains)))


def _time(row: Row) -> float:
    return float(row.get("cpu_s_per_1000_rows") or "inf")


def _spread(row: Row) -> str:
    ratio, low, high = (float(row[f"ratio_to_6{end}"]) for end in ("", "_low", "_high"))
    return f"{ratio:.2f} ({low:.2f} to {high:.2f})"
