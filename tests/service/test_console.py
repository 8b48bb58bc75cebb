"""The console page in headless Chromium, over real servers: clicked, typed into, and read."""

import re
from dataclasses import dataclass
from itertools import pairwise

import pytest

from isthmus.report.palette import DARK, LIGHT
from isthmus.service import Event, Pipeline, Request
from isthmus.service.http.settings import Key, Settings
from isthmus.service.http.state import Served
from isthmus.service.http.verdicts import Beside
from tests import chromium
from tests.report.test_html import NASTY
from tests.service.http.running import BEARER, KEY, serving
from tests.service.many import many

pytestmark = chromium.needed
PATIENCE = 60_000
REFUSED = "Failed to load resource"
"""What Chromium itself says of a reply that is not 2xx."""


@dataclass
class Seen(chromium.Watched):
    """The page of a server."""

    base: str = ""

    def wait(self, selector, text):
        """Wait until an element says this."""
        self.page.locator(selector).filter(has_text=text).wait_for()

    def cells(self, table, column):
        """The texts of a column's visible cells."""
        return self.page.eval_on_selector_all(
            f"{table} tbody tr",
            f"rows => rows.filter(r => r.checkVisibility()).map(r => r.cells[{column}].innerText)",
        )

    def ask(self, user, domain="", k=5):
        """Type into the form as a person would, press Enter, wait for the reply."""
        self.page.get_by_label("User", exact=True).fill(user)
        self.page.get_by_label("Domain", exact=True).fill(domain)
        self.page.get_by_label("Items", exact=True).fill(str(k))
        self.page.keyboard.press("Enter")
        self.wait("#try-said", f"for {user or 'nobody in particular'} in")

    def sorted_by(self):
        found = self.page.eval_on_selector_all(
            "[aria-sort]", "all => all.map(h => [h.innerText, h.getAttribute('aria-sort')])"
        )
        return [tuple(pair) for pair in found]


@pytest.fixture(scope="module")
def browser():
    with chromium.launched() as found:
        yield found


@pytest.fixture
def visit(browser):
    """Open the page of a server in a fresh profile, and wait until it shows what is served."""
    with chromium.profiles(browser, PATIENCE) as fresh:

        def opened(client, *, begun=True, **options):
            seen = Seen(fresh(**options).new_page(), base=str(client.base_url))
            seen.page.goto(seen.base)
            if begun:
                seen.page.wait_for_selector("html[data-begun=yes]", state="attached")
            return seen

        yield opened


@pytest.fixture(scope="module")
def paths(pair):
    return [pair["sasrec"].path, pair["aread"].path]


@pytest.fixture(scope="module")
def served(paths, tmp_path_factory):
    found = Served.load(paths)
    page = tmp_path_factory.mktemp("report") / "report.html"
    page.write_text("<!doctype html><title>Sharing</title><h1>What sharing does</h1>")
    found.beside = Beside({"s0": "gains", "s1": "hurt"}, page)
    return found


@pytest.fixture(scope="module")
def small(served, paths, tmp_path_factory):
    """Two stages and three shops, with runs to swap to."""
    settings = Settings(runs_root=paths[0].parent)
    with serving(served, tmp_path_factory.mktemp("small"), settings) as (client, state):
        yield client, state


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    with serving(many(), tmp_path_factory.mktemp("large")) as (client, _):
        yield client


# --- what is sent


def test_nothing_but_its_own_server_is_asked_and_nothing_complains(small, large, visit):
    for client in (small[0], large):
        for scheme in ("light", "dark"):
            seen = visit(client, color_scheme=scheme)
            seen.page.wait_for_selector("#latency svg")
            assert seen.messages == []
            assert all(url.startswith(f"{seen.base}/") for url in seen.requests)
            assert any(url.endswith("/console.js") for url in seen.requests)


def test_the_page_admits_itself_only_and_its_parts_are_kept(small):
    client, _ = small
    page = client.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["cache-control"] == "no-store"
    parts = re.findall(r'(?:href|src)="(/console/[^"]+)"', page.text)
    kinds = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    assert {part.rsplit(".")[-1] for part in parts} == set(kinds)
    for part in parts:
        reply = client.get(part)
        assert reply.headers["content-type"].startswith(kinds[part.rsplit(".")[-1]])
        assert "immutable" in reply.headers["cache-control"]
        assert reply.headers["x-content-type-options"] == "nosniff"
    for strange in ("/console/000000000000/console.js", parts[0].rsplit("/", 1)[0] + "/index.html"):
        assert client.get(strange).status_code == 404


