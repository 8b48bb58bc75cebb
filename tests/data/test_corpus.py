"""Malformed files: each is loaded with what was rejected, or refused in one line that names it."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isthmus.data.config import FeatureConfig
from isthmus.data.interactions import Rejected
from isthmus.data.prepare import prepare
from isthmus.data.prepared import Prepared
from isthmus.errors import DataError
from tests.data.raw import config, raw, write

IDS = (FeatureConfig(name="item_id", column="item"), FeatureConfig(name="brand"))
HEADER = "user,item,shop,bought,at,brand"
LABELS = np.random.default_rng(3).integers(0, 2, 200).tolist()
GOOD = [f"{k % 7},{k % 5},north,{LABELS[k]},{k},b{k % 3}" for k in range(200)]


def csv_of(*bad: str, header: str = HEADER, end: str = "\n") -> bytes:
    """A CSV of good rows with bad ones after the tenth."""
    return end.join([header, *GOOD[:10], *bad, *GOOD[10:], ""]).encode()


def loaded(tmp_path: Path, content: bytes, name: str = "in.csv") -> tuple[Prepared, Rejected]:
    file = tmp_path / name
    file.write_bytes(content)
    data = prepare(config(file, features=IDS, max_rejected=0.05), tmp_path / "out")
    return data, data.manifest.rejected


def rows_of(data: Prepared) -> int:
    return sum(count.rows for split in data.manifest.splits.values() for count in split.values())


def refused(make: Callable[[], object]) -> str:
    """The message of the one-line error."""
    with pytest.raises(DataError) as caught:
        make()
    message = str(caught.value)
    assert "\n" not in message
    assert "Traceback" not in message
    return message


WHOLE = {
    "plain": csv_of(),
    "byte order mark": b"\xef\xbb\xbf" + csv_of(),
    "carriage returns": csv_of(end="\r\n"),
    "no last line end": csv_of().rstrip(b"\n"),
    "blank lines": csv_of("", ""),
    "unsorted time": "\n".join([HEADER, *reversed(GOOD)]).encode(),
}


@pytest.mark.parametrize("case", WHOLE)
def test_csv_that_is_unusual_but_whole(tmp_path: Path, case: str) -> None:
    data, rejected = loaded(tmp_path, WHOLE[case])
    assert (rows_of(data), rejected.rows) == (200, 0)
    plain, _ = loaded(tmp_path, WHOLE["plain"], "again.csv")
    assert plain.manifest.splits == data.manifest.splits
    assert {k: v.sha256 for k, v in plain.manifest.files.items()} == {
        k: v.sha256 for k, v in data.manifest.files.items()
    }


def test_quoted_line_ends_and_delimiters_are_values(tmp_path: Path) -> None:
    data, rejected = loaded(tmp_path, csv_of('1,"a, b","two\nlines",1,5,"say ""x"""'))
    assert rejected.rows == 0
    assert "two\nlines" in data.schema.domains
    assert "a, b" in data.values("item_id").to_pylist()
    assert 'say "x"' in data.values("brand").to_pylist()


