"""What of the studies the docs show: tables and pictures from committed rows, as far as there are any."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isthmus.bench import read, read_rows
from isthmus.bench.rows import Row
from isthmus.report.charts_study import differences, mask_overlap
from isthmus.report.palette import LIGHT
from isthmus.report.picture import Picture
from isthmus.report.study import DEFAULT, Study, mask_table, study_table

HERE = Path(__file__).parent
NAMES = ("ablation", "levels", "first_experts", "search_rate", "augmentation", "planted", "syncrec")
MASKS = ("study_masks", "study_masks_own_heads")
FOLDER = "studies"
"""Of the pictures, under docs/pictures."""


def study(name: str) -> Study:
    """What the rows of a study say, its settings in the order of its TOML."""
    config = read(HERE / f"{name}.toml")
    labels = [entry.label for entry in config.entries]
    return Study.of(config.name, _rows(config.name), labels)


def protocol(name: str) -> str:
    """Seeds, training and the default's settings, as the TOML of a study has them."""
    bench = read(HERE / f"{name}.toml")
    (default,) = (entry for entry in bench.entries if entry.label.endswith(DEFAULT))
    seeds = ", ".join(map(str, bench.seeds))
    return (
        f"Seeds {seeds}; training {_told(bench.train)}; our default here {_told(default.settings)}."
    )


def study_markdown(name: str) -> str:
    """Table and picture of a study, or how its rows are made."""
    found = study(name)
    if not found.settings:
        return f"*Not run yet:* `isthmus bench benchmarks/studies/{name}.toml` makes these rows."
    return f"{study_table(found)}\n{_linked(differences(found, LIGHT))}"


def masks_markdown(name: str) -> str:
    """Table and picture of the masks' overlap, or how its rows are made."""
    rows = _rows(name)
    if not rows:
        return "*Not run yet:* `benchmarks/studies/masks.py` makes these rows."
    return f"{mask_table(rows)}\n{_linked(mask_overlap(name, rows, LIGHT))}"


def pictures() -> list[Picture]:
    """The pictures of all studies; those without rows say so."""
    drawn = [differences(study(name), LIGHT) for name in NAMES]
    return [*drawn, *(mask_overlap(name, _rows(name), LIGHT) for name in MASKS)]


def _rows(name: str) -> list[Row]:
    return read_rows(HERE / "results" / f"{name}.csv")


def _told(settings: Mapping[str, Any], prefix: str = "") -> str:
    return ", ".join(
        _told(value, f"{prefix}{key}.") if isinstance(value, dict) else f"`{prefix}{key} = {value}`"
        for key, value in settings.items()
    )


def _linked(picture: Picture) -> str:
    if picture.chart is None:
        return f"*{picture.reason}*\n"
    link = f"![{picture.title}](pictures/{FOLDER}/{picture.key}.png)"
    return f"{link}\n\n*{picture.title}.* {picture.caption}\n"
