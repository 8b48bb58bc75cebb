"""What an engine is opened with; Spark itself is tested beside, where it is."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from isthmus.data.config import PrepareConfig, read_config
from isthmus.data.engine import mebibytes, open_engine
from isthmus.data.spark_config import SparkSettings
from isthmus.errors import ConfigError
from tests.data.events import config as of_events
from tests.data.raw import config, raw, write

TOML = """
name = "shop"
files = "in.parquet"
engine = "spark"
columns = {user = "user", item = "item", domain = "shop", label = "bought", time = "at"}
features = [{name = "user"}]

[spark]
master = "MASTER"
conf = {"spark.executor.instances" = 4, "spark.speculation" = true}
"""


def written(folder: Path, master: str) -> Path:
    file = folder / "shop.toml"
    file.write_text(TOML.replace('"user"}]', '"who", column = "user"}]').replace("MASTER", master))
    return file


def test_settings_of_spark_are_read_and_not_recorded(tmp_path: Path) -> None:
    asked = read_config(written(tmp_path, "spark://head:7077"))
    assert asked.spark.master == "spark://head:7077"
    assert asked.spark.conf == {"spark.executor.instances": "4", "spark.speculation": "true"}
    assert "head" not in asked.model_dump_json()  # they may hold passwords
    assert PrepareConfig.model_validate_json(asked.model_dump_json()).engine == "spark"


@pytest.mark.parametrize("make", [config, of_events])
def test_settings_of_spark_for_another_engine_are_refused(make) -> None:  # type: ignore[no-untyped-def]
    values = make(Path("x.parquet")).model_dump() | {"spark": {"master": "local[2]"}}
    with pytest.raises(ValueError, match='belong to engine = "spark", not to "duckdb"'):
        type(make(Path("x.parquet"))).model_validate(values)


def test_sizes() -> None:
    assert [mebibytes(text) for text in ("1GiB", "512MB", "1.5 gib", "2GB")] == [
        1024, 488, 1536, 1907,
    ]  # fmt: skip
    with pytest.raises(ConfigError, match='such as "2GB"'):
        mebibytes("-1GB")


def test_the_package_of_spark_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "isthmus.data.engine_spark", raising=False)
    monkeypatch.setitem(sys.modules, "pyspark", None)
    with pytest.raises(ConfigError, match=r'pip install "isthmus\[spark\]"'):
        open_engine("spark", tmp_path, None)


def test_without_java_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyspark", reason="the extra isthmus[spark] is not installed")
    from isthmus.data import engine_spark

    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="install Java 17"):
        engine_spark._started(tmp_path, 1024, SparkSettings())
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"no command java\).*openjdk-17-jre-headless"):
        engine_spark._started(tmp_path, 1024, SparkSettings())


@pytest.mark.slow
def test_a_wrong_master_is_one_line_and_nothing_is_left(tmp_path: Path) -> None:
    pytest.importorskip("pyspark", reason="the extra isthmus[spark] is not installed")
    if shutil.which("java") is None:
        pytest.skip("there is no Java")
    write(raw(), tmp_path / "in.parquet")
    command = ["prepare", str(written(tmp_path, "nonsense")), "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", "isthmus", *command], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "isthmus: Spark cannot be started with master = 'nonsense': Master must either be yarn or "
        "start with spark, k8s, or local"
    ]
    assert {file.name for file in tmp_path.iterdir()} == {"in.parquet", "shop.toml"}
