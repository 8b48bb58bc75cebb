"""What of the studies the docs show: tables and pictures from committed rows, as far as there are any."""

from pathlib import Path

from isthmus.bench import read, read_rows
from isthmus.bench.rows import Row
from isthmus.report.charts_study import differences, mask_overlap
from isthmus.report.palette import LIGHT
from isthmus.report.picture import Picture
from isthmus.report.study import Study, mask_table, study_table

HERE = Path(__file__).parent
NAMES = ("ablation", "levels", "first_experts", "search_rate", "augmentation")
MASKS = "study_masks"
FOLDER = "studies"
"""Of the pictures, under docs/pictures."""


def study(name: str) -> Study:
    """What the rows of a study say, its settings in the order of its TOML."""
    config = read(HERE / f"{name}.toml")
    labels = [entry.label for entry in config.entries]
    return Study.of(config.name, _rows(config.name), labels)


def study_markdown(name: str) -> str:
    """Table and picture of a study, or how its rows are made."""
    found = study(name)
    if not found.settings:
        return f"*Not run yet:* `isthmus bench benchmarks/studies/{name}.toml` makes these rows."
    return f"{study_table(found)}\n{_linked(differences(found, LIGHT))}"


def masks_markdown(name: str = MASKS) -> str:
    """Table and picture of the masks' overlap, or how its rows are made."""
    rows = _rows(name)
    if not rows:
        return "*Not run yet:* `benchmarks/studies/masks.py` makes these rows."
    return f"{mask_table(rows)}\n{_linked(mask_overlap(name, rows, LIGHT))}"


def pictures() -> list[Picture]:
    """The pictures of all studies; those without rows say so."""
    drawn = [differences(study(name), LIGHT) for name in NAMES]
    return [*drawn, mask_overlap(MASKS, _rows(MASKS), LIGHT)]


def _rows(name: str) -> list[Row]:
    return read_rows(HERE / "results" / f"{name}.csv")


def _linked(picture: Picture) -> str:
    if picture.chart is None:
        return f"*{picture.reason}*\n"
    link = f"![{picture.title}](pictures/{FOLDER}/{picture.key}.png)"
    return f"{link}\n\n*{picture.title}.* {picture.caption}\n"
