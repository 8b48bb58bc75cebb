import random
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest

from isthmus.report import Curves, Masks, ReportData
from isthmus.report.charts_masks import clustered
from isthmus.report.palette import DARK, LIGHT, PAGE
from isthmus.report.pictures import pictures, save_pictures
from tests.report.sample import masks, sample


def specs(data):
    return {p.key: p.spec() for p in pictures(data) if p.chart is not None}


def data_of(spec, dataset=0):
    return list(spec["datasets"].values())[dataset]


def test_pictures_are_written_without_a_browser(tmp_path):
    data = sample(6)
    written = save_pictures(data, tmp_path / "new" / "folder", scale=1)
    keys = {path.stem for path in written}
    assert {"gains", "auc", "calibration-shift", "calibration", "masks", "overlap"} < keys
    for path in written:
        if path.suffix == ".png":
            assert path.read_bytes().startswith(b"\x89PNG")
        else:
            text = " ".join(ET.parse(path).getroot().itertext())
            if path.stem in {"gains", "auc", "masks"}:
                assert all(name in text for name in data.masks.domains)


def test_the_interval_plot_holds_the_figures_sorted_by_gain():
    data = sample(32)
    measured = [row for row in data.sharing.rows if row.gain is not None]
    spec = specs(data)["gains"]
    rows = next(rows for rows in spec["datasets"].values() if len(rows) > 1)
    assert [row["value"] for row in rows] == sorted((r["value"] for r in rows), reverse=True)
    by_name = {row["domain"]: row for row in rows}
    assert by_name.keys() == {row.domain for row in measured}
    for row in measured:
        found = by_name[row.domain]
        assert found["low"] == pytest.approx(row.gain.low, abs=1e-5)
        assert found["high"] == pytest.approx(row.gain.high, abs=1e-5)
        assert (found["verdict"], found["rows"]) == (row.verdict.value, row.rows)
    drawn = spec["layer"][1]["encoding"]
    assert drawn["y"]["scale"]["domain"] == [row["domain"] for row in rows]
    assert spec["layer"][2]["encoding"]["shape"]["scale"]["range"]


def test_domains_without_a_gain_are_counted_in_the_caption():
    data = sample(300)
    missing = sum(row.gain is None for row in data.sharing.rows)
    assert missing > 0
    caption = next(p.caption for p in pictures(data) if p.key == "gains")
    assert f"{missing} domain" in caption


def test_the_best_epoch_is_marked_counted_from_one():
    curves = Curves(score=(0.6, 0.8, 0.7), losses={"bce": (0.5, None, 0.3)}, best_epoch=1)
    made = pictures(ReportData(title="t", curves={"m": curves}))
    score, losses = (p for p in made if p.key.startswith("training"))
    assert "0.8000 after epoch 2 of 3" in score.caption
    assert [{"best": True, "epoch": 2, "score": 0.8}] in score.spec()["datasets"].values()
    assert [row["epoch"] for row in data_of(losses.spec())] == [1, 3]


def test_very_different_losses_get_a_logarithmic_axis():
    def scale(*values):
        curves = Curves(score=(0.5, 0.6), losses={"a": values})
        made = pictures(ReportData(title="t", curves={"m": curves}))
        spec = next(p.spec() for p in made if p.key.endswith("losses"))
        return spec["layer"][0]["encoding"]["y"]["scale"]

    assert scale(1.0, 0.02) == {"type": "log"}
    assert scale(1.0, 0.5) == {"zero": False}
    assert scale(1.0, 0.0) == {"zero": False}


def test_absent_figures_leave_a_reason():
    reasons = {p.key: p.reason for p in pictures(ReportData(title="t"))}
    assert set(reasons) == {
        "gains",
        "auc",
        "calibration-shift",
        "calibration",
        "training",
        "masks",
        "overlap",
    }
    assert all(reasons.values())
    assert "masks" in reasons["masks"]


@pytest.mark.parametrize("known", [True, False])
def test_domains_with_similar_masks_stand_together(known):
    """Planted groups come out as runs, whether or not the overlap was stored."""
    group = [d % 3 for d in range(12)]
    rows = tuple(tuple(1.0 if e // 2 == g else 0.0 for e in range(6)) for g in group)
    overlap = tuple(tuple(1.0 if a == b else 0.1 for b in group) for a in group)
    found = Masks(
        domains=tuple(map(str, range(12))), levels=(6,), active=(rows,), overlap=overlap if known else ()
    )  # fmt: skip
    order = [group[d] for d in clustered(found)]
    changes = sum(a != b for a, b in pairwise(order))
    assert sorted(order) == sorted(group)
    assert changes == 2


def test_the_cells_of_a_matrix_are_the_overlaps():
    found = masks(("a", "b", "c", "d"), random.Random(1))
    spec = next(
        p.spec() for p in pictures(ReportData(title="t", masks=found)) if p.key == "overlap"
    )
    params = {p["name"]: p["value"] for p in spec["params"]}
    order = [found.domains.index(name) for name in params["overlap_names"]]
    for i, a in enumerate(order):
        for j, b in enumerate(order):
            assert params["overlap_values"][i][j] == round(100 * found.overlap[a][b])


@pytest.mark.parametrize("domains", [1, 2])
def test_one_or_two_domains_draw(domains):
    assert len(specs(sample(domains))) >= 5


def test_many_cells_are_drawn_on_a_canvas_and_have_no_svg_file():
    dense = {p.key for p in pictures(sample(300)) if p.dense}
    assert dense == {"masks", "overlap"}
    assert not any(p.dense for p in pictures(sample(32)))


def contrast(a: str, b: str) -> float:
    """Contrast ratio of two colours by the formula of WCAG 2."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_text_colours_are_legible(palette):
    for name in ("ink", "muted", "gains", "hurt", "accent"):
        assert contrast(getattr(palette, name), palette.surface) >= 4.5, name


def test_the_page_names_its_colours_instead_of_fixing_them():
    assert PAGE.gains == "var(--gains)"


def test_what_a_model_told_of_domains_is_a_line_each():
    gaps = {"toys": (0.1, -0.2, -0.3), "books": (None, 0.2, 0.1)}
    curves = Curves(score=(0.6, 0.8, 0.7), told={"running gap": gaps})
    (picture,) = (
        p for p in pictures(ReportData(title="", curves={"m": curves})) if "told" in p.key
    )
    assert picture.title == "m: running gap"
    assert picture.caption.endswith("Lowest at the end: toys, −0.3000.")
    rows = data_of(picture.spec())
    found = {(row["domain"], row["epoch"]): row["value"] for row in rows}
    assert found == {
        ("toys", 1): 0.1, ("toys", 2): -0.2, ("toys", 3): -0.3,
        ("books", 2): 0.2, ("books", 3): 0.1,
    }  # fmt: skip
    assert {row["named"] for row in rows} == {"toys", "books"}


def test_of_many_domains_both_ends_are_named():
    gaps = {f"d{n:02}": (0.0, n / 100) for n in range(31)}
    curves = Curves(score=(0.6, 0.8), told={"gap": gaps})
    (picture,) = (
        p for p in pictures(ReportData(title="", curves={"m": curves})) if "told" in p.key
    )
    rows = data_of(picture.spec())
    assert {row["named"] for row in rows} == {
        "d00", "d01", "d02", "d28", "d29", "d30", "other domains"
    }  # fmt: skip
    assert len({row["domain"] for row in rows}) == 31
    with pytest.raises(ValueError, match="has 1 epochs, the score 2"):
        Curves(score=(0.6, 0.8), told={"gap": {"a": (0.1,)}})
