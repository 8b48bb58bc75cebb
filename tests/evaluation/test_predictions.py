"""Stored scores: a round trip, and what is refused."""

from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isthmus.errors import DataError
from isthmus.evaluation import Predictions

GOOD = {
    "row": [5, 3, 9, 4],
    "domain": [1, 2, 0, 1],
    "user": [10, -1, 2**62, 10],
    "label": [0, 1, 0, 1],
    "score": [0.0, 1.0, 0.1 + 0.2, 1e-300],
    "domains": ("north", "süd"),
}


def make(**changes):
    return Predictions(**{**GOOD, **changes})


def test_parquet_round_trip(tmp_path: Path):
    p = make()
    p.write(tmp_path / "p.parquet")
    read = Predictions.read(tmp_path / "p.parquet")
    assert read.domains == ("north", "süd")
    for column in ("row", "domain", "user", "label", "score"):
        kept, found = getattr(p, column), getattr(read, column)
        assert kept.dtype == found.dtype
        assert np.array_equal(kept, found)  # to the last bit


def test_an_empty_table_round_trips(tmp_path: Path):
    empty = Predictions(*([np.array([], int)] * 4), np.array([]), ("a",))
    empty.write(tmp_path / "p.parquet")
    assert len(Predictions.read(tmp_path / "p.parquet")) == 0


def test_types_are_the_stored_ones():
    p = make(score=np.array([0.5, 0.25, 0, 1], np.float32), label=np.array([0, 1, 0, 1.0]))
    assert [getattr(p, c).dtype for c in ("row", "domain", "user", "label", "score")] == [
        np.int64,
        np.int32,
        np.int64,
        np.int8,
        np.float64,
    ]


def test_it_cannot_be_changed():
    p = make()
    with pytest.raises(ValueError, match="read-only"):
        p.score[0] = 0.5
    with pytest.raises(FrozenInstanceError):
        p.score = p.score


def test_take_keeps_rows_together():
    p = make().take(np.array([2, 0]))
    assert (p.row.tolist(), p.score.tolist()) == ([9, 5], [0.1 + 0.2, 0.0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score": [0.1, np.nan, np.inf, 0.2]}, r"score: 2 of 4 values are not finite.*row 3 "),
        ({"score": [np.nan] * 4}, r"score: 4 of 4 values are not finite"),
        ({"score": [-np.inf] * 4}, r"score: 4 of 4 values are not finite"),
        ({"score": [0.1, 0.2, 1.5, -3]}, r"score: 2 of 4 .* outside \[0, 1\].*1.5 at row 9 "),
        ({"label": [0, 1, 2, 0]}, r"label: 1 of 4 values are neither 0 nor 1.*row 9 "),
        ({"label": [0, 1, 0.5, 0]}, r"label: .*int8 cannot hold"),
        ({"label": [0, 1, np.nan, 0]}, r"label: .*int8 cannot hold"),
        ({"label": [0, 1, 256, 0]}, r"label: .*int8 cannot hold"),
        ({"label": ["0", "1", "0", "1"]}, r"label: found values of type <U1"),
        ({"domain": [1, 2, 3, 0]}, r"domain: 1 of 4 values are not in 0..2.*3 at row 9 "),
        ({"domain": [1, 2, -1, 0]}, r"domain: 1 of 4"),
        ({"row": [1, 2, 1, 1]}, r"row: 2 duplicates among 4 rows, the first is row 1"),
        ({"row": [1, 2, 3]}, r"columns of different lengths: .*'row': 3"),
        ({"score": [[0.1]] * 4}, r"score: found an array of 2 dimensions"),
        ({"domains": ("a", "a")}, r"domain names must differ"),
        ({"domains": ("a", "(unknown)")}, r"'\(unknown\)' is taken"),
    ],
)
def test_what_is_refused(changes, message):
    with pytest.raises(DataError, match=message):
        make(**changes)


def test_a_truncated_file_is_refused(tmp_path: Path):
    path = tmp_path / "p.parquet"
    make().write(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="no readable Parquet"):
        Predictions.read(path)


def test_a_missing_file_is_a_data_error(tmp_path: Path):
    with pytest.raises(DataError, match="no readable Parquet"):
        Predictions.read(tmp_path / "nothing.parquet")


def test_other_tables_are_refused(tmp_path: Path):
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({"row": [1], "score": [0.5]}), path)
    with pytest.raises(DataError, match="lacks column domain, user, label"):
        Predictions.read(path)
    columns = {c: GOOD[c] for c in ("row", "domain", "user", "label", "score")}
    pq.write_table(pa.table(columns), path)
    with pytest.raises(DataError, match="lacks the names of the domains"):
        Predictions.read(path)


def test_empty_values_are_refused(tmp_path: Path):
    path = tmp_path / "p.parquet"
    make().write(path)
    table = pq.read_table(path)
    holes = table.set_column(4, "score", pa.array([0.1, None, None, 0.2]))
    pq.write_table(holes, path)
    with pytest.raises(DataError, match="'score' has 2 empty values"):
        Predictions.read(path)
