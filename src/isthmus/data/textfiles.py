"""CSV and JSONL into Parquet, every value as text: exact about which line is at fault and why."""

import csv
import gzip
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from isthmus.errors import DataError

LINE = "line"
"""The staged column that holds the line, from 1, on which a row ended."""

LONGEST_FIELD = 1 << 20
_BATCH = 50_000
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
TEXT_SUFFIXES = (*_DELIMITERS, ".jsonl", ".ndjson", ".json")


@dataclass(frozen=True, slots=True)
class BadRow:
    """Lines that could not be read: where they end, how many they are, and why."""

    line: int
    reason: str
    lines: int = 1


Row = tuple[int, Sequence[str | None]]


def kind_of(file: Path) -> str:
    """The suffix that decides the format, in lower case, ``.gz`` aside."""
    suffixes = [suffix.lower() for suffix in file.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def stage_text(file: Path, columns: Sequence[str], out: Path) -> list[BadRow]:
    """Write the named columns of a CSV or JSONL file as Parquet text columns, and ``LINE``.

    Returns:
        the lines that are not in ``out``.

    Raises:
        DataError: the file is empty, no text, or lacks a column.
    """
    _check_start(file)
    bad: list[BadRow] = []
    schema = pa.schema([(f"c{i}", pa.string()) for i in range(len(columns))] + [(LINE, pa.int64())])
    try:
        with _open(file) as stream, pq.ParquetWriter(out, schema, compression="lz4") as writer:
            read = _csv_rows if kind_of(file) in _DELIMITERS else _json_rows
            for rows in _batched(read(file, stream, columns, bad)):
                writer.write_table(_table(rows, schema, bad))
    except (OSError, EOFError) as error:
        raise DataError(f"{file}: cannot be read: {error}") from None
    return bad


def _open(file: Path) -> IO[str]:
    """Text in which bytes that are not UTF-8 survive as surrogates, to be found later."""
    return TextIOWrapper(_bytes(file), "utf-8-sig", "surrogateescape", newline="")


def _bytes(file: Path) -> IO[bytes]:
    compressed = file.suffix.lower() == ".gz"
    return cast(IO[bytes], gzip.open(file)) if compressed else file.open("rb")


def _check_start(file: Path) -> None:
    try:
        with _bytes(file) as stream:
            start = stream.read(64)
    except (OSError, EOFError) as error:
        raise DataError(f"{file}: cannot be read: {error}") from None
    if not start.removeprefix(b"\xef\xbb\xbf").strip():
        raise DataError(f"{file}: is empty; expected a {kind_of(file)[1:].upper()} file with rows")
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f"{file}: is UTF-16; save it as UTF-8")
    if start[:4] == b"PAR1":
        raise DataError(f"{file}: is a Parquet file; give it the suffix .parquet")


def _csv_rows(
    file: Path, stream: IO[str], columns: Sequence[str], bad: list[BadRow]
) -> Iterator[Row]:
    csv.field_size_limit(LONGEST_FIELD)
    reader = csv.reader(stream, delimiter=_DELIMITERS[kind_of(file)], strict=True)
    try:
        header = next(reader)
    except csv.Error as error:
        raise DataError(f"{file}: its header line cannot be read ({error})") from None
    check_names(file, header, columns)
    places = [header.index(column) for column in columns]
    last = reader.line_num
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            bad.append(BadRow(reader.line_num, _csv_reason(error), reader.line_num - last))
            last = reader.line_num
            continue
        if row is None:
            return
        last = reader.line_num
        if len(row) == len(header):
            yield last, [row[place] or None for place in places]
        elif row:
            bad.append(BadRow(last, f"{len(row)} fields where the header has {len(header)}"))


def _csv_reason(error: csv.Error) -> str:
    if "field limit" in str(error):
        return "a field of more than 1 MB"
    return "quotes that do not match" if "NUL" not in str(error) else "a NUL character"


def check_names(file: Path, found: Sequence[str], columns: Sequence[str]) -> None:
    """Every wanted column is there, once.

    Raises:
        DataError: naming the file and the column.
    """
    lower = [name.lower() for name in found]
    for column in columns:
        if column not in found:
            names = ", ".join(map(repr, found[:30]))
            raise DataError(f"{file}: has no column {column!r}; it has {names or 'none'}")
        if lower.count(column.lower()) > 1:
            raise DataError(
                f"{file}: column {column!r} is there {lower.count(column.lower())} times "
                f"(upper and lower case count as the same); keep one"
            )


def _json_rows(
    file: Path, stream: IO[str], columns: Sequence[str], bad: list[BadRow]
) -> Iterator[Row]:
    seen: set[str] = set()
    for number, line in enumerate(stream, 1):
        if number == 1 and line.lstrip().startswith("["):
            raise DataError(f"{file}: is a JSON array; expected one JSON object a line (JSONL)")
        if not line.strip():
            continue
        try:
            if len(line) > 4 * LONGEST_FIELD:
                raise ValueError("a line of more than 4 MB")
            values = json.loads(line, object_pairs_hook=_no_twins)
            if not isinstance(values, dict):
                raise ValueError("no JSON object")
            row = [_text(values.get(column)) for column in columns]
        except (ValueError, RecursionError) as error:
            reason = str(error) if type(error) is ValueError else "not valid JSON"
            bad.append(BadRow(number, reason))
            continue
        seen.update(values)
        yield number, row
    missing = [column for column in columns if column not in seen]
    if missing and seen:
        check_names(file, sorted(seen), missing)


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key that is there twice")
    return values


def _text(value: object) -> str | None:
    """A JSON value as the text that a CSV would hold; lists as ``a|b``."""
    match value:
        case None | "":
            return None
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case float() if math.isfinite(value) and value.is_integer() and abs(value) < 2**63:
            return str(int(value))
        case int() | float():
            return str(value)
        case list():
            parts = [_text(part) or "" for part in value if not isinstance(part, list)]
            if len(parts) < len(value) or any(set(part) & set(',|[]"') for part in parts):
                raise ValueError('a list whose values are nested or contain one of , | [ ] "')
            return "[" + "|".join(parts) + "]"
    raise ValueError("a nested value")


def _batched(rows: Iterable[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += sum(map(len, filter(None, row[1])))
        if len(batch) >= _BATCH or size > 1 << 26:
            yield batch
            batch, size = [], 0
    yield batch


def _table(rows: list[Row], schema: pa.Schema, bad: list[BadRow]) -> pa.Table:
    """The rows as columns; those with bytes that are no text go to ``bad``."""
    try:
        return _columns(rows, schema)
    except ValueError:
        good = []
        for row in rows:
            text = "".join(filter(None, row[1]))
            if "\0" in text:
                bad.append(BadRow(row[0], "a NUL character"))
            elif any("\ud800" <= letter <= "\udfff" for letter in text):
                bad.append(BadRow(row[0], "bytes that are not UTF-8"))
            else:
                good.append(row)
        return _columns(good, schema)


def _columns(rows: list[Row], schema: pa.Schema) -> pa.Table:
    values = list(zip(*(row[1] for row in rows), strict=True)) or [()] * (len(schema) - 1)
    columns = [pa.array(column, pa.string()) for column in values]
    if any(pc.any(pc.match_substring(column, "\0")).as_py() for column in columns):
        raise ValueError("a NUL character")
    return pa.table([*columns, pa.array([row[0] for row in rows], pa.int64())], schema=schema)