# --- try a user


def test_a_known_user_is_shown_at_once_with_both_scores_and_why(small, paths, visit):
    seen = visit(small[0])
    seen.ask("7", "s1", 4)
    reply = Pipeline.load(paths).recommend(Request(user="7", domains=("s1",), k=4, explain=True))
    assert seen.cells("#items", 1) == [one.item for one in reply.items]
    assert seen.cells("#items", 3) == [f"{one.score:.4f}" for one in reply.items]
    assert seen.cells("#items", 4) == [
        f"{one.retrieval_score:.4f}\nplace {one.retrieval_rank}" for one in reply.items
    ]
    for text, one in zip(seen.cells("#items", 5), reply.items, strict=True):
        best = one.why.events[0]
        said = f"{best.event.item} {best.event.domain} +{best.weight:.3f}"
        assert (said if best.weight >= 0.0005 else "no recent event speaks for it") in text
        shares = ", ".join(f"{round(100 * share)} %" for share in one.why.edges)
        assert f"mask keeps {'all' if set(one.why.edges) == {1} else shares}" in text
    assert reply.version in seen.page.inner_text("#try-said")
    own = Pipeline.load(paths).past("7")
    groups = seen.page.locator("#events summary").all_inner_texts()
    assert len(groups) == len({event.domain for event in own})
    newest = max(own, key=lambda event: event.time)
    assert groups[0].startswith(newest.domain)
    assert seen.page.locator("#events li").first.inner_text().startswith(newest.item)


def test_the_page_begins_with_a_user_of_the_data(small, paths, visit):
    seen = visit(small[0])
    first = next(Pipeline.load(paths).users())
    assert seen.page.get_by_label("User", exact=True).input_value() == first
    assert len(seen.cells("#items", 1)) == 10
    assert first in seen.page.inner_text("#user-note")


def given(pipeline, taken):
    """What someone is given who took this one item."""
    reply = pipeline.recommend(Request(user="another", history=(Event(taken),), k=5))
    return [one.item for one in reply.items]


def test_an_event_of_a_new_user_changes_what_they_are_recommended(small, paths, visit):
    seen = visit(small[0])
    seen.ask("somebody new", "", 5)
    before = seen.cells("#items", 1)
    pipeline = Pipeline.load(paths)
    [item, after] = next(
        (item, expected)
        for item in map(str, range(3, 60))
        if (expected := given(pipeline, item)) != before
    )
    domain = pipeline.recommend(Request(allow=(item,))).items[0].domain
    assert "Nothing is known of this user" in seen.page.inner_text("#flags")
    assert "popularity" in seen.page.inner_text("#flags")
    assert "There are none yet" in seen.page.inner_text("#events")
    seen.page.get_by_label("Item", exact=True).fill(item)
    seen.page.get_by_label("Its domain").fill(domain)
    seen.page.keyboard.press("Enter")
    seen.wait("#try-said", f"Kept: somebody new took {item} of {domain}.")
    seen.wait("#try-said", "for somebody new in")
    assert seen.cells("#items", 1) == after
    changed = len(set(after) - set(before))
    assert (
        f"{changed or 'None'} of them {'are' if changed > 1 else 'is'} new"
        in seen.page.inner_text("#try-said")
    )
    assert seen.page.locator("#flags li").count() == 0
    assert re.search(rf"^{item}\s*20\d\d-.*kept here", seen.page.inner_text("#events li"))


def test_an_item_is_taken_by_keyboard_from_its_row(small, visit):
    seen = visit(small[0])
    seen.ask("by keys", "s2", 3)
    item = seen.cells("#items", 1)[1]
    seen.page.get_by_role("button", name=f"Record that they took {item}").focus()
    seen.page.keyboard.press("Enter")
    seen.wait("#try-said", f"Kept: by keys took {item} of s2.")
    seen.wait("#try-said", "for by keys in")
    assert seen.page.evaluate("document.activeElement.id") == "h-items"
    assert item in seen.page.inner_text("#events")
    [counted] = [d for d in small[0].get("/v1/domains").json()["domains"] if d["name"] == "s2"]
    assert counted["traffic"]["events"] >= 1


