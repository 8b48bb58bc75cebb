"""Epinions, on rows in the published file's own formats, against a slow loop."""

import random
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.io import savemat

from isthmus.data.sources.epinions import epinions
from isthmus.errors import DataError


def ratings(seed=3):
    """(user, product, category, rating, helpfulness, time): dense enough for a 3-core."""
    rng = random.Random(seed)
    return [
        (
            user,
            item,
            item % 4 + 1,
            rng.choice([1, 2, 3, 4, 5, 5]),
            rng.randint(0, 5),
            rng.randint(1, 11),
        )
        for user in range(1, 40)
        for item in range(1, 60)
        if rng.random() < 3 / (item + 5)
    ]


def by_hand(rows, core, min_domain_rows):
    while True:
        users, items = Counter(r[0] for r in rows), Counter(r[1] for r in rows)
        kept = [r for r in rows if users[r[0]] >= core and items[r[1]] >= core]
        if len(kept) == len(rows):
            break
        rows = kept
    of_user: dict[int, list[int]] = {}
    for r in rows:
        of_user.setdefault(r[0], []).append(r[3])
    domains = Counter(r[2] for r in rows)
    return sorted(
        (u, i, str(d), t, int(rating > sum(of_user[u]) / len(of_user[u])))
        for u, i, d, rating, _, t in rows
        if domains[d] >= min_domain_rows
    )


def found(config):
    rows = pq.read_table(config.files[0]).to_pydict()
    names = ("user_id", "item_id", "domain", "timestamp", "label")
    assert set(rows) == set(names)  # neither rating nor helpfulness comes along
    return sorted(zip(*(rows[n] for n in names), strict=True))


@pytest.mark.parametrize("separator", [" ", ",", "\t", "  "])
def test_text_against_a_slow_loop(tmp_path, separator):
    rows = ratings()
    raw = tmp_path / "rating_with_timestamp.txt"
    raw.write_text("".join(separator.join(map(str, r)) + "\n" for r in rows))
    expected = by_hand(rows, 3, 60)
    assert 0 < len({r[2] for r in expected}) < 4  # a small category is dropped
    assert len(expected) < len(rows)
    assert found(epinions(tmp_path / "out", raw=raw, core=3, min_domain_rows=60)) == expected


def test_matlab_gives_the_same_rows(tmp_path):
    rows = ratings()
    savemat(tmp_path / "r.mat", {"rating_with_timestamp": np.array(rows, dtype=float)})
    config = epinions(tmp_path / "out", raw=tmp_path / "r.mat", core=3, min_domain_rows=60)
    assert found(config) == by_hand(rows, 3, 60)


def test_a_rating_at_the_mean_is_no_positive(tmp_path):
    raw = tmp_path / "r.txt"
    raw.write_text("1 1 1 4 0 1\n1 2 1 4 0 1\n2 1 1 5 0 1\n2 2 1 4 0 1\n")
    rows = found(epinions(tmp_path / "out", raw=raw, core=1, min_domain_rows=1))
    assert [r[-1] for r in rows] == [0, 0, 1, 0]


def test_features_know_neither_the_rating_nor_what_comes_after_it(tmp_path):
    table = tmp_path / "t.parquet"
    names = ("user_id", "item_id", "domain", "timestamp", "label", "rating", "helpfulness")
    pq.write_table(pa.table({n: [1, 2] for n in names}), table)
    config = epinions(tmp_path / "out", table=table)
    assert {f.source for f in config.features if f.of is None} == {"user_id", "item_id"}
    assert {(f.of, f.positives) for f in config.features if f.of} == {
        ("item_id", True),
        ("item_id", False),
    }
    assert pq.read_schema(config.files[0]).field("domain").type == pa.string()


def test_wrong_files_are_named(tmp_path):
    raw = tmp_path / "r.txt"
    raw.write_text("1 2 3\n")
    with pytest.raises(DataError, match="expected six numbers"):
        epinions(tmp_path / "out", raw=raw)
    savemat(tmp_path / "r.mat", {"x": np.ones((3, 2))})
    with pytest.raises(DataError, match="expected one of six columns"):
        epinions(tmp_path / "out", raw=tmp_path / "r.mat")
    with pytest.raises(DataError, match="give either raw="):
        epinions(tmp_path / "out")
    raw.write_text("1 2 3 4 5 6\n")
    with pytest.raises(DataError, match="no row is left"):
        epinions(tmp_path / "out", raw=raw)
