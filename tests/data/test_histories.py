"""Histories against a slow loop: strictly before, newest first, never an equal time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isthmus.data.engine import Engine, open_engine
from isthmus.data.histories import Collect, flat, with_history, with_ready_history

Row = dict[str, Any]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_engine("duckdb", tmp_path_factory.mktemp("engine"), None) as opened:
        yield opened


def oracle(rows: list[Row], row: Row, collect: Collect) -> list[int]:
    """All earlier events of the user, looked at one by one."""
    events = []
    for other in rows:
        right_label = collect.positives is None or other["label"] == collect.positives
        recent = collect.window is None or other["time"] >= row["time"] - collect.window
        if other["user"] == row["user"] and other["time"] < row["time"] and right_label and recent:
            events.append((-other["time"], other["x"]))
    return [x for _, x in sorted(events)][: collect.length]


def collected(engine: Engine, rows: list[Row], collect: Collect, tmp_path: Path) -> list[Row]:
    kinds = {"user": pa.int64(), "time": pa.int64(), "label": pa.int8(), "x": pa.int32()}
    file = tmp_path / "rows.parquet"
    columns = {name: pa.array([row[name] for row in rows], kind) for name, kind in kinds.items()}
    pq.write_table(pa.table(columns), file)
    table = with_history(engine, engine.parquet([file]), collect, "list")
    places = [f"h{k}" for k in range(collect.length)]
    return engine.arrow(table.mutate(**flat(table.list, places))).to_pylist()


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "user": st.integers(1, 3),
            "time": st.integers(0, 12),
            "label": st.integers(0, 1),
            "x": st.integers(0, 4),
        }
    ),
    min_size=1,
    max_size=40,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    ROWS,
    st.integers(1, 6),
    st.sampled_from([True, False, None]),
    st.sampled_from([None, 1, 3, 100]),
)
def test_histories_are_those_of_a_slow_loop(
    engine: Engine,
    tmp_path: Path,
    rows: list[Row],
    length: int,
    positives: bool | None,
    window: int | None,
) -> None:
    collect = Collect("x", length, positives, window)
    found = collected(engine, rows, collect, tmp_path)
    assert len(found) == len(rows)
    for row in found:
        wanted = oracle(rows, row, collect)
        padded = wanted + [0] * (length - len(wanted))
        assert [row[f"h{k}"] for k in range(length)] == padded


def test_by_hand(engine: Engine, tmp_path: Path) -> None:
    """A user buys 5 at 10, sees 6 and buys 7 at 20, and comes back at 20 and 30."""
    events = [(10, 1, 5), (20, 0, 6), (20, 1, 7), (20, 0, 8), (30, 0, 9)]
    rows = [{"user": 1, "time": t, "label": label, "x": x} for t, label, x in events]
    found = collected(engine, rows, Collect("x", 2), tmp_path)
    by_x = {row["x"]: [row["h0"], row["h1"]] for row in found}
    assert by_x == {5: [0, 0], 6: [5, 0], 7: [5, 0], 8: [5, 0], 9: [7, 5]}


@pytest.mark.parametrize("length", [1, 3, 11])
def test_ready_histories_keep_the_first_values(engine: Engine, tmp_path: Path, length: int) -> None:
    lists = [["a", "b"], [], ["c", "zz", "a", None, "b"], ["b"] * 12, None]
    pq.write_table(pa.table({"n": range(5), "raw": lists}), tmp_path / "rows.parquet")
    pq.write_table(pa.table({"id": [1, 2, 3], "value": list("abc")}), tmp_path / "words.parquet")
    places = [f"h{k}" for k in range(length)]
    table = with_ready_history(
        engine,
        engine.parquet([tmp_path / "rows.parquet"]),
        "raw",
        engine.parquet([tmp_path / "words.parquet"]),
        places,
    )
    ids = {"a": 1, "b": 2, "c": 3}
    for row in engine.arrow(table).to_pylist():
        wanted = [ids.get(value, 0) for value in (lists[row["n"]] or [])[:length]]
        assert [row[place] for place in places] == wanted + [0] * (length - len(wanted))
