"""The gate in words, as a table, and in a pipeline's formats."""

import io
import json
from xml.etree import ElementTree

import pytest
from rich.console import Console

from isthmus.evaluation import Gate, GateRow, GateRules, Interval, Outcome
from isthmus.report import gate as said
from isthmus.report.gate_files import gate_to_json, gate_to_junit, gate_to_markdown
from isthmus.report.gate_table import print_gate

NASTY = 'a<b> & "c" | [d] \x1b\x00 \N{PILE OF POO}'


def row(name, outcome, value=-0.03, *, kind="domain", margin=0.02, **more):
    difference = Interval(value=value, low=value - 0.02, high=value + 0.02)
    return GateRow(
        name=name, kind=kind, rows=1200, positives=300, margin=margin, difference=difference,
        p_worse=0.001, p_adjusted=0.004, outcome=outcome, **more,
    )  # fmt: skip


def gate(*rows, **rules):
    overall = row("(overall)", Outcome.passes, 0.01, kind="overall")
    return Gate(
        rows=(*rows, overall),
        metric="AUC",
        seeds=1,
        rules=GateRules(margin=0.02, **rules),
        protocol="How it was tested.",
    )


WORSE = row("wine", Outcome.worse)
UNTOLD = row("tea", Outcome.cannot_tell, 0.0, needed=5000)
EMPTY = GateRow(
    name=NASTY, kind="domain", rows=0, positives=0, margin=0.02, outcome=Outcome.cannot_tell,
    reason="no rows",
)  # fmt: skip
OUT = row("test", Outcome.excluded)


def printed(found, width=160):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    print_gate(found, console)
    return console.file.getvalue()


def test_a_failing_domain_is_one_line_with_all_that_counts():
    line = said.line(gate(WORSE), WORSE)
    for part in ("wine", "−0.0300", "[−0.0500, −0.0100]", "AUC", "margin 0.02", "Keep the"):
        assert part in line
    assert "\n" not in line
    assert "About 5,000 rows" in said.line(gate(UNTOLD), UNTOLD)
    assert "it has 1,200" in said.line(gate(UNTOLD), UNTOLD)
    assert "no rows" in said.line(gate(EMPTY), EMPTY)


def test_what_stops_and_what_does_not():
    assert gate().exit_code == 0
    assert gate(UNTOLD, OUT).exit_code == 2
    assert gate(UNTOLD, OUT, cannot_tell="pass").exit_code == 0
    mixed = gate(UNTOLD, WORSE)
    assert mixed.exit_code == 1
    assert [r.name for r in mixed.stopping] == ["wine", "tea"]
    assert "cannot tell" in said.headline(gate(UNTOLD)).lower()
    assert said.cure(gate(UNTOLD))
    assert not said.cure(gate(WORSE))
    assert "90 %" in said.level(gate())


@pytest.mark.parametrize("width", [60, 100, 160])
def test_the_terminal_shows_every_row_and_no_control_character(width):
    text = printed(gate(WORSE, UNTOLD, EMPTY, OUT), width)
    for part in ("wine", "tea", "test", "worse", "cannot tell", "excluded"):
        assert part in text
    assert "\x1b" not in text
    assert "\x00" not in text


def test_junit_is_valid_whatever_a_domain_is_called():
    root = ElementTree.fromstring(gate_to_junit(gate(WORSE, UNTOLD, EMPTY, OUT), name="a & b"))
    (suite,) = root
    assert suite.attrib["name"] == "a & b"
    counts = {key: suite.attrib[key] for key in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "5", "failures": "1", "errors": "2", "skipped": "1"}
    wine, tea, nasty, out, overall = suite
    assert wine.find("failure").attrib["type"] == "worse"
    assert "−0.0300" in wine.find("failure").attrib["message"]
    assert tea.find("error") is not None
    assert nasty.attrib["name"].startswith('a<b> & "c" | [d] \N{REPLACEMENT CHARACTER}')
    assert out.find("skipped") is not None
    assert list(overall) == []


def test_what_does_not_stop_is_skipped():
    root = ElementTree.fromstring(gate_to_junit(gate(UNTOLD, cannot_tell="pass")))
    assert root[0][0].find("skipped") is not None
    assert root.attrib["errors"] == "0"


def test_markdown_keeps_names_in_their_cells():
    text = gate_to_markdown(gate(WORSE, EMPTY), name="new against old")
    lines = text.splitlines()
    assert lines[0] == "# new against old"
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + 3
    assert all(line.replace(r"\|", "").count("|") == 7 for line in table)
    assert sum(line.startswith("- ") for line in lines) == 2


def test_json_holds_the_exit_code_and_reads_back():
    found = gate(WORSE, UNTOLD)
    values = json.loads(gate_to_json(found))
    assert values.pop("exit_code") == 1
    assert Gate.model_validate(values) == found
