"""Spark prepares what DuckDB prepares: every file to the byte, and the same manifest."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from isthmus.data.config import AnyConfig
from isthmus.data.engine import Engine, open_engine
from isthmus.data.prepare import prepare
from isthmus.data.spark_config import SparkSettings
from tests.data.raw import config, raw, write

pytest.importorskip("pyspark", reason="the extra isthmus[spark] is not installed")
if shutil.which("java") is None:
    pytest.skip("there is no Java", allow_module_level=True)

# small tables: one task a stage
SETTINGS = SparkSettings(master="local[1]", conf={"spark.sql.shuffle.partitions": 1})


@pytest.fixture(scope="module", autouse=True)
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One session for all: an engine that is opened while it is active uses it."""
    with open_engine("spark", tmp_path_factory.mktemp("spark"), "1GB", SETTINGS) as opened:
        yield opened


def assert_same(asked: AnyConfig, folder: Path) -> None:
    """Both engines prepare the same files and say the same about them."""
    found = {}
    for engine in ("duckdb", "spark"):
        data = prepare(asked.model_copy(update={"engine": engine}), folder / engine)
        found[engine] = data.manifest.model_dump(exclude={"config": {"engine"}})
    assert found["spark"] == found["duckdb"]
    assert found["spark"]["files"]


def test_rows_of_a_ranker(tmp_path: Path) -> None:
    assert_same(config(write(raw(700), tmp_path / "in.parquet")), tmp_path)
