"""What guarding changed, in every form of the report."""

import io

import pytest
from rich.console import Console

from isthmus.evaluation import Interval
from isthmus.evaluation.guarding import Decision, GuardedDomain, GuardTable
from isthmus.report import to_markdown
from isthmus.report.charts_guard import dumbbell
from isthmus.report.data import ReportData
from isthmus.report.guard_table import guard_rows, print_guard, print_left
from isthmus.report.html import to_html
from isthmus.report.palette import LIGHT
from isthmus.report.pictures import pictures

EVIL = "<b>toys</b> & games"


def interval(value, half=0.02):
    return Interval(value=value, low=value - half, high=value + half)


@pytest.fixture
def table():
    rows = (
        GuardedDomain(
            decision=Decision(domain=EVIL, way="own", p_adjusted=0.001),
            rows=1200,
            before=interval(0.61),
            after=interval(0.68),
            change=interval(0.07),
            p_adjusted=0.0004,
            verdict="gains",
        ),
        GuardedDomain(
            decision=Decision(domain="tiny", way="part", forced=True),
            rows=3,
            verdict="not measurable",
            reason="no positives",
        ),
    )
    left = Decision(domain="books", reason="nothing better was found", scores={"joint": 0.7})
    return GuardTable(
        joint="joint-run",
        isolated="isolated-run",
        metric="AUC",
        alpha=0.05,
        rows=rows,
        left=(left,),
        untouched=5,
        untouched_rows=4321,
        before=interval(0.7),
        after=interval(0.71),
        change=interval(0.01, 0.005),
        p_value=0.01,
        protocol="How it was decided.",
    )


def printed(show, *arguments):
    console = Console(width=160, record=True, file=io.StringIO())
    show(*arguments, console)
    return console.export_text()


def test_figures_have_their_intervals_and_a_reason_stands_for_those_that_are_none(table):
    first, second, whole = guard_rows(table)
    assert first[1:] == [
        "its own model",
        "1,200",
        "0.610 [0.590, 0.630]",
        "0.680 [0.660, 0.700]",
        "+0.070 [+0.050, +0.090]",
        "<0.001",
    ]
    assert second[1:] == [
        "its own part, trained further (named)",
        "3",
        "–",
        "–",
        "no positives",
        "–",
    ]
    assert whole[0] == "all domains"
    assert whole[2] == "5,524"


def test_the_terminal_says_what_it_adds_up_to(table):
    text = printed(print_guard, table)
    assert "2 domains are guarded; all scores of the other 5 are those of joint-run" in text
    assert "4,321 rows compared" in text
    assert "books stays as it is: nothing better was found (joint 0.7000)" in text
    assert "How it was decided." in text
    assert "books stays as it is" in printed(print_left, None, table.left)


def test_page_and_markdown_have_a_section_only_where_there_is_a_guard(table):
    data = ReportData(title="T", guard=table)
    page, plain = to_html(data), to_html(ReportData(title="T"))
    assert "What guarding changed" in page
    assert 'href="#guard"' in page
    assert EVIL not in page
    assert "What guarding changed" not in plain
    assert 'href="#guard"' not in plain
    markdown = to_markdown(data)
    assert "## Guard" in markdown
    assert EVIL not in markdown
    assert "## Guard" not in to_markdown(ReportData(title="T"))
    assert ReportData.model_validate_json(data.model_dump_json()) == data


def test_the_picture_has_both_ends_of_each_domain_that_was_measured(table):
    (picture,) = [p for p in pictures(ReportData(title="T", guard=table)) if p.key == "guard"]
    values = next(v for v in picture.spec()["datasets"].values() if "when" in v[0])
    ends = [(v["domain"], v["when"], v["value"]) for v in values]
    assert ends == [
        (EVIL, "before", 0.61),
        (EVIL, "after", 0.68),
        ("all domains", "before", 0.7),
        ("all domains", "after", 0.71),
    ]
    bare = table.model_copy(update={"rows": table.rows[1:], "before": None, "after": None})
    assert "enough to measure" in dumbbell(bare, LIGHT).reason
