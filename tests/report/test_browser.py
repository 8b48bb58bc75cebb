"""The page in headless Chromium: what it draws, what it asks the network for, and how it is used."""

from dataclasses import dataclass
from typing import Any

import pytest

from isthmus.report.board import Board
from isthmus.report.board_page import to_html as board_to_html
from isthmus.report.html import to_html
from isthmus.report.palette import DARK, LIGHT
from tests import chromium
from tests.report.board_sample import MODELS, board_rows
from tests.report.sample import sample
from tests.report.test_html import NASTY

pytestmark = chromium.needed
PATIENCE = 120_000


@dataclass
class Watched(chromium.Watched):
    """The page of a report."""

    def rows(self) -> list[str]:
        """Names of the visible rows, in their order."""
        return self.page.eval_on_selector_all(
            "#domain-table tbody tr", "rows => rows.filter(r => r.checkVisibility()).map(r => r.cells[0].textContent)"
        )  # fmt: skip

    def settled(self) -> None:
        """Wait until pictures that follow the filter are drawn anew."""
        self.page.wait_for_selector("html[data-drawn=yes]", state="attached")

    def drawn(self, key: str) -> list[str]:
        """The names on the axis of a picture with a row a domain."""
        return self.page.eval_on_selector_all(
            f"[data-picture={key}] .role-axis-label text",
            "all => all.map(t => t.textContent).filter(t => /[A-Z]/.test(t))",
        )

    def column(self, title: str) -> list[str]:
        """Sort values of a column, row by row."""
        return self.page.evaluate(
            """title => {
              const table = document.getElementById('domain-table');
              const at = [...table.tHead.rows[0].cells].findIndex(c => c.textContent === title);
              return [...table.tBodies[0].rows].map(row => row.cells[at].dataset.value);
            }""",
            title,
        )

    def sorted_by(self) -> list[tuple[str, str]]:
        """(title, direction) of every heading that says it is sorted."""
        found = self.page.eval_on_selector_all(
            "[aria-sort]", "all => all.map(h => [h.textContent, h.getAttribute('aria-sort')])"
        )
        return [tuple(pair) for pair in found]

    def tab_to(self, script: str) -> None:
        """Press Tab until the focused element satisfies the script."""
        for _ in range(60):
            if self.page.evaluate(f"(e => {script})(document.activeElement)"):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"never focused: {script}")


@pytest.fixture(scope="module")
def browser():
    with chromium.launched() as found:
        yield found


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    reports = {"32": sample(32), "300": sample(300), "nasty": sample(len(NASTY), names=NASTY)}
    for name, data in reports.items():
        (folder / f"{name}.html").write_text(to_html(data), encoding="utf-8")
    board = board_to_html(Board.of(*board_rows()))
    (folder / "board.html").write_text(board, encoding="utf-8")
    return folder


@pytest.fixture
def visit(browser, files):
    """Open a report in a fresh profile with the network cut, and wait until all is drawn."""
    with chromium.profiles(browser, PATIENCE) as fresh:

        def opened(name: str, **options: Any) -> Watched:
            context = fresh(**options)
            context.set_offline(True)
            watched = Watched(context.new_page())
            watched.page.on("dialog", lambda dialog: watched.messages.append(dialog.message))
            watched.page.goto((files / f"{name}.html").as_uri())
            if options.get("java_script_enabled", True):
                watched.page.wait_for_selector("html[data-drawn=yes]", state="attached")
            return watched

        yield opened


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["32", "300", "nasty"])
def test_every_picture_draws_without_a_complaint_or_a_request(visit, name, scheme):
    seen = visit(name, color_scheme=scheme)
    drawn = seen.page.eval_on_selector_all(
        "[data-picture]",
        """places => places.map(place => {
          const svg = place.querySelector('svg'), canvas = place.querySelector('canvas');
          const box = (svg || canvas).getBoundingClientRect();
          const marks = svg
            ? svg.querySelectorAll('.mark-symbol path, .mark-rect path, .mark-rule line').length
            : canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data
                .filter((value, i) => i % 4 === 3 && value > 0).length;
          return [place.dataset.picture, box.width, box.height, marks];
        })""",
    )
    expected = {"gains", "auc", "calibration-shift", "calibration", "masks", "overlap"}
    assert expected < {key for key, *_ in drawn}
    domains = {"32": 32, "300": 300, "nasty": len(NASTY)}[name]
    least = {"gains": domains * 0.9, "auc": domains * 2, "overlap": domains**2}
    least["calibration-shift"] = domains * 0.9
    for key, width, height, marks in drawn:
        assert width > 100, key
        assert height > 100, key
        assert marks >= least.get(key, 5), key
    assert seen.messages == []
    assert [url for url in seen.requests if not url.startswith("file:")] == []
    assert len(seen.requests) == 1