def test_what_is_unknown_or_too_much_is_said(small, visit):
    seen = visit(small[0])
    seen.ask("7", "mars", 3)
    assert "Unknown domain: mars." in seen.page.inner_text("#flags")
    seen.ask("7", "s1", 60)
    assert "Fewer: 60 items asked for; the asked domains hold 20." in seen.page.inner_text("#flags")
    seen.ask("somebody else", "s1", 2)
    seen.page.get_by_label("Item", exact=True).fill("5")
    seen.page.get_by_label("Its domain").fill("s1")
    seen.page.keyboard.press("Enter")
    wrong = "But what is served now knows the item in s2, not in the event's domain."
    seen.wait("#try-said", f"Kept: somebody else took 5 of s1. {wrong}")
    seen.page.wait_for_selector(
        '#flags:has-text("Of another domain than the user\'s events say: 5.")'
    )
    seen.ask("", "s1", 2)
    assert "Nobody is named." in seen.page.inner_text("#events")
    assert seen.page.get_by_role("button", name="Record").count() == 0


# --- domains


def test_300_domains_are_filtered_by_name_and_by_verdict(large, visit):
    seen = visit(large)
    names = [one.name for one in many().pipeline.domains]
    verdicts = many().beside.verdicts
    assert seen.page.inner_text("#shown") == "300 of 300 domains"
    seen.page.get_by_label("Filter domains", exact=True).press_sequentially(" TEA ")
    tea = [name for name in names if "tea" in name]
    assert seen.cells("#domain-table", 0) == tea
    seen.page.get_by_label("hurt").uncheck()
    rest = [name for name in tea if verdicts.get(name) != "hurt"]
    assert seen.cells("#domain-table", 0) == rest
    assert seen.page.inner_text("#shown") == f"{len(rest)} of 300 domains"
    seen.page.keyboard.press("Enter")
    assert seen.page.get_by_label("Filter domains", exact=True).input_value() == " TEA "


def test_300_domains_are_sorted_by_click_and_by_keyboard(large, visit):
    seen = visit(large)
    seen.heading("Items").click()
    items = [int(text.replace(",", "")) for text in seen.cells("#domain-table", 1)]
    assert items == sorted(items, reverse=True)
    assert seen.sorted_by() == [("Items", "descending")]
    seen.page.keyboard.press("Enter")
    assert seen.sorted_by() == [("Items", "ascending")]
    assert [int(t.replace(",", "")) for t in seen.cells("#domain-table", 1)] == sorted(items)
    seen.heading("Verdict").focus()
    seen.page.keyboard.press("Space")
    told = seen.cells("#domain-table", 3)
    assert [told[0], told[-1]] == ["hurt", "–"]
    seen.heading("Domain").click()
    names = seen.cells("#domain-table", 0)
    bread = [name for name in names if re.fullmatch(r"bread \d+", name)]
    assert bread == sorted(bread)
    assert seen.sorted_by() == [("Domain", "ascending")]


def test_typing_into_the_filter_of_300_domains_answers_at_once(large, visit):
    """In the same turn of the event loop: no frame lies between a key and the rows."""
    seen = visit(large)
    shown = seen.page.evaluate(
        """() => {
          const box = document.getElementById('filter');
          box.value = 'fish';
          box.dispatchEvent(new Event('input', {bubbles: true}));
          return document.querySelectorAll('#domain-table tbody tr:not([hidden])').length;
        }"""
    )
    assert shown == sum("fish" in one.name for one in many().pipeline.domains)


def test_names_are_text_wherever_they_come_from(large, visit):
    seen = visit(large)
    seen.page.wait_for_selector("#items tbody tr")
    shown = seen.page.eval_on_selector_all(
        "#domain-table tbody th", "all => all.map(h => h.textContent)"
    )
    assert shown[: len(NASTY)] == list(NASTY)
    assert "<b>bold</b>" in seen.page.inner_text("#try-said")
    assert seen.page.locator("main img, main script, main b").count() == 0
    assert seen.messages == []


def test_traffic_is_counted_up_while_one_looks(small, visit):
    seen = visit(small[0])
    of = ["s0", "s1", "s2", "attic"].index("s1")
    before = int(seen.cells("#domain-table", 4)[of])
    for _ in range(3):
        small[0].post("/v1/recommend", json={"domains": ["s1"]})
    cell = seen.page.locator("#domain-table tbody tr").nth(of).locator("td").nth(3)
    chromium.playwright.expect(cell).to_have_text(str(before + 3), timeout=PATIENCE)


