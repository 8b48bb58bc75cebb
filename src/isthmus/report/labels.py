"""Where the names of points go, so that they hide neither each other nor the points."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

Box = tuple[float, float, float, float]

_LETTER: Final = 6.2
"""Pixels that a letter of 11 px takes, generously."""
_LINE: Final = 12.0
_POINT: Final = 7.0


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a text stands, from its point: offsets in pixels, and which end of it is there."""

    align: str
    dx: float
    dy: float


_SPOTS: Final = tuple(
    Spot(align, side * away, dy)
    for away, heights in ((10, (0, -11, 11)), (4, (-16, 18, -28, 30)), (10, (-40, 42)))
    for dy in heights
    for align, side in (("left", 1), ("right", -1))
)


def placed(
    points: Sequence[tuple[float, float]], names: Sequence[str], size: tuple[float, float]
) -> list[Spot]:
    """A spot for the name of every point (in pixels, y down), within a picture of this size.

    One after the other, each takes the first spot that hides least of what is there already.
    """
    taken: list[Box] = [(x - _POINT, y - _POINT, x + _POINT, y + _POINT) for x, y in points]
    chosen = []
    for point, name in zip(points, names, strict=True):
        spot = min(_SPOTS, key=lambda s: _cost(_box(point, name, s), taken, size))
        taken.append(_box(point, name, spot))
        chosen.append(spot)
    return chosen


def _box(point: tuple[float, float], name: str, spot: Spot) -> Box:
    width = _LETTER * len(name)
    start = point[0] + spot.dx - (width if spot.align == "right" else 0.0)
    middle = point[1] + spot.dy
    return start, middle - _LINE / 2, start + width, middle + _LINE / 2


def _cost(box: Box, taken: Sequence[Box], size: tuple[float, float]) -> float:
    """Square pixels that it shares with others, or that lie outside of the picture."""
    inside = _common(box, (0.0, 0.0, *size))
    whole = (box[2] - box[0]) * (box[3] - box[1])
    return whole - inside + sum(_common(box, other) for other in taken)


def _common(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0
