"""One picture: a chart with the words around it, or the reason why there is none."""

from dataclasses import dataclass
from typing import Any, Final

import altair as alt

from isthmus.report.palette import Palette

FONT: Final = (
    'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", sans-serif'
)
MANY: Final = 60
"""From so many domains on, rows are set closer and the picture scrolls in its own box."""


@dataclass(frozen=True, slots=True)
class Picture:
    """``key`` is its file name and anchor. Without ``chart``, ``reason`` says what was missing.

    ``dense`` pictures have too many marks for SVG and are drawn on a canvas; ``tall`` ones scroll.
    Those ``by_domain`` have rows with a field ``domain``: filtering the page's table filters them.
    """

    key: str
    title: str
    caption: str = ""
    chart: Any = None
    reason: str = ""
    dense: bool = False
    tall: bool = False
    by_domain: bool = False

    def spec(self) -> dict[str, Any]:
        """The Vega-Lite specification, with a description for screen readers."""
        described = self.chart.properties(description=f"{self.title}. {self.caption}")
        spec: dict[str, Any] = described.to_dict()
        if spec.get("width") == "container":
            spec["autosize"] = {"type": "fit-x", "contains": "padding"}
        spec.pop("config", None)  # altair's default sizes; ours come with the theme
        return spec


def rows_of(values: list[dict[str, Any]]) -> Any:
    """Rows held in the specification itself."""
    return alt.InlineData(values=values)


def step(count: int) -> int:
    """Height of one domain's row in pixels."""
    return 20 if count <= MANY else 13


def theme(palette: Palette) -> dict[str, Any]:
    """Vega's configuration: quiet axes, the page's fonts and colours."""
    text = {
        "labelColor": palette.ink,
        "titleColor": palette.muted,
        "labelFont": FONT,
        "titleFont": FONT,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
    }
    axis = {
        **text,
        "gridColor": palette.line,
        "domainColor": palette.line,
        "tickColor": palette.line,
        "labelLimit": 230,
    }
    return {
        "font": FONT,
        "background": "transparent",
        "view": {"stroke": None},
        "axis": axis,
        "axisY": {"labelPadding": 6},
        "legend": {**text, "symbolSize": 80, "orient": "top", "titleOrient": "left", "offset": 8},
        "title": {"color": palette.ink, "font": FONT, "fontSize": 12, "anchor": "start"},
    }