# --- live

BOTH = """place => [
  document.querySelector(`#${place} .summary`).innerText,
  document.querySelector(`#${place} svg[role=img] title`).textContent,
]"""


def test_pictures_show_latencies_and_errors_and_say_them_in_words(small, visit):
    client, _ = small
    for _ in range(3):
        client.post("/v1/recommend", json={"user": "7"})
    assert client.post("/v1/recommend", json={"k": 0}).status_code == 422
    seen = visit(client)
    seen.page.wait_for_selector("#errors .failures rect")
    for place, words in (
        ("latency", r"Worst second: p50 [\d.,]+ ms, p99 [\d.,]+ ms\."),
        ("errors", r"[\d,]+ requests, [\d,]+ errors?\."),
    ):
        told, title = seen.page.evaluate(BOTH, place)  # at once: the page goes on
        assert re.fullmatch(words, told)
        assert title.endswith(told)
    for line in ("p50", "p99"):
        path = seen.page.locator(f"#latency g.{line} path").get_attribute("d")
        heights = [float(point.split()[1]) for point in re.findall(r"[ML]([^ML]+)", path)]
        assert heights
        assert all(0 < height < 180 for height in heights)
    assert re.search(r"\d+\s×\s422", seen.page.inner_text("#figures"))
    seen.page.get_by_text("The last five minutes as a table").click()
    assert len(seen.cells("#minutes", 0)) == 5
    assert sum(int(errors.replace(",", "")) for errors in seen.cells("#minutes", 2)) >= 1


def test_a_pause_is_a_pause(small, visit):
    seen = visit(small[0])
    with seen.page.expect_request("**/v1/stats"):
        pass
    button = seen.page.get_by_role("button", name="Pause")
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    seen.page.wait_for_load_state("networkidle")
    rounds = lambda: sum(url.endswith("/v1/stats") for url in seen.requests)  # noqa: E731
    asked = rounds()  # what one asks for besides may come later, on a slow machine
    seen.page.wait_for_timeout(2500)  # more than a round
    assert rounds() == asked
    with seen.page.expect_request("**/v1/stats"):
        button.click()


# --- runs


def test_swap_and_roll_back_ask_first_and_then_name_the_version(small, pair, paths, visit):
    client, state = small
    old, new = (
        Pipeline.load(two).loaded.version for two in (paths, [pair["syncrec"].path, paths[1]])
    )
    seen = visit(client)
    names = [pair["syncrec"].path.name, paths[1].name]
    for name in names:
        seen.page.get_by_label(f"Serve {name}").check()
    ask = seen.page.get_by_role("button", name="Serve the chosen runs")
    ask.click()
    dialog = seen.page.get_by_role("dialog")
    assert all(name in dialog.inner_text() for name in (*names, paths[0].name))
    assert seen.page.evaluate("document.activeElement.textContent") == "Cancel"
    seen.page.keyboard.press("Enter")
    dialog.wait_for(state="hidden")
    ask.click()
    seen.page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    assert seen.page.evaluate("document.activeElement.textContent").startswith("Serve the chosen")
    assert state.current.pipeline.loaded.version == old
    ask.click()
    dialog.get_by_role("button", name="Serve them").click()
    seen.wait("#runs-said", f"Now served: {names[0]} and {names[1]}, version {new}.")
    seen.wait("#served", new)
    assert state.current.pipeline.loaded.version == new
    assert not seen.page.is_visible("#report"), "no report names these runs"
    seen.ask("7")
    assert new in seen.page.inner_text("#try-said")

    seen.page.get_by_role("button", name="Roll back").click()
    assert old in dialog.inner_text()
    dialog.get_by_role("button", name="Cancel").click()
    assert state.current.pipeline.loaded.version == new
    seen.page.get_by_role("button", name="Roll back").click()
    dialog.get_by_role("button", name="Roll back").click()
    seen.wait("#runs-said", f"version {old}")
    seen.wait("#served", old)
    assert state.current.pipeline.loaded.version == old
    assert seen.messages == []


