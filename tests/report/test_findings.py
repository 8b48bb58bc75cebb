"""A diagnosis in the terminal, as Markdown, and as a section of the page."""

import io

from rich.console import Console

from isthmus.diagnosis import Diagnosis, Finding, NotChecked, Severity
from isthmus.report import ReportData, to_markdown, to_terminal
from isthmus.report.findings import diagnosis_to_markdown, print_diagnosis
from isthmus.report.html import to_html
from tests.report.test_html import NASTY, Page


def finding(severity=Severity.warning, message="3 of 61 domains", code="ISTH301"):
    return Finding(
        code=code, severity=severity, title="Title", message=message, remedy="Do it", page="p#x"
    )


def written(diagnosis, *, terminal=False, whole=False):
    out = io.StringIO()
    console = Console(file=out, width=60, force_terminal=terminal, color_system=None)
    print_diagnosis(diagnosis, console, whole=whole)
    return out.getvalue()


DIAGNOSIS = Diagnosis(
    run="r-s0",
    seeds=("r-s1",),
    findings=(finding(Severity.error, code="ISTH101"), finding(message="many words " * 20)),
    passed=("ISTH105",),
    not_applicable=(NotChecked(code="ISTH501", title="Dead", reason="no masks"),),
)


def test_lines_are_whole_where_no_terminal_limits_them():
    lines = written(DIAGNOSIS).splitlines()
    assert lines[0] == "r-s0 (with r-s1)"
    assert lines[1] == "ISTH101   error: Title"
    assert lines[2] == "          3 of 61 domains"
    assert lines[3] == "          Do it (p#x)"
    assert lines[5] == "          " + "many words " * 20
    assert lines[-1] == "1 error, 1 warning, 0 notes; 1 check found nothing, 1 not applicable"


def test_a_terminal_wraps_under_the_title():
    lines = written(DIAGNOSIS, terminal=True).splitlines()
    assert max(map(len, lines)) <= 68
    wrapped = [line for line in lines if "many words" in line]
    assert len(wrapped) > 3
    assert all(line.startswith(" " * 10) for line in wrapped)


def test_all_shows_what_was_not_applicable():
    assert "not applicable: no masks" in written(DIAGNOSIS, whole=True)
    assert "no masks" not in written(DIAGNOSIS)
    assert "| ISTH501 | Dead | no masks |" in diagnosis_to_markdown(DIAGNOSIS, whole=True)


def test_control_characters_do_not_reach_the_terminal():
    assert "\x1b" not in written(Diagnosis(run="r", findings=(finding(message="\x1b[31mred"),)))


def test_names_in_markdown_open_no_column():
    table = diagnosis_to_markdown(Diagnosis(run="r", findings=(finding(message="a | b"),)))
    assert r"a \| b" in table


def test_the_page_has_a_section_of_findings():
    messages = tuple(finding(message=name) for name in NASTY)
    data = ReportData(title="t", findings=messages)
    page = Page(to_html(data))
    assert "findings" in {attrs.get("id") for attrs in page.all("section")}
    assert "#findings" in {attrs.get("href") for attrs in page.all("a")}
    assert not page.all("img")
    for name in NASTY:
        assert any(name in text for text in page.texts)
    assert ReportData.model_validate_json(data.model_dump_json()) == data


def test_without_findings_there_is_no_such_section():
    page = Page(to_html(ReportData(title="t")))
    assert "findings" not in {attrs.get("id") for attrs in page.all("section")}


def test_markdown_and_terminal_tell_them_too():
    data = ReportData(title="t", findings=(*DIAGNOSIS.findings, finding(message="a | b")))
    assert r"| warning | ISTH301 | Title | a \| b | Do it |" in to_markdown(data)
    out = io.StringIO()
    to_terminal(data, Console(file=out, width=200, color_system=None))
    assert out.getvalue().endswith("Diagnosis: 1 error (ISTH101), 2 warnings (ISTH301)\n")
    assert "Findings" not in to_markdown(ReportData(title="t"))