@pytest.mark.parametrize(("scheme", "palette"), [("light", LIGHT), ("dark", DARK)])
def test_pictures_follow_the_colour_scheme_even_when_it_changes(visit, scheme, palette):
    seen = visit("32", color_scheme="dark" if scheme == "light" else "light")
    seen.page.emulate_media(color_scheme=scheme)
    colours = seen.page.evaluate(
        """() => {
          const mark = document.querySelector('[data-picture=gains] .role-mark.mark-symbol path');
          return [getComputedStyle(mark).fill, getComputedStyle(document.body).backgroundColor];
        }"""
    )

    def rgb(colour):
        return "rgb({}, {}, {})".format(*(int(colour[i : i + 2], 16) for i in (1, 3, 5)))

    assert colours == [rgb(palette.gains), rgb(palette.surface)]


@pytest.mark.parametrize("name", ["32", "300"])
def test_a_click_on_a_heading_sorts_and_undefined_figures_stay_last(visit, name):
    seen = visit(name)
    data = sample(int(name))
    absent = sum(row.gain is None for row in data.sharing.rows)
    assert absent > 0
    for direction, sign in (("descending", -1), ("ascending", 1)):
        seen.heading("Gain").click()
        values = seen.column("Gain")
        assert values[-absent:] == [""] * absent
        known = [float(value) for value in values[:-absent]]
        assert known == sorted(known, key=lambda value: sign * value)
        assert seen.sorted_by() == [("Gain", direction)]
    assert sorted(seen.rows()) == sorted(row.domain for row in data.sharing.rows)

    seen.heading("Domain").click()
    names = [value.casefold() for value in seen.rows()]
    assert names[0] < names[-1]
    assert seen.sorted_by() == [("Domain", "ascending")]

    seen.heading("Verdict").click()
    verdicts = [int(value) for value in seen.column("Verdict")]
    assert verdicts == sorted(verdicts)


def test_sorting_works_by_keyboard(visit):
    seen = visit("32")
    seen.page.focus("#filter-name")
    seen.tab_to("e.tagName === 'BUTTON' && e.textContent === 'Test rows'")
    seen.page.keyboard.press("Enter")
    rows = [int(value) for value in seen.column("Test rows")]
    assert rows == sorted(rows, reverse=True)
    seen.page.keyboard.press("Space")
    assert [int(value) for value in seen.column("Test rows")] == sorted(rows)
    assert seen.sorted_by() == [("Test rows", "ascending")]


@pytest.mark.parametrize("name", ["32", "300"])
def test_rows_are_filtered_by_name_and_by_verdict(visit, name):
    seen = visit(name)
    rows = sample(int(name)).sharing.rows
    seen.page.fill("#filter-name", "  meat ")
    named = [row for row in rows if "MEAT" in row.domain]
    assert seen.rows() == [row.domain for row in named]
    assert seen.page.inner_text("#shown") == f"{len(named)} of {len(rows)} domains"
    seen.page.uncheck("input[value=unchanged]")
    rest = [row.domain for row in named if row.verdict.value != "unchanged"]
    assert len(rest) < len(named)
    assert seen.rows() == rest
    seen.heading("Domain").click()
    assert sorted(seen.rows()) == sorted(rest)
    seen.page.fill("#filter-name", "no such domain")
    assert seen.rows() == []


def test_rows_are_filtered_by_keyboard(visit):
    seen = visit("32")
    rows = sample(32).sharing.rows
    seen.tab_to("e.id === 'filter-name'")
    seen.page.keyboard.type("fr")
    seen.page.keyboard.press("Enter")  # a form that reloaded the page would lose the text
    seen.tab_to("e.value === 'gains'")
    seen.page.keyboard.press("Space")
    expected = [row.domain for row in rows if "FR" in row.domain and row.verdict.value != "gains"]
    assert expected
    assert seen.rows() == expected