def test_a_swap_that_somebody_else_makes_is_shown(small, pair, paths, visit):
    client, state = small
    seen = visit(client)
    names = [pair["syncrec"].path.name, paths[1].name]
    client.post("/v1/admin/load", json={"runs": names}).raise_for_status()
    seen.wait("#served", state.current.pipeline.loaded.version)
    seen.wait("#loaded", names[0])
    client.post("/v1/admin/rollback", json={}).raise_for_status()
    seen.wait("#served", state.current.pipeline.loaded.version)


def test_bad_runs_are_refused_in_words_and_nothing_changes(small, pair, visit):
    client, state = small
    before = state.current
    seen = visit(client)
    choose = seen.page.get_by_role("button", name="Serve the chosen runs")
    choose.click()
    seen.wait("#runs-said", "Choose one run, or a retriever’s and a ranker’s.")
    for name in ("syncrec", "markov"):
        seen.page.get_by_label(f"Serve {pair[name].path.name}").check()
    choose.click()
    seen.page.get_by_role("dialog").get_by_role("button", name="Serve them").click()
    seen.wait(
        "#runs-said", "Nothing changed. Expected a retriever's run, a ranker's, or one of each"
    )
    assert "(bad_run)" in seen.page.inner_text("#runs-said")
    assert state.current is before


def test_the_report_opens_beside_the_page(small, visit):
    seen = visit(small[0])
    with seen.page.expect_popup() as opened:
        seen.page.get_by_role("link", name="The sharing report of this run").click()
    assert opened.value.inner_text("h1") == "What sharing does"


# --- keys and errors


@pytest.fixture(scope="module")
def locked(served, tmp_path_factory):
    settings = Settings(key=Key(KEY), hosts=())
    with serving(served, tmp_path_factory.mktemp("locked"), settings) as (client, _):
        yield client


def test_a_key_is_asked_for_kept_in_the_tab_and_never_in_an_address(locked, visit):
    seen = visit(locked, begun=False)
    box = seen.page.get_by_label("API key")
    box.wait_for()
    assert "An API key is needed" in seen.page.get_by_role("alert").inner_text()
    assert seen.page.evaluate("document.activeElement.id") == "key"
    box.fill("not the key of this server")
    seen.page.keyboard.press("Enter")
    seen.wait("#problem", "That is not the API key (wrong_key)")
    box.fill(KEY)
    seen.page.keyboard.press("Enter")
    seen.page.wait_for_selector("html[data-begun=yes]", state="attached")
    assert not box.is_visible()
    assert not seen.page.get_by_role("alert").is_visible()
    assert len(seen.cells("#items", 1)) == 10
    assert seen.page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    assert all(KEY not in url for url in seen.requests)
    with seen.page.expect_download() as waiting:
        seen.page.get_by_role("link", name="The sharing report of this run").click()
    assert "What sharing does" in waiting.value.path().read_text()
    seen.page.reload()
    seen.page.wait_for_selector("html[data-begun=yes]", state="attached")
    assert [m for m in seen.messages if REFUSED not in m] == []


def test_who_was_deleted_is_not_offered(locked):
    first, second = locked.get("/v1/users?limit=2", headers=BEARER).json()["users"]
    locked.delete(f"/v1/users/{first}", headers=BEARER).raise_for_status()
    assert locked.get("/v1/users?limit=1", headers=BEARER).json() == {"users": [second]}


def test_a_server_that_is_not_ready_yet_is_waited_for(small, visit):
    client, state = small
    state.ready = False
    seen = visit(client, begun=False)
    seen.wait("#problem", "The server is getting ready.")
    state.ready = True
    seen.page.wait_for_selector("html[data-begun=yes]", state="attached")
    assert len(seen.cells("#items", 1)) == 10
    assert seen.messages == []


def test_refusals_are_said_in_words(small, visit):
    client, state = small
    seen = visit(client)
    seen.page.get_by_label("User", exact=True).fill("7")
    state.ready = False
    seen.page.get_by_role("button", name="Recommend", exact=True).click()
    seen.wait("#try-said", "The server is not ready yet; send it again later (not_ready)")
    state.ready = True
    seen.ask("7", "s1", 2)
    assert "problem" not in seen.page.get_attribute("#try-said", "class")
    seen.page.evaluate("document.getElementById('k').removeAttribute('max')")
    seen.page.get_by_label("Items", exact=True).fill("100000")
    seen.page.keyboard.press("Enter")
    seen.wait("#try-said", "k: Input should be less than or equal to 1000 (invalid)")


