"""Raw values: the engine's rules and those for rows to be scored are the same."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isthmus.data.engine import Engine, open_engine
from isthmus.data.values import PARSERS, canonical_text, parse_list
from isthmus.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_engine("duckdb", tmp_path_factory.mktemp("engine"), None) as opened:
        yield opened


def parsed(engine: Engine, use: str, values: pa.Array, tmp_path: Path) -> tuple[list, list]:
    file = tmp_path / "values.parquet"
    pq.write_table(pa.table({"c": values}), file)
    raw = engine.parquet([file])
    part = PARSERS[use](raw.c, "c")
    table = engine.arrow(raw.select(value=part.value, reason=part.reason.cast("string")))
    return table["value"].to_pylist(), table["reason"].to_pylist()


IDS = {
    "int": pa.array([0, -1, 2**63 - 1, None]),
    "unsigned": pa.array([0, 2**64 - 1], pa.uint64()),
    "small": pa.array([1, 2], pa.int8()),
    "float": pa.array([1.0, 1.5, None, float("nan"), float("inf"), -0.0, 1e15, 1e300]),
    "bool": pa.array([True, False, None]),
    "text": pa.array(["a", "", None, " a", "1", "01", "ü", "日本"]),
    "dictionary": pa.array(["x", None, "y", "x"]).dictionary_encode(),
    "large": pa.array(["x", None], pa.large_string()),
}
TEXTS = {
    "int": ["0", "-1", "9223372036854775807", None],
    "float": ["1", None, None, None, None, "0", "1000000000000000", None],
    "bool": ["true", "false", None],
    "text": ["a", None, None, " a", "1", "01", "ü", "日本"],
}


@pytest.mark.parametrize("kind", IDS)
def test_ids_are_the_same_text_in_the_engine_and_at_scoring(
    engine: Engine, tmp_path: Path, kind: str
) -> None:
    values, _ = parsed(engine, "id", IDS[kind], tmp_path)
    assert values == canonical_text(IDS[kind], "c").to_pylist()
    assert values == TEXTS.get(kind, values)


def test_only_fractions_are_bad_ids_and_keys_must_be_there(engine: Engine, tmp_path: Path) -> None:
    _, reasons = parsed(engine, "id", IDS["float"], tmp_path)
    bad = "c is a number with a fraction"
    assert reasons == [None, bad, None, None, bad, None, None, bad]
    _, reasons = parsed(engine, "key", IDS["text"], tmp_path)
    assert [reason is None for reason in reasons] == [v is not None for v in TEXTS["text"]]


def test_nested_ids_are_refused_at_scoring() -> None:
    with pytest.raises(DataError, match=r"column 'c' is of type list<item: int64>"):
        canonical_text(pa.array([[1]]), "c")


def test_labels(engine: Engine, tmp_path: Path) -> None:
    raw = pa.array(["0", "1", "1.0", "true", "FALSE", "2", "nan", "", None, "yes"])
    values, reasons = parsed(engine, "label", raw, tmp_path)
    assert values == [0, 1, 1, 1, 0, None, None, None, None, None]
    assert [reason is None for reason in reasons] == [value is not None for value in values]
    floats = pa.array([0.0, 1.0, 0.5, float("nan"), float("inf"), None])
    assert parsed(engine, "label", floats, tmp_path)[0] == [0, 1, None, None, None, None]


def test_numbers_that_are_not_finite_are_missing_and_text_is_bad(
    engine: Engine, tmp_path: Path
) -> None:
    raw = pa.array(["1.5", "nan", "inf", "-inf", "", None, "much", "1e999"])
    values, reasons = parsed(engine, "number", raw, tmp_path)
    assert values == [1.5, *[None] * 7]
    assert [bool(reason) for reason in reasons] == [*[False] * 6, True, False]


def test_times(engine: Engine, tmp_path: Path) -> None:
    raw = pa.array(
        ["1500000000", "-5", "1500000000.9", "2020-01-01", "2020-01-01T02:00:00+02:00",
         "2040-01-01 00:00:00Z", "1969-12-31T23:59:59.5", "0001-01-01", "2020-02-30", "", "x"]
    )  # fmt: skip
    seconds = [1_500_000_000, -5, 1_500_000_000, 1_577_836_800, 1_577_836_800, 2_208_988_800, -1]
    assert parsed(engine, "time", raw, tmp_path)[0] == [*seconds, None, None, None, None]
    large = pa.array([2**64 - 1, 7], pa.uint64())
    assert parsed(engine, "time", large, tmp_path)[0] == [None, 7]


def test_a_time_is_what_it_is_whatever_stands_in_the_row_before(
    engine: Engine, tmp_path: Path
) -> None:
    """DuckDB itself reads names of zones, and then the times below as though of that zone."""
    raw = pa.array(["2020-01-01 02:00:00 PST", "2020-01-01 10:11", "1969-12-31 23:59:59.5"])
    assert parsed(engine, "time", raw, tmp_path)[0] == [None, 1_577_873_460, -1]


def test_numbers_are_written_in_one_way(engine: Engine, tmp_path: Path) -> None:
    raw = pa.array(["1_000", "0x10", "1d", ".5", "1.", "-0.0", "1e400", "NaN"])
    values, reasons = parsed(engine, "number", raw, tmp_path)
    assert list(map(repr, values[3:])) == ["0.5", "1.0", "0.0", "None", "None"]
    assert [reason is None for reason in reasons] == [False] * 3 + [True] * 5
    floats = pa.array([-0.0, float("nan")])
    assert list(map(repr, parsed(engine, "number", floats, tmp_path)[0])) == ["0.0", "None"]
    reason = parsed(engine, "time", floats, tmp_path)[1]
    assert reason == [None, "c is missing"]


LISTS = ["[1, 2]", "1|2|3", "[]", "", None, "['a', 'b']", ' ["x" ,"y"] ', "7", "a b|c", "[0]"]


def test_texts_as_lists(engine: Engine, tmp_path: Path) -> None:
    values, _ = parsed(engine, "list", pa.array(LISTS), tmp_path)
    wanted = [["1", "2"], ["1", "2", "3"], [], [], [], ["a", "b"], ["x", "y"], ["7"], ["a b", "c"]]
    assert values == [*wanted, ["0"]]
    assert values == [parse_list(text) for text in LISTS]


def test_lists_of_numbers(engine: Engine, tmp_path: Path) -> None:
    raw = pa.array([[1, None, 2], [], None], pa.list_(pa.int32()))
    assert parsed(engine, "list", raw, tmp_path)[0] == [["1", None, "2"], [], []]
    lone = pa.array([1.0, 2.5, float("nan"), 1e15])  # as they are read at scoring
    assert parsed(engine, "list", lone, tmp_path)[0] == [["1"], [], [], ["1000000000000000"]]
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(4, dtype=np.float64)), 2)
    assert parsed(engine, "list", fixed, tmp_path)[0] == [["0", "1"], ["2", "3"]]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.text(alphabet="[]|, '\"ab\n", max_size=8), min_size=1, max_size=20))
def test_any_text_as_a_list(engine: Engine, tmp_path: Path, texts: list[str]) -> None:
    values, _ = parsed(engine, "list", pa.array(texts), tmp_path)
    assert values == [parse_list(text) for text in texts]


def test_unknown_engines_and_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='expected "duckdb" or "spark"'):
        open_engine("polars", tmp_path, None)
    with pytest.raises(ConfigError, match='such as "2GB"'):
        open_engine("duckdb", tmp_path, "much")
