"""Tables and pictures of studies: differences paired by seed, by hand and by SciPy."""

import pytest
from scipy import stats

from isthmus.report.charts_study import differences, mask_overlap
from isthmus.report.palette import LIGHT
from isthmus.report.study import Study, clear, mask_table, study_table

LABELS = ["small", "middle (our default)", "big", "huge"]
VALUES = {
    "small": [0.70, 0.75, 0.72],
    "middle (our default)": [0.71, 0.77, 0.75],
    "big": [0.73, 0.79, 0.78],
}


def row(label, seed, value, minor=""):
    figures = {"domain_auc": f"{value:.6f}", "minor10": minor, "cpu_seconds": "60"}
    return {"label": label, "seed": str(seed), **figures}


def rows():
    """In the order of a benchmark's CSV, which is not the study's."""
    found = [row(label, s, v) for label, own in VALUES.items() for s, v in enumerate(own)]
    return sorted(found, key=lambda r: (r["label"], r["seed"]))


def table(text):
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return {cells[0]: cells[1:] for cells in lines[2:]}


def test_differences_are_paired_by_seed():
    study = Study.of("s", rows(), LABELS)
    assert [s.label for s in study.settings] == LABELS[:3]
    assert study.missing == ("huge",)
    big = study.settings[2].differences["domain_auc"]
    paired = [b - m for b, m in zip(VALUES["big"], VALUES[LABELS[1]], strict=True)]
    low, high = stats.t.interval(0.95, 2, loc=sum(paired) / 3, scale=stats.sem(paired))
    assert (big.mean - big.half, big.mean + big.half) == pytest.approx((low, high))
    assert clear(big)
    assert not clear(study.settings[0].differences["domain_auc"])


def test_only_seeds_that_both_have_are_compared():
    some = [row(LABELS[1], 0, 0.7), row(LABELS[1], 5, 0.8), row("big", 5, 0.81), row("big", 6, 0.9)]
    found = Study.of("s", some, LABELS)
    assert found.settings[1].by_seed["domain_auc"] == pytest.approx((0.01,))
    assert found.settings[1].differences["domain_auc"].half is None
    assert not clear(found.settings[1].differences["domain_auc"])


def test_the_table_keeps_the_order_and_marks_what_leaves_out_zero():
    cells = table(study_table(Study.of("s", rows(), LABELS)))
    assert list(cells) == LABELS[:3]
    assert cells[LABELS[1]][:3] == ["3", "0.7433 ± 0.0759", "–"]
    assert cells["big"][2] == "**+0.0233 ± 0.0143**"
    assert cells["small"][2] == "−0.0200 ± 0.0248"
    assert cells["small"][3:] == ["–", "–", "60"]
    assert "Not run yet: huge." in study_table(Study.of("s", rows(), LABELS))


def test_a_study_has_one_default():
    with pytest.raises(ValueError, match="0 labels"):
        Study.of("s", rows(), ["small", "big"])


def test_the_picture_draws_what_the_table_says():
    spec = differences(Study.of("s", rows(), LABELS), LIGHT).spec()
    drawn = [
        value
        for values in spec["datasets"].values()
        for value in values
        if value.get("metric") == "domain_auc"
    ]
    assert {v["label"]: (v["mean"], v["kind"]) for v in drawn} == {
        "small": (-0.02, "not told apart from it"),
        "big": (0.02333, "above the default"),
    }


def test_without_a_common_seed_there_is_a_reason_and_no_picture():
    found = differences(Study.of("s", [row("big", 1, 0.7)], LABELS), LIGHT)
    assert found.chart is None
    assert found.reason


def mask_rows():
    common = {"by": "planted | cluster", "run": "r", "seed": "2", "density": "0.6", "p": "0.000999"}
    figures = {"random": "0.43", "low": "0.41", "high": "0.45"}
    return [
        {**common, **figures, "pairs": "related", "count": "18", "overlap": "0.7"},
        {**common, **figures, "pairs": "unrelated", "count": "102", "overlap": "0.5"},
    ]


def test_the_masks_table_has_a_line_a_run():
    (line,) = mask_table(mask_rows()).splitlines()[2:]
    assert line == (
        "| planted \\| cluster | 2 | 0.600 | 0.700 (18) | 0.430 [0.410, 0.450] "
        "| 0.500 (102) | 0.430 [0.410, 0.450] | <0.001 |"
    )


def test_the_masks_picture_has_both_kinds_of_pairs():
    (values,) = mask_overlap("m", mask_rows(), LIGHT).spec()["datasets"].values()
    assert {v["pairs"]: v["overlap"] for v in values} == {
        "related domains": 0.7,
        "unrelated domains": 0.5,
    }