def test_a_server_that_went_away_is_noticed_and_its_return_too(small, visit):
    seen = visit(small[0])
    seen.page.context.set_offline(True)
    seen.wait("#problem", "The server does not answer. Is it still running?")
    seen.page.context.set_offline(False)
    seen.page.wait_for_selector("#problem", state="hidden")


# --- for everyone


def test_everything_has_a_name_and_headings_come_in_order(small, visit):
    seen = visit(small[0])
    seen.page.get_by_text("The last five minutes as a table").click()
    nameless = seen.page.evaluate(
        """() => [...document.querySelectorAll('input, button, a, summary, table, [role=region]')]
          .filter(e => !(e.labels?.length || e.getAttribute('aria-label') || e.textContent.trim()
            || e.getAttribute('aria-labelledby'))).map(e => e.outerHTML)"""
    )
    assert nameless == []
    ids = seen.page.eval_on_selector_all("[id]", "all => all.map(e => e.id)")
    assert len(ids) == len(set(ids))
    pointed = seen.page.evaluate(
        """() => ['aria-labelledby', 'aria-describedby', 'list', 'for'].flatMap(name =>
          [...document.querySelectorAll(`[${name}]`)].map(e => e.getAttribute(name)))"""
    )
    assert set(pointed) <= set(ids)
    levels = seen.page.eval_on_selector_all(
        "h1, h2, h3, h4", "all => all.filter(h => !h.closest('dialog')).map(h => Number(h.tagName[1]))"
    )  # fmt: skip
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    for landmark in ("banner", "main", "navigation", "search"):
        assert seen.page.get_by_role(landmark).count() == 1
    assert seen.page.get_attribute("html", "lang") == "en"
    live = seen.page.eval_on_selector_all("[role=status], [role=alert], output", "a => a.length")
    assert live == 4
    columns = seen.page.eval_on_selector_all("thead th", "all => all.map(h => h.scope)")
    assert set(columns) == {"col"}


def test_by_keyboard_the_page_is_skipped_to_and_focus_is_seen(small, visit):
    seen = visit(small[0])
    seen.page.keyboard.press("Tab")
    assert seen.page.evaluate("document.activeElement.className") == "skip"
    assert seen.page.locator(".skip").bounding_box()["x"] >= 0
    seen.page.keyboard.press("Enter")
    seen.page.keyboard.press("Tab")
    assert seen.page.evaluate("document.activeElement.id") == "user"
    for _ in range(6):
        outline = seen.page.evaluate(
            "(s => [s.outlineStyle, parseFloat(s.outlineWidth)])(getComputedStyle(document.activeElement))"
        )
        assert outline[0] != "none"
        assert outline[1] >= 2
        seen.page.keyboard.press("Tab")


def luminance(colour):
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_texts_and_borders_stand_out(palette):
    for text in (palette.ink, palette.muted, palette.accent, palette.hurt, palette.gains):
        assert contrast(text, palette.surface) >= 4.5, text
    for mark in (palette.unchanged, palette.joint, palette.shared):
        assert contrast(mark, palette.surface) >= 3, mark


@pytest.mark.parametrize(("scheme", "palette"), [("light", LIGHT), ("dark", DARK)])
def test_the_page_follows_the_colour_scheme(small, visit, scheme, palette):
    seen = visit(small[0], color_scheme=scheme)
    found = seen.page.evaluate(
        "(s => [s.color, s.backgroundColor])(getComputedStyle(document.body))"
    )
    expected = [
        "rgb({}, {}, {})".format(*(int(colour[i : i + 2], 16) for i in (1, 3, 5)))
        for colour in (palette.ink, palette.surface)
    ]
    assert found == expected


def test_only_tables_scroll_sideways(small, large, visit):
    for client in (small[0], large):
        seen = visit(client)
        for width in (320, 390, 768, 1100, 1600):
            seen.page.set_viewport_size({"width": width, "height": 800})
            assert seen.page.evaluate("document.documentElement.scrollWidth") <= width, width


def test_without_scripts_the_page_says_so(small, visit):
    seen = visit(small[0], begun=False, java_script_enabled=False)
    assert "needs JavaScript" in seen.page.locator("noscript p").inner_text()
    assert seen.page.locator("noscript p").is_visible()
