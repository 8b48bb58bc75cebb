"""Every picture of the report, for the page and as an image file alike."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import vl_convert

from isthmus.report import (
    charts_calibration,
    charts_domains,
    charts_guard,
    charts_masks,
    charts_training,
    charts_transfer,
)
from isthmus.report.data import ReportData
from isthmus.report.palette import LIGHT, Palette
from isthmus.report.picture import Picture, theme


def pictures(data: ReportData, palette: Palette = LIGHT) -> list[Picture]:
    """All pictures in the order of the page; those without figures carry the reason instead."""
    return [
        charts_domains.gains(data.sharing, palette),
        charts_domains.aucs(data.sharing, palette),
        charts_calibration.shifts(data.sharing, palette),
        charts_calibration.calibration(data.metrics, palette, data.sharing),
        *charts_training.curves(data.curves, palette),
        charts_masks.masks(data.masks, palette),
        charts_masks.overlap(data.masks, palette),
        *(charts_transfer.transfer(data.transfer, palette) if data.transfer else []),
        *([charts_guard.dumbbell(data.guard, palette)] if data.guard else []),
    ]


def save_pictures(data: ReportData, folder: Path, *, scale: float = 2.0) -> list[Path]:
    """Write the pictures of a report, as ``save`` does."""
    return save(pictures(data), folder, scale=scale)


def save(drawn: Sequence[Picture], folder: Path, *, scale: float = 2.0) -> list[Path]:
    """Write each picture that has figures as ``KEY.png`` and ``KEY.svg``; returns the paths.

    Needs no browser. Pictures with thousands of cells have no SVG (it would be tens of megabytes). ``scale`` is the number of image pixels a CSS pixel. The ground is white.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for picture in drawn:
        if picture.chart is None:
            continue
        spec = json.dumps(still(picture.spec()))
        png = folder / f"{picture.key}.png"
        png.write_bytes(vl_convert.vegalite_to_png(spec, scale=scale))
        written.append(png)
        if not picture.dense:
            svg = folder / f"{picture.key}.svg"
            svg.write_text(vl_convert.vegalite_to_svg(spec), encoding="utf-8")
            written.append(svg)
    return written


def still(spec: dict[str, Any], width: int = 620) -> dict[str, Any]:
    """The specification for an image: a fixed width, the theme and a white ground."""
    fixed = {"width": width} if spec.get("width") == "container" else {}
    return {
        **spec,
        **fixed,
        "background": LIGHT.surface,
        "padding": 12,
        "config": theme(LIGHT),
    }
