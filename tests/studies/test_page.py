"""The studies' page from a few planted rows: tables in order, pictures that exist, gaps that say so."""

import pytest
from benchmarks.studies import masks, page

from isthmus.bench import read, write_rows

TOML = page.HERE / "levels.toml"


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """The study of levels alone has rows, but for its last entry; and the masks."""
    for name in page.NAMES:
        (tmp_path / f"{name}.toml").write_bytes((page.HERE / f"{name}.toml").read_bytes())
    labels = [entry.label for entry in read(TOML).entries]
    (tmp_path / "results").mkdir()
    rows = [
        {"label": label, "seed": str(seed), "domain_auc": f"{0.7 + 0.01 * place + 0.001 * seed}",
         "minor10": "0.65", "cpu_seconds": "9"}
        for place, label in enumerate(labels[:-1]) for seed in range(3)
    ]  # fmt: skip
    write_rows(tmp_path / "results" / "study_levels.csv", rows)
    pairs = [
        {"by": "planted cluster", "run": "r", "seed": "0", "density": "0.6", "pairs": kind,
         "count": "9", "overlap": "0.5", "random": "0.4", "low": "0.3", "high": "0.5", "p": "0.2"}
        for kind in ("related", "unrelated")
    ]  # fmt: skip
    write_rows(tmp_path / "results" / "study_masks.csv", pairs, masks.COLUMNS)
    monkeypatch.setattr(page, "HERE", tmp_path)
    return labels


def test_a_study_with_rows_has_table_and_picture(planted):
    text = page.study_markdown("levels")
    lines = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert [line.split(" | ")[0].strip("| ") for line in lines] == planted[:-1]
    assert f"Not run yet: {planted[-1]}." in text
    assert "pictures/studies/study_levels.png" in text
    assert "−0.0200 ± 0.0000" in lines[0]


def test_a_study_without_rows_says_how_to_make_them(planted):
    text = page.study_markdown("ablation")
    assert text.startswith("*Not run yet:*")
    assert "isthmus bench benchmarks/studies/ablation.toml" in text
    assert "png" not in text


def test_the_protocol_is_that_of_the_toml(planted, tmp_path):
    (tmp_path / "levels.toml").write_text(
        """name = "n"
data = "d"
seeds = [4, 7]
[train]
lr = 0.5
[[entries]]
label = "x (our default)"
model = "aread"
settings = {embedding_dim = 3, search = {every = 9, lr = 0.1}}
"""
    )
    assert page.protocol("levels") == (
        "Seeds 4, 7; training `lr = 0.5`; our default here `embedding_dim = 3`, "
        "`search.every = 9`, `search.lr = 0.1`."
    )


def test_masks_with_and_without_rows(planted):
    assert "pictures/studies/study_masks.png" in page.masks_markdown("study_masks")
    assert page.masks_markdown("study_none").startswith("*Not run yet:*")


def test_only_what_has_rows_is_drawn(planted):
    drawn = [picture.key for picture in page.pictures() if picture.chart is not None]
    assert drawn == ["study_levels", "study_masks"]
