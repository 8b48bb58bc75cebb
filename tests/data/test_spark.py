"""Spark prepares what DuckDB prepares: every file to the byte, and the same manifest."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isthmus.data.config import AnyConfig, FeatureConfig
from isthmus.data.engine import Engine, open_engine
from isthmus.data.prepare import prepare
from isthmus.data.sources import SOURCES
from isthmus.data.spark_config import SparkSettings
from isthmus.data.values import PARSERS, fits
from isthmus.errors import DataError
from tests.data import events, odd
from tests.data.raw import FEATURES, config, raw, write

pytest.importorskip("pyspark", reason="the extra isthmus[spark] is not installed")
if shutil.which("java") is None:
    pytest.skip("there is no Java", allow_module_level=True)

pytestmark = pytest.mark.slow  # a Java machine starts, and each of fifty queries takes its time
# for tables that are small: one task a stage, nothing compiled that runs once
SETTINGS = SparkSettings(
    master="local[1]",
    conf={
        "spark.sql.shuffle.partitions": 1,
        "spark.sql.codegen.wholeStage": False,
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    },
)


@pytest.fixture(scope="module", autouse=True)
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One session for all: an engine that is opened while it is active uses it."""
    with open_engine("spark", tmp_path_factory.mktemp("spark"), "1GB", SETTINGS) as opened:
        yield opened


@pytest.fixture(scope="module")
def duckdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_engine("duckdb", tmp_path_factory.mktemp("duckdb"), "1GB") as opened:
        yield opened


def same(asked: AnyConfig, folder: Path) -> dict[str, Any]:
    """The manifest that both engines write, but for the engine's name; it has all files' hashes."""
    found = {}
    for engine in ("duckdb", "spark"):
        data = prepare(asked.model_copy(update={"engine": engine}), folder / engine)
        found[engine] = data.manifest.model_dump(exclude={"config": {"engine"}})
    assert found["spark"] == found["duckdb"]
    assert len(found["spark"]["files"]) >= 3
    return found["spark"]


@pytest.mark.parametrize("use", PARSERS)
def test_every_odd_value_means_the_same(
    spark: Engine, duckdb: Engine, tmp_path: Path, use: str
) -> None:
    """All columns of all types in one file: value and reason of each, side by side."""
    columns = {name: c for name, c in odd.columns().items() if fits(use, c.type)}
    file = tmp_path / "odd [1] %41 ü.parquet"
    pq.write_table(pa.table(columns), file)
    tables = {}
    for engine in (duckdb, spark):
        rows = engine.parquet([file], list(columns), numbered=True)
        parts = {name: PARSERS[use](rows[name], "it") for name in columns}
        shown = rows.select(
            "file_row_number",
            "isthmus_file",
            **{name: part.value for name, part in parts.items()},
            **{f"{name}?": part.reason.cast("string") for name, part in parts.items()},
        )
        tables[engine] = engine.arrow(shown.order_by("file_row_number")).to_pydict()
    assert tables[spark]["isthmus_file"] == [file.name] * odd.ROWS
    raw_values = {name: column.to_pylist() for name, column in columns.items()}
    for name, values in tables[duckdb].items():
        pairs = zip(raw_values.get(name.rstrip("?"), values), values, strict=True)
        other = zip(raw_values.get(name.rstrip("?"), values), tables[spark][name], strict=True)
        assert list(map(repr, other)) == list(map(repr, pairs)), name


LISTS = (
    *FEATURES,
    FeatureConfig(name="again", kind="history", of="item_id", length=4, positives=None, window=40),
    FeatureConfig(name="seen", kind="history", length=3),
    FeatureConfig(name="seen_items", column="seen", kind="history", length=2, table="item_id"),
    FeatureConfig(name="weight", kind="number", edges=(-1.0, 0.0, 0.1)),
    FeatureConfig(name="brand_again", column="brand", table="brand"),
)


def test_odd_rows_in_files_of_every_kind(tmp_path: Path) -> None:
    """Ties, twins, odd texts, missing numbers and rejected rows, in Parquet, CSV and JSONL."""
    table = odd.rows(600)
    files = [
        write(table.slice(0, 250), tmp_path / "a+b [1] ü%20.parquet"),
        write(odd.otherwise_typed(table.slice(250, 150)), tmp_path / "c.parquet"),
        write(table.slice(400, 100), tmp_path / "d.csv"),
        write(table.slice(500), tmp_path / "e.jsonl"),
    ]
    asked = config(*files, features=LISTS, max_rejected=0.5, min_domain_rows=3)
    manifest = same(asked, tmp_path)
    assert manifest["rejected"]["rows"] > 20
    assert len(manifest["rejected"]["reasons"]) >= 5
    assert {bad["file"] for bad in manifest["rejected"]["first"]} == {files[0].name}
    assert manifest["unknown"]["seen"]["train"] < 1


def test_splits_by_column_and_by_user(tmp_path: Path) -> None:
    name = "a `part`. é"
    table = raw(300, **{name: [("train", "valid", "test")[n % 5 % 3] for n in range(300)]})
    file = write(table, tmp_path / "in.parquet")
    by_column = {"by": "column", "column": name}
    manifest = same(config(file, features=FEATURES[:2], split=by_column), tmp_path / "column")
    assert "future-in-training" in {found["code"] for found in manifest["audit"]}
    by_user = {"by": "user", "seed": 7, "fractions": (0.6, 0.2, 0.2)}
    columns = config(file).columns.model_copy(update={"time": None})
    same(config(file, features=FEATURES[:2], split=by_user, columns=columns), tmp_path / "user")


def test_events(tmp_path: Path) -> None:
    file = events.written(events.events(), tmp_path / "in.parquet")
    same(events.config(file), tmp_path / "last")
    asked = events.config(
        file, split={"by": "time"}, core=True, min_user_events=3, min_item_events=3,
        items_by_domain=True, min_count=2,
    )  # fmt: skip
    same(asked, tmp_path / "time")


@pytest.mark.parametrize("name", ["bundled", "bundled_seq"])
def test_bundled_data(tmp_path: Path, name: str) -> None:
    same(SOURCES[name](tmp_path / "raw"), tmp_path)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    file = write(raw(), tmp_path / "in.parquet")
    content = bytearray(file.read_bytes())
    content[4:400] = bytes(396)
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"in.parquet: its rows cannot be read"):
        prepare(config(file, engine="spark"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bytes_that_are_no_text_stop(tmp_path: Path) -> None:
    ends, letters = pa.py_buffer(np.array([0, 2, 3], np.int32)), pa.py_buffer(b"\xff\xfeb")
    broken = pa.Array.from_buffers(pa.string(), 2, [None, ends, letters])
    table = raw(400, brand=pa.concat_arrays([broken, pa.array(["b"] * 398)]))
    file = write(table, tmp_path / "in.parquet")
    for engine in ("duckdb", "spark"):
        with pytest.raises(DataError, match=r"the engine stopped: .*(?i:invalid)"):
            prepare(config(file, engine=engine), tmp_path / "out")
