"""Amazon reviews, on rows in the published raw formats, against a slow loop."""

import gzip
import json
import random
from collections import Counter
from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest

from isthmus.data.sources.amazon_reviews import PRICE_EDGES, RANK_EDGES, amazon_reviews
from isthmus.errors import ConfigError, DataError

DAY = 86_400
START = int(datetime(2017, 8, 14, tzinfo=UTC).timestamp())
META = {
    "A1": (["Books", "Crime"], "$12.99", "1,234 in Books (", "Pan"),
    "A2": (
        ["Books"],
        "$5.00 - $15.00",
        ["&gt;#88 in Books (See Top 100 in Books)", "&gt;#1 in X"],
        "Pan",
    ),
    "A3": (["Toys &amp; Games", "Puzzles"], "", "&gt;#2,000,000 in Toys &amp; Games (See)", ""),
    "A4": (["Toys & Games"], "$1,234.50", [], "M&amp;D"),
    "A5": (["Video Games"], ".a-box-inner{background-color:#fff}", "no rank", None),
    "A6": (["Unheard Of"], "$1", "5 in Books (", "Pan"),
    "A7": ([], "$1", "5 in Books (", "Pan"),
}
EXPECTED = {  # domain, price, sales_rank, sales_chart, brand
    "A1": ("Books", 12.99, 1234, "Books", "Pan"),
    "A2": ("Books", 10.0, 88, "Books", "Pan"),
    "A3": ("Toys & Games", None, 2_000_000, "Toys & Games", None),
    "A4": ("Toys & Games", 1234.5, None, None, "M&D"),
    "A5": ("Video Games", None, None, None, None),
}


def review(user, item, stars, day):
    return {
        "overall": float(stars), "verified": True, "reviewTime": "08 14, 2017", "reviewerID": user,
        "asin": item, "style": {"Format:": " Hardcover"}, "reviewerName": "Ä, \"B\"",
        "reviewText": "fine\nand\u2028long", "summary": "x", "unixReviewTime": START + day * DAY,
        "vote": "3", "image": ["http://x"],
    }  # fmt: skip


@pytest.fixture
def raw(tmp_path):
    """Files by department, one gzipped, and the reviews that are in them."""
    rng = random.Random(1)
    reviews = [
        review(f"U{user}", item, rng.randint(1, 5), rng.randint(-200, 500))
        for user in range(1, 30)
        for item in META
        if rng.random() < 0.7
    ]
    half = len(reviews) // 2
    first = [*reviews[:half], reviews[0], reviews[1]]  # listed twice, as in the real files
    (tmp_path / "Books.json").write_text("".join(json.dumps(r) + "\n" for r in first))
    with gzip.open(tmp_path / "Toys.json.gz", "wt") as lines:
        lines.writelines(json.dumps(r) + "\n" for r in [*reviews[half:], reviews[2]])
    metas = [
        {
            "asin": a,
            "category": c,
            "price": p,
            "rank": r,
            "brand": b,
            "title": "t",
            "also_buy": ["A1"],
        }
        for a, (c, p, r, b) in META.items()
    ]
    for meta in metas:
        if meta["brand"] is None:
            del meta["brand"]  # not every line has every field
    with gzip.open(tmp_path / "meta_all.json.gz", "wt") as lines:
        lines.writelines(json.dumps(m) + "\n" for m in [*metas, metas[0]])
    return tmp_path, reviews


def prepared(raw, **settings):
    folder, _ = raw
    config = amazon_reviews(
        folder / "out",
        reviews=[folder / "Books.json", folder / "T*.json.gz"],
        metadata=[folder / "meta_*.json.gz"],
        **settings,
    )
    return config, pq.read_table(config.files[0]).to_pylist()


def by_hand(reviews, core, first=0, last=365):
    rows = [
        (r["reviewerID"], r["asin"], r["overall"], r["unixReviewTime"])
        for r in reviews
        if r["asin"] in EXPECTED
        and START + first * DAY <= r["unixReviewTime"] <= START + last * DAY
    ]
    while True:
        users, items = Counter(r[0] for r in rows), Counter(r[1] for r in rows)
        kept = [r for r in rows if users[r[0]] >= core and items[r[1]] >= core]
        if len(kept) == len(rows):
            break
        rows = kept
    stars: dict[str, list[float]] = {}
    for user, _, overall, _ in rows:
        stars.setdefault(user, []).append(overall)
    return sorted(
        (u, i, t, int(s > sum(stars[u]) / len(stars[u])), datetime.fromtimestamp(t, UTC).weekday())
        for u, i, s, t in rows
    )