@pytest.mark.parametrize("name", ["32", "300"])
def test_pictures_follow_the_filter_and_come_back(visit, name):
    seen = visit(name)
    rows = sample(int(name)).sharing.rows
    whole = {key: seen.drawn(key) for key in ("gains", "auc", "calibration-shift")}
    assert len(whole["gains"]) == sum(row.gain is not None for row in rows)
    tall = seen.page.locator("[data-picture=gains] svg").bounding_box()["height"]
    seen.page.fill("#filter-name", "s")
    seen.page.uncheck("input[value=unchanged]")
    seen.settled()
    wanted = {
        row.domain for row in rows
        if "S" in row.domain and row.verdict.value != "unchanged" and row.gain is not None
    }  # fmt: skip
    assert wanted
    for key, before in whole.items():
        assert seen.drawn(key) == [name for name in before if name in wanted], key
    assert seen.page.locator("[data-picture=gains] svg").bounding_box()["height"] < tall
    dots = "[data-picture=calibration] .role-mark.mark-symbol path"
    assert 0 < seen.page.locator(dots).count() <= 3 * len([r for r in rows if "S" in r.domain])
    seen.page.fill("#filter-name", "no such domain")
    seen.settled()
    assert "None of the domains" in seen.page.inner_text("[data-picture=gains]")
    assert not seen.page.is_visible("[data-save=gains]")
    seen.page.fill("#filter-name", "")
    seen.page.check("input[value=unchanged]")
    seen.settled()
    assert {key: seen.drawn(key) for key in whole} == whole
    assert seen.messages == []


def test_the_filter_stays_in_sight_above_headings_and_anchors(visit):
    seen = visit("32", viewport={"width": 1600, "height": 900}, reduced_motion="reduce")
    seen.page.click("nav a[href='#domains']")
    bar = seen.page.locator("form.filters").bounding_box()
    heading = seen.page.locator("#h-domains").bounding_box()
    assert bar["y"] == pytest.approx(0, abs=1)
    assert heading["y"] >= bar["y"] + bar["height"]
    seen.page.locator("#domain-table tbody tr >> nth=25").scroll_into_view_if_needed()
    head = seen.page.locator("#domain-table thead th >> nth=0").bounding_box()
    assert head["y"] == pytest.approx(bar["height"], abs=2), "the headings stick below the filter"


def test_the_contents_are_the_sections_that_are_there(visit):
    seen = visit("32")
    links = seen.page.eval_on_selector_all("nav a", "all => all.map(a => a.getAttribute('href'))")
    sections = seen.page.eval_on_selector_all("main > section", "all => all.map(s => '#' + s.id)")
    assert links == sections
    assert {"#gains", "#domains", "#calibration", "#cost", "#masks"} < set(links)


def test_by_keyboard_the_page_is_skipped_to_and_focus_is_seen(visit):
    seen = visit("32")
    seen.page.keyboard.press("Tab")
    assert seen.page.evaluate("document.activeElement.className") == "skip"
    assert seen.page.locator(".skip").bounding_box()["x"] >= 0
    seen.page.keyboard.press("Enter")
    assert seen.page.evaluate("location.hash") == "#main"
    for script in ("e.id === 'filter-name'", "e.closest('#domain-table thead')"):
        seen.tab_to(script)
        outline = seen.page.evaluate(
            "(s => [s.outlineStyle, parseFloat(s.outlineWidth)])(getComputedStyle(document.activeElement))"
        )
        assert outline[0] != "none", script
        assert outline[1] >= 2, script


def test_what_to_do_can_be_sorted_by_and_is_said_in_full(visit):
    seen = visit("32")
    seen.heading("What to do").click()
    keys = [int(value) for value in seen.column("What to do")]
    assert keys == sorted(keys)
    rows = {row.domain: row.advice for row in sample(32).sharing.rows}
    texts = seen.page.eval_on_selector_all(
        "#domain-table tbody tr", "all => all.map(r => [r.dataset.domain, r.cells[r.cells.length - 1].textContent])"
    )  # fmt: skip
    for domain, text in texts:
        assert text == f"{rows[domain].action.value}{rows[domain].reason}"
    assert rows[texts[0][0]].action.value == "serve its own"


