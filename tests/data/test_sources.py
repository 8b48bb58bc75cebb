"""The registry of sources, their shared steps, and the data that ships with the package."""

import hashlib
import inspect
import random
import re

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isthmus.data.config import PrepareConfig
from isthmus.data.sources import SOURCES, base, bundled, get, names
from isthmus.errors import ConfigError, DataError


def test_sources_are_found_by_name():
    assert {
        "aliccp", "amazon_reviews", "bundled", "complete_journey", "epinions", "synthetic",
        "synth_ctr",
    } <= set(names())  # fmt: skip
    assert get("bundled") is SOURCES["bundled"]
    with pytest.raises(ConfigError, match=r"unknown source 'bundle'; known: aliccp"):
        get("bundle")


@pytest.mark.parametrize("name", names())
def test_every_source_says_what_it_is_and_takes_out(name):
    function = SOURCES[name]
    assert len((function.__doc__ or "").splitlines()) > 3
    assert "out" in inspect.signature(function).parameters


def test_bundled_is_what_its_note_says(tmp_path):
    config = bundled.bundled(tmp_path)
    assert PrepareConfig.model_validate(config.model_dump()) == config
    rows = pq.read_table(config.files[0])
    note = bundled.provenance()
    domains = set(rows["domain"].to_pylist())
    assert (rows.num_rows, len(domains)) == (207_667, 32)
    assert f"{rows.num_rows:,} rows" in note
    assert "CC0" in note
    assert "Provenance conflict" in note
    folder = base.Path(bundled.__file__).parents[1] / "bundled" / "ci_small_cj_ctr"
    digest = hashlib.sha256((folder / "interactions.parquet").read_bytes()).hexdigest()
    assert digest in note


def test_bundled_features_leave_time_out_and_histories_hold_purchases(tmp_path):
    config = bundled.bundled(tmp_path)
    columns = {f.source for f in config.features if f.of is None}
    assert not columns & {"week", "week_start", "timestamp", "label", "domain"}
    (history,) = (f for f in config.features if f.kind == "history")
    assert (history.of, history.positives, history.length) == ("item_id", True, 5)
    assert columns <= set(pq.read_schema(config.files[0]).names)
    assert "simulated" in config.source


def test_bundled_time_is_the_start_of_the_week(tmp_path):
    rows = pq.read_table(bundled.bundled(tmp_path).files[0]).to_pydict()
    weeks: dict[int, set[int]] = {}
    for week, start, seen in zip(rows["week"], rows["week_start"], rows["timestamp"], strict=True):
        weeks.setdefault(week, set()).add(start)
        assert 0 <= seen - start < 7 * 86_400 + 3_600  # an hour more in winter
    assert all(len(starts) == 1 for starts in weeks.values())
    assert len(set.union(*weeks.values())) == len(weeks) == 53


def k_core_by_hand(rows: list[tuple[int, int]], least: int) -> list[tuple[int, int]]:
    while True:
        users, items = [u for u, _ in rows], [i for _, i in rows]
        kept = [(u, i) for u, i in rows if users.count(u) >= least and items.count(i) >= least]
        if len(kept) == len(rows):
            return rows
        rows = kept


@pytest.mark.parametrize("seed", range(4))
def test_k_core_is_a_fixed_point(seed, tmp_path):
    rng = random.Random(seed)
    rows = [(int(rng.paretovariate(0.6)) % 40, rng.randrange(60)) for _ in range(170)]
    once = [
        (u, i)
        for u, i in rows
        if [r[0] for r in rows].count(u) >= 3 and [r[1] for r in rows].count(i) >= 3
    ]
    expected = k_core_by_hand(rows, 3)
    assert len(expected) < len(once)  # one pass, as published, is not enough here
    table = pa.table({"u": [r[0] for r in rows], "i": [r[1] for r in rows]})
    with base.connect(tmp_path) as con, base.scratch(con, tmp_path) as keep:
        kept = base.k_core(keep, ibis.memtable(table), 3, ("u", "i")).to_pyarrow()
    found = sorted(zip(kept["u"].to_pylist(), kept["i"].to_pylist(), strict=True))
    assert found == sorted(expected)


def test_nothing_left_is_an_error_and_leaves_no_file(tmp_path):
    empty = ibis.memtable(pa.table({"a": pa.array([], pa.int64())}))
    with base.connect(tmp_path) as con, pytest.raises(DataError, match="no row is left"):
        base.write(con, empty, tmp_path / "x.parquet")
    assert not list(tmp_path.iterdir())


def test_what_the_engine_cannot_read_is_one_line_and_leaves_nothing(tmp_path):
    (tmp_path / "bad.json").write_text('{"reviewerID": "a", "asin": [\n')
    out = tmp_path / "out"
    with pytest.raises(DataError, match=r"^the engine stopped: [^\n]*$"):
        SOURCES["amazon_reviews"](
            out, reviews=[tmp_path / "bad.json"], metadata=[tmp_path / "bad.json"]
        )
    assert not list(out.iterdir())


def test_missing_files_and_columns_are_named(tmp_path):
    with pytest.raises(DataError, match=re.escape(f"{tmp_path}/none.parquet: not there")):
        SOURCES["complete_journey"](tmp_path, table=tmp_path / "none.parquet")
    pq.write_table(pa.table({"user_id": [1]}), tmp_path / "bad.parquet")
    with pytest.raises(DataError, match=r"no column 'item_id'.*found user_id"):
        SOURCES["complete_journey"](tmp_path, table=tmp_path / "bad.parquet")