def test_rows_labels_and_weekdays_are_those_of_a_slow_loop(raw):
    _, rows = prepared(raw)
    names = ("user_id", "item_id", "time", "label", "weekday")
    assert sorted(tuple(r[n] for n in names) for r in rows) == by_hand(raw[1], 3)
    assert len(rows) < sum(r["asin"] in EXPECTED for r in raw[1])
    assert {r["label"] for r in rows} == {0, 1}


def test_item_attributes_are_read_from_every_form(raw):
    _, rows = prepared(raw, core=1)
    names = ("domain", "price", "sales_rank", "sales_chart", "brand")
    assert {r["item_id"]: tuple(r[n] for n in names) for r in rows} == EXPECTED


@pytest.mark.parametrize("months", [6, 12])
def test_the_asked_days_are_kept(raw, months):
    last = {6: datetime(2018, 2, 14), 12: datetime(2018, 8, 14)}[months].date()
    _, rows = prepared(raw, last_day=last, core=1)
    days = (datetime(last.year, last.month, last.day, tzinfo=UTC).timestamp() - START) / DAY
    assert len(rows) == len(by_hand(raw[1], 1, last=days))
    every, _ = prepared(raw, first_day=None, last_day=None, core=1), None
    assert len(every[1]) == len(by_hand(raw[1], 1, first=-1000, last=1000))


def test_features_are_the_papers(raw):
    config, _ = prepared(raw)
    named = {f.name: f for f in config.features}
    assert set(named) == {
        "item_id", "weekday", "sales_chart", "sales_rank", "brand", "price",
        "user_pos_6month_seq", "user_neg_6month_seq",
    }  # fmt: skip
    assert config.split.fractions == (0.9, 0.05, 0.05)
    assert named["brand"].min_count == 10
    for name, positives in (("user_pos_6month_seq", True), ("user_neg_6month_seq", False)):
        history = named[name]
        assert (history.of, history.positives, history.length) == ("item_id", positives, 5)
        assert history.window == 179 * DAY
    assert named["sales_rank"].edges == RANK_EDGES == tuple(4.0**k for k in range(1, 11))
    assert PRICE_EDGES[:4] == (2, 4, 10, 24)
    with_user, _ = prepared(raw, user_id=True)
    assert with_user.features[0].name == "user_id"


def test_wrong_calls_are_named(raw, tmp_path):
    with pytest.raises(DataError, match=r"none\*.json: no such file"):
        amazon_reviews(tmp_path / "o", reviews=[tmp_path / "none*.json"], metadata=[])
    with pytest.raises(DataError, match="no reviews given"):
        amazon_reviews(tmp_path / "o")
    with pytest.raises(ConfigError, match=r"amazon_reviews: unknown key 'cores'.*known: first_day"):
        prepared(raw, cores=3)
    with pytest.raises(DataError, match="no row is left"):
        prepared(raw, core=1000)


CSV = (
    "userid,itemid,weekday,domain,sales_chart,sales_rank,brand,price,user_pos_1month_seq,"
    "user_neg_1month_seq,user_pos_2month_seq,user_neg_2month_seq,user_pos_6month_seq,"
    "user_neg_6month_seq,label,timestamp,is_augmented\n"
    '7,402086,1,0,34,9,11626,4,[],[],[],[],"[381325, 663071, 898220, 325763]",[],1,1519084800,False\n'
    "8,1098800,5,24,34,9,11626,4,[],[],[],[],[1319070],[12],0,1529712000,False\n"
    "9,1,5,24,34,9,11626,4,[],[],[],[],[1319070],[],1,1529712000,True\n"
)


def test_the_authors_csv(tmp_path):
    (tmp_path / "t.csv").write_text(CSV)
    config = amazon_reviews(tmp_path / "out", table=tmp_path / "t.csv")
    rows = pq.read_table(config.files[0]).to_pylist()
    assert [r["user_id"] for r in rows] == ["7", "8"]  # the augmented row is left out
    newest_first = ["325763", "898220", "663071", "381325"]
    assert [r["user_pos_6month_seq"] for r in rows] == [newest_first, ["1319070"]]
    assert [r["user_neg_6month_seq"] for r in rows] == [[], ["12"]]
    assert [r["label"] for r in rows] == [1, 0]
    named = {f.name: f for f in config.features}
    assert (named["price"].kind, named["user_pos_6month_seq"].table) == ("id", "item_id")
    (tmp_path / "t.csv").write_text("userid,itemid\n1,2\n")
    with pytest.raises(DataError, match="no column 'timestamp'"):
        amazon_reviews(tmp_path / "out", table=tmp_path / "t.csv")