BAD_ROWS = {
    "too few fields": ("1,2,north", "3 fields where the header has 6"),
    "too many fields": ("1,2,north,1,5,b,c", "7 fields where the header has 6"),
    "label 2": ("1,2,north,2,5,b", "bought is not 0 or 1"),
    "label nan": ("1,2,north,nan,5,b", "bought is not 0 or 1"),
    "label inf": ("1,2,north,inf,5,b", "bought is not 0 or 1"),
    "label missing": ("1,2,north,,5,b", "bought is not 0 or 1"),
    "user missing": (",2,north,1,5,b", "user is missing"),
    "item missing": ("1,,north,1,5,b", "item is missing"),
    "domain missing": ("1,2,,1,5,b", "shop is missing"),
    "time missing": ("1,2,north,1,,b", "at is missing"),
    "time is text": ("1,2,north,1,soon,b", "at is no number of seconds and no date"),
    "date out of range": ("1,2,north,1,9999-12-31,b", "at is no number of seconds and no date"),
    "no such date": ("1,2,north,1,2020-13-01,b", "at is no number of seconds and no date"),
    "time overflows": ("1,2,north,1,99999999999999999999,b", "at is no number of seconds"),
    "time not finite": ("1,2,north,1,inf,b", "at is no number of seconds"),
    "quotes": ('1,"2"x,north,1,5,b', "quotes that do not match"),
    "NUL": ("1,2,no\0rth,1,5,b", "NUL"),
    "field of 10 MB": (f"1,2,north,1,5,{'b' * 10_000_000}", "a field of more than 1 MB"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_csv_row_is_counted_and_named(tmp_path: Path, case: str) -> None:
    line, reason = BAD_ROWS[case]
    data, rejected = loaded(tmp_path, csv_of(line))
    assert rows_of(data) == 200
    assert (rejected.rows, rejected.of) == (1, 201)
    first = rejected.first[0]
    assert (first.file, first.row) == ("in.csv", 12)
    assert reason in first.reason


def test_bytes_that_are_no_utf8_reject_their_row(tmp_path: Path) -> None:
    data, rejected = loaded(tmp_path, csv_of("1,2,north,1,5,caf\xe9").replace(b"\xc3\xa9", b"\xe9"))
    assert rows_of(data) == 200
    assert rejected.reasons == {"bytes that are not UTF-8": 1}
    assert rejected.first[0].row == 12


def test_an_open_quote_loses_no_line_in_silence(tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    file.write_bytes(csv_of('1,"2,north,1,5,b'))
    message = refused(lambda: prepare(config(file, features=IDS), tmp_path / "out"))
    assert "191 of 201 rows" in message
    assert "quotes that do not match" in message


def test_dates_and_iso_texts_are_seconds(tmp_path: Path) -> None:
    days = np.datetime64("2020-01-01") + np.arange(60)
    seconds = days.astype("datetime64[s]").astype(np.int64)
    forms = {
        "iso.csv": [str(day) for day in days],
        "offset.csv": [f"{day}T02:00:00+02:00" for day in days],
        "date.parquet": days,
        "stamp.parquet": pa.array(days.astype("datetime64[ns]")),
        "zone.parquet": pa.array(days.astype("datetime64[us]")).cast(pa.timestamp("us", "UTC")),
        "float.parquet": seconds + 0.75,
        "dictionary.parquet": pa.array([str(day) for day in days]).dictionary_encode(),
    }
    for name, at in forms.items():
        file = write(raw(60, at=at), tmp_path / name)
        data = prepare(config(file), tmp_path / "out")
        times = np.concatenate([data.table(split)["time"] for split in ("train", "valid", "test")])
        np.testing.assert_array_equal(np.sort(times), seconds, err_msg=name)


JSON_ROWS = [
    dict(zip(HEADER.split(","), [k % 7, k % 5, "north", LABELS[k], k, f"b{k % 3}"], strict=True))
    for k in range(200)
]
BAD_JSON = {
    "broken": ('{"user": 1,', "not valid JSON"),
    "array": ("[1, 2]", "no JSON object"),
    "key twice": ('{"user": 1, "user": 2}', "a key that is there twice"),
    "nested id": (json.dumps({**JSON_ROWS[0], "item": {"a": 1}}), "a nested value"),
    "label NaN": (json.dumps({**JSON_ROWS[0], "bought": float("nan")}), "bought is not 0 or 1"),
    "missing key": ('{"user": 1}', "item is missing"),
    "lone surrogate": (json.dumps({**JSON_ROWS[0], "brand": "\ud800"}), "not UTF-8"),
    "deep": ("[" * 100_000, "not valid JSON"),
}


@pytest.mark.parametrize("case", BAD_JSON)
def test_a_bad_json_line_is_counted_and_named(tmp_path: Path, case: str) -> None:
    line, reason = BAD_JSON[case]
    lines = [json.dumps(row) for row in JSON_ROWS]
    content = "\n".join([*lines[:10], line, *lines[10:]]).encode()
    data, rejected = loaded(tmp_path, content, "in.jsonl")
    assert rows_of(data) == 200
    assert (rejected.rows, rejected.of, rejected.first[0].row) == (1, 201, 11)
    assert reason in rejected.first[0].reason


def test_mixed_types_in_json_are_text(tmp_path: Path) -> None:
    rows = [{**row, "item": [k, float(k), str(k)][k % 3]} for k, row in enumerate(JSON_ROWS)]
    content = "\n".join(map(json.dumps, rows)).encode()
    data, rejected = loaded(tmp_path, content, "in.jsonl")
    assert rejected.rows == 0
    assert set(data.values("item_id").to_pylist()) <= {str(k) for k in range(200)}


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


FILES: dict[str, tuple[str, bytes | None, str]] = {
    "no file": ("in.parquet", None, "no such file"),
    "empty": ("in.csv", b"", "is empty"),
    "only a mark": ("in.csv", b"\xef\xbb\xbf", "is empty"),
    "empty Parquet": ("in.parquet", b"", "is empty"),
    "wrong magic": ("in.parquet", b"PK\x03\x04" * 50, "no whole Parquet file"),
    "Parquet as CSV": ("in.csv", b"PAR1" + b"x" * 50, "is a Parquet file"),
    "UTF-16": ("in.csv", csv_of().decode().encode("utf-16"), "is UTF-16"),
    "header only": ("in.csv", HEADER.encode(), "no rows"),
    "missing column": ("in.csv", csv_of(header=HEADER.replace("brand", "b")), "no column 'brand'"),
    "column twice": ("in.csv", csv_of(header=HEADER.replace("at", "item")), "'item' is there 2"),
    "column in two cases": (
        "in.csv",
        "\n".join([HEADER + ",ITEM", *(f"{row},1" for row in GOOD)]).encode(),
        "'item' is there 2 times",
    ),
    "JSON array": ("in.jsonl", json.dumps(JSON_ROWS).encode(), "is a JSON array"),
    "gzip cut": ("in.csv.gz", truncated(gzip.compress(csv_of())), "cannot be read"),
    "no gzip": ("in.csv.gz", csv_of(), "cannot be read"),
    "unknown suffix": ("in.xlsx", b"x", "unknown suffix '.xlsx'"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, case: str) -> None:
    name, content, reason = FILES[case]
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    message = refused(lambda: prepare(config(file, features=IDS), tmp_path / "out"))
    assert str(file) in message
    assert reason in message
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ([name] if content is not None else [])


def test_a_parquet_file_cut_anywhere_is_named(tmp_path: Path) -> None:
    whole = write(raw(), tmp_path / "whole.parquet").read_bytes()
    file = tmp_path / "cut.parquet"
    for sixteenth in range(16):
        file.write_bytes(whole[: len(whole) * sixteenth // 16])
        message = refused(lambda: prepare(config(file), tmp_path / "out"))
        assert "cut.parquet" in message


def test_garbled_pages_are_named(tmp_path: Path) -> None:
    file = write(raw(), tmp_path / "in.parquet")
    content = bytearray(file.read_bytes())
    content[8:400] = bytes(reversed(content[8:400]))
    file.write_bytes(content)
    assert "in.parquet" in refused(lambda: prepare(config(file), tmp_path / "out"))


def test_a_glob_without_match_and_a_folder_are_named(tmp_path: Path) -> None:
    assert "no file matches" in refused(
        lambda: prepare(config(tmp_path / "*.csv"), tmp_path / "out")
    )
    assert "is a folder" in refused(lambda: prepare(config(tmp_path), tmp_path / "out"))


COLUMN_TYPES: dict[str, tuple[str, pa.Array, str]] = {
    "nested id": ("item", pa.array([[1]] * 400), "'item' is of type list"),
    "struct id": ("item", pa.array([{"a": 1}] * 400), "'item' is of type struct"),
    "binary id": ("item", pa.array([b"\xff"] * 400), "'item' is of type binary"),
    "fractions as ids": ("item", pa.array([1.5] * 400), "item is a number with a fraction"),
    "all null": ("item", pa.nulls(400), "item is missing"),
    "no labels": ("bought", pa.nulls(400, pa.int8()), "bought is not 0 or 1"),
    "label as date": ("bought", pa.array(np.arange(400)).cast(pa.timestamp("s")), "'bought' is of"),
    "time of day": ("at", pa.array(range(400), pa.time32("s")), "'at' is of type time32"),
}


@pytest.mark.parametrize("case", COLUMN_TYPES)
def test_a_column_of_a_wrong_type_is_named(tmp_path: Path, case: str) -> None:
    column, values, reason = COLUMN_TYPES[case]
    file = write(raw(**{column: values}), tmp_path / "in.parquet")
    message = refused(lambda: prepare(config(file), tmp_path / "out"))
    assert reason in message
    assert "in.parquet" in message


def test_parquet_twins_of_a_column_are_refused(tmp_path: Path) -> None:
    table = raw()
    table = table.append_column("item", table["item"])
    pq.write_table(table, tmp_path / "in.parquet")
    message = refused(lambda: prepare(config(tmp_path / "in.parquet"), tmp_path / "out"))
    assert "'item' is there 2 times" in message


def test_text_that_is_no_utf8_in_parquet_is_named(tmp_path: Path) -> None:
    buffers = pa.array([b"\xff\xfe"] * 400, pa.binary()).buffers()
    write(raw(brand=pa.Array.from_buffers(pa.string(), 400, buffers)), tmp_path / "in.parquet")
    message = refused(lambda: prepare(config(tmp_path / "in.parquet"), tmp_path / "out"))
    assert "in.parquet" in message
    assert "UTF8" in message


def test_other_columns_may_have_any_name_but_the_engines(tmp_path: Path) -> None:
    table = raw(filename=np.arange(400), Filename_2=np.arange(400))
    prepare(config(write(table, tmp_path / "in.parquet")), tmp_path / "out")
    write(raw(file_row_number=np.arange(400)), tmp_path / "in.parquet")
    message = refused(lambda: prepare(config(tmp_path / "in.parquet"), tmp_path / "out"))
    assert "column 'file_row_number' is the engine's own name" in message


@pytest.mark.parametrize("kind", ["dictionary", "large", "narrow", "float", "bool label", "text"])
def test_other_types_of_the_same_values_give_the_same_bytes(tmp_path: Path, kind: str) -> None:
    table = raw()
    changed = {
        "dictionary": {"shop": table["shop"].dictionary_encode()},
        "large": {"shop": table["shop"].cast(pa.large_string())},
        "narrow": {"item": table["item"].cast(pa.uint8()), "at": table["at"].cast(pa.int16())},
        "float": {
            "item": table["item"].cast(pa.float32()),
            "bought": table["bought"].cast("float"),
        },
        "bool label": {"bought": table["bought"].cast(pa.bool_())},
        "text": {name: table[name].cast(pa.string()) for name in ("user", "item", "bought", "at")},
    }[kind]
    plain = prepare(config(write(table, tmp_path / "a.parquet")), tmp_path / "a")
    other = prepare(config(write(raw(**changed), tmp_path / "b.parquet")), tmp_path / "b")
    assert plain.manifest.files == other.manifest.files


def test_too_many_bad_rows_stop(tmp_path: Path) -> None:
    labels = np.where(np.arange(400) < 5, 7, np.arange(400) % 2)
    file = write(raw(bought=labels), tmp_path / "in.parquet")
    message = refused(lambda: prepare(config(file), tmp_path / "out"))
    assert "5 of 400 rows" in message
    assert "row 1: bought is not 0 or 1" in message
    data = prepare(config(file, max_rejected=0.02), tmp_path / "out")
    assert data.manifest.rejected.reasons == {"bought is not 0 or 1": 5}
    assert [bad.row for bad in data.manifest.rejected.first] == [1, 2, 3, 4, 5]
