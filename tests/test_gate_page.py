"""The gate's page: its tables are those of the committed rows, which keep to alpha; its TOML is read."""

import re
from pathlib import Path

import pytest
from benchmarks.gate import page
from benchmarks.gate.worlds import KINDS

from isthmus.bench.rows import read_rows
from isthmus.release import read_rules
from isthmus.report.palette import LIGHT

PAGE = Path(__file__).parent.parent / "docs" / "gate.md"
ROWS = read_rows(page.RESULTS)


def test_the_tables_are_those_of_the_committed_rows():
    text = PAGE.read_text(encoding="utf-8")
    assert page.tables(ROWS) in text, "stale: run python benchmarks/gate_errors.py --drawn"


def test_committed_rows_keep_to_alpha():
    """Within the error of so many repetitions, for which three standard errors are allowed."""
    assert {row["world"] for row in ROWS} >= set(KINDS)
    for row in ROWS:
        allowed = 0.05 + 3 * (0.05 * 0.95 / int(row["repetitions"])) ** 0.5
        assert float(row["false_passes"]) <= allowed, row
        assert float(row["any_false_worse"]) <= allowed, row


def test_every_world_has_a_panel():
    drawn = page.picture(ROWS, LIGHT).spec()
    for panels in drawn["vconcat"]:
        assert [panel["title"] for panel in panels["hconcat"]] == list(KINDS)


def test_the_margins_of_the_page_are_read(tmp_path):
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "margins.toml"
    path.write_text(text, encoding="utf-8")
    rules = read_rules(path, {})
    assert rules.domains == pytest.approx({"wine": 0.01, "tea": 0.05})
