"""Vocabularies, bins and domains against counting by hand; the training rows alone decide."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from isthmus.data.config import FeatureConfig
from isthmus.data.engine import Engine, open_engine
from isthmus.data.prepare import prepare
from isthmus.data.prepared import Prepared
from isthmus.data.vocabulary import bin_id, quantile_edges, tally, vocabulary
from tests.data.raw import FEATURES, config, raw, write


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_engine("duckdb", tmp_path_factory.mktemp("engine"), None) as opened:
        yield opened


def tallied(engine: Engine, values: list, kind: pa.DataType, at: Path) -> object:
    table = pa.table({"c": pa.array(values, kind), "label": [0] * len(values)})
    pq.write_table(table, at / "values.parquet")
    return engine.keep(tally(engine.parquet([at / "values.parquet"]), "c"))


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.sampled_from([None, "a", "B", "b", "ä", "10", "9", "日"]), max_size=40),
    st.integers(1, 4),
)
def test_ids_fall_with_the_count_then_rise_with_the_value(
    engine: Engine, tmp_path: Path, values: list[str | None], least: int
) -> None:
    found = vocabulary(engine, [tallied(engine, values, pa.string(), tmp_path)], least)
    counts = Counter(value for value in values if value is not None)
    order = sorted((-n, value) for value, n in counts.items() if n >= least)
    assert found["value"].to_pylist() == [value for _, value in order]
    assert found["count"].to_pylist() == [-n for n, _ in order]
    assert found["id"].to_pylist() == list(range(1, len(order) + 1))


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example([0, 0.9088414319755351], 2)  # an edge whose written decimal is not its double
@given(
    st.lists(st.one_of(st.none(), st.integers(-5, 5), st.floats(-10, 10)), min_size=1, max_size=60),
    st.integers(1, 6),
)
def test_edges_are_order_statistics(
    engine: Engine, tmp_path: Path, values: list[float | None], bins: int
) -> None:
    counted = tallied(engine, values, pa.float64(), tmp_path)
    edges = quantile_edges(engine, counted, bins)
    known = sorted(value for value in values if value is not None)
    picked = {float(known[len(known) * k // bins]) for k in range(1, bins)} if known else set()
    assert edges == tuple(sorted(picked - set(map(float, known[:1]))))
    ids = engine.arrow(counted.select("value", id=bin_id(counted.value, edges))).to_pylist()
    for row in ids:
        value = row["value"]
        assert row["id"] == (0 if value is None else 1 + sum(value >= edge for edge in edges))


def test_bins_of_distinct_numbers_are_equal(engine: Engine, tmp_path: Path) -> None:
    counted = tallied(engine, list(range(1000)), pa.float64(), tmp_path)
    assert quantile_edges(engine, counted, 4) == (250.0, 500.0, 750.0)
    assert quantile_edges(engine, tallied(engine, [3.0] * 9, pa.float64(), tmp_path), 4) == ()


def prepared(tmp_path: Path, table: pa.Table, name: str, **changes: object) -> Prepared:
    return prepare(config(write(table, tmp_path / f"{name}.parquet"), **changes), tmp_path / name)


def test_only_training_rows_teach(tmp_path: Path) -> None:
    """All that is not training may change as it likes: the training file and words stay."""
    table = raw(600)
    plain = prepared(tmp_path, table, "plain")
    cut = min(plain.table("valid")["time"].min(), plain.table("test")["time"].min())
    later = table["at"].to_numpy() >= cut

    def other(name: str, value: object) -> np.ndarray:
        values = np.asarray(table[name])
        return np.where(later, value, values)

    changed = raw(
        600,
        brand=other("brand", "new"),
        price=other("price", 1e9),
        shop=other("shop", "nowhere"),
        item=other("item", 7),
        bought=other("bought", 1),
    )
    after = prepared(tmp_path, changed, "changed")
    same = ["train.parquet", *(f"vocabulary/{t}.parquet" for t in ("user_id", "item_id", "brand"))]
    assert {name: after.manifest.files[name] for name in same} == {
        name: plain.manifest.files[name] for name in same
    }
    assert after.schema == plain.schema
    assert after.manifest.bins == plain.manifest.bins
    assert after.manifest.splits["test"]["<unknown>"].rows == later_rows(after, "test")


def later_rows(data: Prepared, split: str) -> int:
    return len(data.table(split)["row"])


def test_shared_tables_count_together(tmp_path: Path) -> None:
    features = (
        FeatureConfig(name="home", min_count=3),
        FeatureConfig(name="work", table="home"),
        FeatureConfig(name="trips", kind="history", table="home", length=2),
    )
    home, work = ["a", "b"] * 200, ["b", "c"] * 200
    table = raw(400, home=home, work=work, trips=pa.array([["c", "zz"], ["a"]] * 200))
    data = prepared(tmp_path, table, "out", features=features)
    assert {f.name: (f.table, f.size) for f in data.schema.features} == dict.fromkeys(
        ("home", "work", "trips"), ("home", 4)
    )
    assert data.values("home").to_pylist()[0] == "b"
    assert set(data.values("home").to_pylist()) == {"a", "b", "c"}
    ids = {value: id + 1 for id, value in enumerate(data.values("home").to_pylist())}
    rows = set(map(tuple, data.impressions("train").features.tolist()))
    assert rows == {(ids["a"], ids["b"], ids["c"], 0), (ids["b"], ids["c"], ids["a"], 0)}


def test_domains_fall_with_their_training_rows(tmp_path: Path) -> None:
    data = prepared(tmp_path, raw(600), "out")
    counts = {name: count.rows for name, count in data.manifest.splits["train"].items()}
    assert data.schema.domains == tuple(sorted(counts, key=lambda name: (-counts[name], name)))
    small = min(counts, key=counts.__getitem__)
    least = counts[small] + 1
    data = prepared(tmp_path, raw(600), "fewer", min_domain_rows=least)
    assert small not in data.schema.domains
    assert data.manifest.splits["train"]["<unknown>"].rows == counts[small]


def test_features_with_odd_names_have_their_files(tmp_path: Path) -> None:
    features = (*FEATURES, FeatureConfig(name="a/b ü", column="brand"))
    data = prepared(tmp_path, raw(), "out", features=features)
    assert len(data.values("a/b ü")) > 0