def test_300_domains_answer_at_once(visit):
    """Typing leads to a table of what was typed within the next frame; pictures come after."""
    seen = visit("300")
    shown = seen.page.evaluate(
        """() => {
          const box = document.getElementById('filter-name');
          box.value = 'meat';
          box.dispatchEvent(new Event('input', {bubbles: true}));
          return document.querySelectorAll('#domain-table tbody tr:not([hidden])').length;
        }"""
    )
    assert shown == sum("MEAT" in row.domain for row in sample(300).sharing.rows)
    for text in ("m", "me", "mea", "meat d"):  # faster than pictures are drawn
        seen.page.fill("#filter-name", text)
    seen.settled()
    assert seen.drawn("gains")
    assert all("MEAT D" in name for name in seen.drawn("gains"))


def test_a_tooltip_shows_a_name_as_text(visit):
    seen = visit("nasty")
    for mark in seen.page.locator("[data-picture=gains] .role-mark.mark-symbol path").all():
        mark.hover(force=True)
        seen.page.wait_for_selector("#vg-tooltip-element.visible")
        shown = seen.page.inner_text("#vg-tooltip-element")
        assert any(name.split("\u2028")[0] in shown for name in NASTY)
        assert "Corrected p-value" in shown
        assert seen.page.locator("#vg-tooltip-element").locator("script, img").count() == 0
    assert seen.messages == []


def test_a_picture_can_be_saved_with_its_colours(visit, tmp_path):
    seen = visit("300")
    for key, kind in (("gains", "svg"), ("overlap", "png")):
        with seen.page.expect_download() as waiting:
            seen.page.click(f"[data-save={key}]")
        target = tmp_path / f"{key}.{kind}"
        assert waiting.value.suggested_filename == target.name
        waiting.value.save_as(target)
    svg = (tmp_path / "gains.svg").read_text()
    assert LIGHT.gains in svg
    assert "var(" not in svg
    assert (tmp_path / "overlap.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("width", [360, 800, 1200, 1440, 1800])
def test_only_tables_and_pictures_scroll_sideways(visit, width):
    seen = visit("32", viewport={"width": width, "height": 800})
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width


def test_paper_gets_every_row_on_white_without_controls(visit):
    seen = visit("300", color_scheme="dark")
    seen.page.emulate_media(media="print", color_scheme="dark")
    assert len(seen.rows()) == 300
    assert not seen.page.is_visible("#filter-name")
    assert not seen.page.is_visible(".save >> nth=0")
    clipped = seen.page.eval_on_selector_all(
        ".scroll, .chart",
        "all => all.filter(e => getComputedStyle(e).overflow !== 'visible').length",
    )
    assert clipped == 0
    stuck = seen.page.eval_on_selector_all(
        "*", "all => all.filter(e => getComputedStyle(e).position === 'sticky').length"
    )
    assert stuck <= seen.page.locator("caption span").count(), "nothing sticks to a sheet of paper"
    surface = "getComputedStyle(document.documentElement).getPropertyValue('--surface').trim()"
    assert seen.page.evaluate(surface) == LIGHT.surface
    assert seen.page.pdf(prefer_css_page_size=True).startswith(b"%PDF")


def test_without_scripts_the_figures_are_still_there(visit):
    seen = visit("32", java_script_enabled=False)
    assert seen.page.locator("#domain-table tbody tr").count() == 32
    assert seen.page.get_by_text("Pictures need JavaScript").first.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_leaderboard_draws_and_sorts(visit, scheme):
    seen = visit("board", color_scheme=scheme)
    names = "rows => rows.map(row => row.cells[0].textContent)"
    assert seen.page.eval_on_selector_all("table.sortable tbody tr", names) == list(MODELS)
    drawn = seen.page.eval_on_selector_all(
        "[data-picture]",
        "places => places.map(p => [p.dataset.picture, p.querySelectorAll('svg path').length])",
    )
    assert [key for key, _ in drawn] == [
        "standing-domain_auc",
        "standing-minor10",
        "cost",
        "domains",
    ]
    assert all(marks >= len(MODELS) for _, marks in drawn)
    seen.page.get_by_role("button", name="CPU-s", exact=True).click()
    seconds = seen.page.eval_on_selector_all(
        "table.sortable tbody tr", "rows => rows.map(row => Number(row.cells[10].dataset.value))"
    )
    assert seconds == sorted(seconds, reverse=True)
    seen.page.get_by_role("button", name="Rows/CPU-s", exact=True).click()
    last = seen.page.eval_on_selector_all("table.sortable tbody tr", names)[-1]
    assert last == "Isolated MLP", "undefined figures stand last"
    assert seen.messages == []
    assert len(seen.requests) == 1
