"""What the page "From your own Parquet to the verdict table" tells a reader to do is done here."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from isthmus.cli import app
from isthmus.evaluation import Action
from isthmus.report import ReportData

PAGE = Path(__file__).parents[1] / "docs" / "own-data.md"
BLOCK = re.compile(r"```(python|toml|bash)\n(.*?)```", re.S)
EITHER = (0, 1, 2)
"""What ``isthmus gate`` may end with: which it is, is not the page's to promise."""


def blocks():
    """(language, text) of every block of code, in the order of the page."""
    return BLOCK.findall(PAGE.read_text(encoding="utf-8"))


def commands(text):
    return [shlex.split(line, comments=True) for line in text.splitlines() if line.strip()]


def run(words):
    """In this process, where torch is loaded already: what it printed."""
    if words[0] == "python":
        done = subprocess.run(
            [sys.executable, words[1]], capture_output=True, text=True, check=True
        )
        return done.stdout
    done = CliRunner().invoke(app, words[1:], catch_exceptions=False)
    assert done.exit_code in (EITHER if words[1] == "gate" else (0,)), f"{words}: {done.output}"
    return done.output


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """The page, done from top to bottom: its folder, and what each command printed."""
    folder, printed = tmp_path_factory.mktemp("reader"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLUMNS", "300")
        for language, text in blocks():
            if language == "bash":
                printed |= {" ".join(words[:2]): run(words) for words in commands(text)}
            else:
                Path(re.match(r"# (\S+)\n", text)[1]).write_text(text, encoding="utf-8")
    return folder, printed


@pytest.mark.slow
def test_the_page_ends_in_a_verdict_a_domain(told):
    folder, printed = told
    report = ReportData.model_validate_json((folder / "runs" / "report.json").read_text())
    assert {row.domain for row in report.sharing.rows} == {"books", "games", "tools", "toys"}
    assert report.sharing.seeds == 3
    lines = printed["python read_table.py"].splitlines()
    assert len(lines) == 4
    for row, line in zip(report.sharing.rows, lines, strict=True):
        assert line.split()[0] == row.domain
        assert row.verdict.value in line
        assert line.endswith(row.advice.action.value)
        assert row.verdict.value in printed["isthmus share"]
        assert row.advice.action in Action
    for end in ("html", "md", "json"):
        assert (folder / "runs" / f"report.{end}").stat().st_size > 1000


@pytest.mark.slow
def test_every_part_had_the_same_trials(told):
    folder, _ = told
    report = ReportData.model_validate_json((folder / "runs" / "report.json").read_text())
    assert {one.part: one.trials for one in report.tuned} == {
        "joint": 3, "isolated": 3, "shared": 3
    }  # fmt: skip


@pytest.mark.slow
def test_the_run_by_itself_has_its_page_and_the_gate_its_lines(told):
    folder, printed = told
    assert (folder / "runs" / "candidate" / "report.html").stat().st_size > 100_000
    assert printed["isthmus gate"].strip()


def test_the_page_names_columns_that_the_table_has():
    text = PAGE.read_text(encoding="utf-8")
    for column in ("Gain", "Detectable", "Calibration shift", "What to do"):
        assert f"| {column} |" in text


def test_every_page_that_it_points_to_is_there():
    for link in re.findall(r"\]\(([\w-]+\.md)\)", PAGE.read_text(encoding="utf-8")):
        assert (PAGE.parent / link).exists(), link
