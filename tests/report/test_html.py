import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from isthmus.report import ReportData
from isthmus.report.html import to_html
from tests.report.sample import sample

NASTY = (
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    "\"'><img src=x onerror=alert(3)>",
    "<!-- <script>",
    "{{ 7 * 7 }}",
    "A & B\u2028C",
)


class Page(HTMLParser):
    """The elements of a page, and the text in them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, text):
        if self._inside == "script":
            self.scripts[-1] += text
        else:
            self.texts.append(text)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="module")
def html():
    return to_html(sample(32))


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_nothing_is_loaded_from_elsewhere(page):
    for tag, attrs in page.elements:
        assert "src" not in attrs, (tag, attrs)
        if "href" in attrs:
            assert attrs["href"].startswith("#"), (tag, attrs)
    assert not page.all("link")
    assert "default-src 'none'" in next(
        a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"
    )


def test_the_page_is_about_a_megabyte_with_one_copy_of_the_library(html, page):
    assert len(html.encode()) < 1_200_000
    assert [len(script) > 500_000 for script in page.scripts].count(True) == 1


def test_the_page_is_the_same_every_time(html):
    assert to_html(sample(32)) == html


def test_every_domain_stands_in_the_table_with_its_verdict(page):
    data = sample(32)
    rows = [attrs for attrs in page.all("tr") if "data-verdict" in attrs]
    assert [attrs["data-name"] for attrs in rows] == [r.domain.lower() for r in data.sharing.rows]
    assert [attrs["data-verdict"].replace("-", " ") for attrs in rows] == [
        row.verdict.value for row in data.sharing.rows
    ]


def test_the_structure_is_one_that_a_screen_reader_can_walk(page):
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    assert all(attrs.get("scope") in {"row", "col"} for attrs in page.all("th"))
    for tag in ("header", "nav", "main"):
        assert len(page.all(tag)) == 1
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in page.elements:
        assert attrs.get("aria-labelledby", ids[0]) in ids
        if attrs.get("href", "").startswith("#"):
            assert attrs["href"][1:] in ids


def test_names_are_text_wherever_they_stand():
    data = sample(6, names=NASTY)
    data = data.model_copy(
        update={
            "title": "</title><script>alert(4)</script>",
            "notes": ("<script>alert(5)</script>",),
            "metrics": {f"<script>{name}": found for name, found in data.metrics.items()},
            "curves": {f"</script>{name}": found for name, found in data.curves.items()},
        }
    )
    page = Page(to_html(data))
    assert len(page.scripts) == len(Page(to_html(sample(6))).scripts)
    assert not page.all("img")
    assert not any("alert(" in script for i, script in enumerate(page.scripts) if i != 1)
    charts = json.loads(page.scripts[1])
    assert set(NASTY) <= set(
        charts["pictures"]["gains"]["spec"]["layer"][1]["encoding"]["y"]["scale"]["domain"]
    )
    for name in NASTY:
        assert any(name in text for text in page.texts)


def test_what_is_absent_is_said():
    text = " ".join(Page(to_html(ReportData(title="Nothing yet"))).texts)
    for reason in (
        "made without isolated models",
        "No model in this report has masks",
        "No training history",
        "No model was measured domain by domain",
        "configuration was not stored",
    ):
        assert reason in text


def test_a_report_without_masks_or_sharing_still_shows_the_models():
    data = sample(8).model_copy(update={"sharing": None, "masks": None})
    page = Page(to_html(data))
    assert any("has a DomainAUC of" in text for text in page.texts)
    assert {"calibration"} < set(json.loads(page.scripts[1])["pictures"])


def test_300_domains_stay_below_two_and_a_half_megabytes():
    assert len(to_html(sample(300)).encode()) < 2_500_000
