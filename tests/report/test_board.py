"""The leaderboard: figures by hand, marks where they are due, pictures and page of the same rows."""

import json
import math
import re

import pytest
from scipy import stats

from isthmus.report.board import METRICS, Board, Spread
from isthmus.report.board_page import to_html, write_board
from isthmus.report.board_table import DAGGER, titles_of, to_markdown
from isthmus.report.charts_board import board_pictures, domains, standing
from isthmus.report.labels import placed
from isthmus.report.palette import LIGHT, PAGE
from tests.report.board_sample import MODELS, board_rows
from tests.report.test_html import NASTY, Page


@pytest.fixture(scope="module")
def board():
    return Board.of(*board_rows())


def table(text):
    """Rows of a Markdown table as dictionaries."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


def values_of(spec):
    """The rows that a picture with one table draws."""
    (values,) = spec["datasets"].values()
    return values


def test_a_spread_is_students_interval():
    values = [0.71, 0.72, 0.75]
    spread = Spread.of(values)
    low, high = stats.t.interval(0.95, 2, loc=sum(values) / 3, scale=stats.sem(values))
    assert spread.mean == pytest.approx(0.72666667)
    assert (spread.mean - spread.half, spread.mean + spread.half) == pytest.approx((low, high))
    assert Spread.of([0.7]) == Spread(0.7, None)
    assert Spread.of([]) is None


def test_planted_marks_stand_where_they_are_due(board):
    """From the fourth model on p is .02 after Holm, before it .4; only what is tested is marked."""
    found = table(to_markdown(board))
    assert list(found[0]) == list(titles_of(board))
    assert [row["model"] for row in found] == list(MODELS), "sorted by DomainAUC, as planted"
    for place, row in enumerate(found):
        for title in METRICS.values():
            tested = title in ("DomainAUC", "Minor10")
            assert (DAGGER in row[title]) == (tested and place >= 3), (row["model"], title)
    for title in METRICS.values():
        assert sum("**" in row[title] for row in found) == 1
    assert found[0]["DomainAUC"].startswith("**0.7")


def test_better_than_the_best_is_not_marked():
    """With fewer seeds an entry may stand above the best: it is never "behind"."""
    rows, pairs, _ = board_rows(MODELS[:4])
    for pair in pairs:
        if pair["label"] == MODELS[3]:
            pair["difference"] = "0.01"
    assert DAGGER not in table(to_markdown(Board.of(rows, pairs)))[3]["DomainAUC"]


def test_costs_and_trials(board):
    found = {row["model"]: row for row in table(to_markdown(board))}
    assert found["LightGBM"]["trials"] == "not tuned"
    assert found["MMoE"]["trials"] == "8"
    assert found["MMoE"]["parameters"] == "2,000,000"
    assert found["Isolated MLP"]["rows/CPU-s"] == "–"


def test_rows_of_before_have_no_new_columns():
    """Committed rows may lack what a newer bench writes; what they have is shown."""
    rows, _, _ = board_rows(MODELS[:3])
    old = [
        {k: v for k, v in row.items() if "train_rows" not in k and k != "trials"} for row in rows
    ]
    for row in old:
        row["minor10"] = ""
    text = to_markdown(Board.of(old))
    found = table(text)
    assert {row["trials"] for row in found} == {row["Minor10"] for row in found} == {"–"}
    assert "trials:" not in text
    assert DAGGER not in text
    assert standing(Board.of(old), "minor10", LIGHT).chart is None
    assert domains(Board.of(old), LIGHT).reason


def test_gains_are_over_the_median_model():
    names = ("a", "b", "c", "d")
    aucs = {"a": (0.70, 0.72), "b": (0.60, 0.62), "c": (0.65, 0.65), "d": (None, None)}
    by_domain = [
        {"label": label, "seed": str(seed), "domain": "books", "rows": "10", "positives": "3",
         "auc": "" if auc is None else str(auc)}
        for label in names for seed, auc in enumerate(aucs[label])
    ]  # fmt: skip
    rows, _, _ = board_rows(names)
    gains = Board.of(rows, (), by_domain).gains
    assert gains == {
        ("a", "books"): pytest.approx(0.06),
        ("b", "books"): pytest.approx(-0.04),
        ("c", "books"): pytest.approx(0.0),
    }


def test_the_heat_map_shows_the_gains(board):
    """Largest domain at the top; one without an AUC is left out; the sign is the colour."""
    spec = domains(board, LIGHT).spec()
    values = values_of(spec)
    order = spec["encoding"]["y"]["scale"]["domain"]
    assert order[0] == "DOMAIN NUMBER 0"
    assert "DOMAIN NUMBER 7" not in order
    assert spec["encoding"]["x"]["scale"]["domain"] == list(MODELS)
    assert len(values) == len(MODELS) * 29
    for value in values:
        assert value["gain"] == pytest.approx(
            board.gains[value["label"], value["domain"]], abs=1e-4
        )
        assert 0 <= value["size"] <= 1
    above = {v["label"] for v in values if v["domain"] == order[0] and v["side"] == "above"}
    assert MODELS[0] in above
    assert MODELS[-1] not in above


def test_the_standing_tells_best_equal_and_behind(board):
    spec = standing(board, "domain_auc", LIGHT).spec()
    said = {value["label"]: value["standing"] for value in values_of(spec)}
    assert list(said) == list(MODELS)
    assert said[MODELS[0]] == "best"
    assert {said[name] for name in MODELS[1:3]} == {"not told apart from it"}
    assert {said[name] for name in MODELS[3:]} == {"behind by more than chance"}
    rows, _, _ = board_rows(MODELS[:2])
    untested = json.dumps(standing(Board.of(rows), "domain_auc", LIGHT).spec())
    assert "not told apart" not in untested
    assert "not tested" in untested


def test_names_hide_neither_each_other_nor_points():
    """Twelve points on a small ring: every name finds a free place."""
    points = [
        (300 + 90 * math.cos(i * math.tau / 12), 180 + 90 * math.sin(i * math.tau / 12))
        for i in range(12)
    ]
    names = [f"model {i}" for i in range(12)]
    boxes = []
    for (x, y), name, spot in zip(points, names, placed(points, names, (620, 360)), strict=True):
        width = 5.5 * len(name)  # what the letters really take
        left = x + spot.dx - (width if spot.align == "right" else 0)
        boxes.append((left, y + spot.dy - 5, left + width, y + spot.dy + 5))
    for i, a in enumerate(boxes):
        assert a[0] >= 0
        assert a[2] <= 620
        for b in boxes[:i]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (i, a, b)
        for x, y in points:
            assert not (a[0] < x < a[2] and a[1] < y < a[3])


def test_one_model_and_no_model_make_a_page():
    rows, _, by_domain = board_rows(MODELS[:1])
    for found in (Board.of(rows, (), by_domain), Board.of(rows), Board.of([])):
        assert "<h1>" in to_html(found)
        assert to_markdown(found)
        for picture in board_pictures(found, PAGE):
            assert (picture.chart is None) == bool(picture.reason)


def test_names_are_escaped_on_the_page_and_in_the_table():
    rows, pairs, by_domain = board_rows(NASTY)
    text = to_html(Board.of(rows, pairs, by_domain))
    page = Page(text)
    assert not [tag for tag, attrs in page.elements if tag == "img" or "onerror" in attrs]
    assert len(page.scripts) == 4
    json.loads(page.scripts[1])
    assert len(table(to_markdown(Board.of(rows)))) == len(NASTY)


def test_files_for_the_docs(board, tmp_path):
    paths = write_board(board, tmp_path / "out")
    assert {path.name for path in paths} == {
        "leaderboard.html",
        "leaderboard.md",
        *(f"{key}.{kind}" for key in ("standing-domain_auc", "standing-minor10", "cost", "domains")
          for kind in ("png", "svg")),
    }  # fmt: skip
    for path in paths:
        content = path.read_bytes()
        if path.suffix == ".png":
            assert content.startswith(b"\x89PNG")
        elif path.suffix == ".svg":
            words = set(re.findall(r">([^<>]+)</text>", content.decode()))
            assert set(MODELS) <= words, path.name
