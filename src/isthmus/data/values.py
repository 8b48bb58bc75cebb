"""What a raw value means: one canonical form an id, number, label or time, whatever the file said.

Every rule is here once as an Ibis expression; ``canonical_text`` is its counterpart for the rows
that are encoded at scoring time.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import ibis
import ibis.expr.datatypes as dt
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from isthmus.data.engine import Table
from isthmus.errors import DataError

EARLIEST, LATEST = -2_208_988_800, 7_258_118_400
"""Dates from 1900 to 2199, in seconds since 1970: what lies outside is a slip or a place holder."""

_INT, _EXACT = 2.0**63, 2**53
_BRACKETS, _BETWEEN, _QUOTES = r"^\[|\]$", r"[ \t\r\n]*[,|][ \t\r\n]*", "[\"']"
_SPACE = " \t\n\r\v\f"  # what Ibis strips


@dataclass(frozen=True, slots=True)
class Parsed:
    """A canonical column, and for each row the reason why its value is bad (null: it is not)."""

    value: Table
    reason: Table


def _none() -> Table:
    return ibis.null("string")


def _bad_if(condition: Table, reason: str) -> Table:
    return ibis.ifelse(condition, reason, _none())


def id_text(column: Table, name: str, *, required: bool) -> Parsed:
    """Ids are text: integers in digits, whole floats as integers, empty text is missing."""
    kind = column.type()
    reason = _none()
    if kind.is_floating():
        whole = column.cast("float64").try_cast("int64")
        same = (whole.cast("float64") == column.cast("float64")).fill_null(False)
        value = ibis.ifelse(same, whole, ibis.null("int64")).cast("string")
        missing = column.isnull() | column.isnan()
        reason = _bad_if(~missing & ~same, f"{name} is a number with a fraction")
    else:
        value = column.cast("string").nullif("")
    if required:
        reason = ibis.coalesce(reason, _bad_if(value.isnull(), f"{name} is missing"))
    return Parsed(value, reason)


def number(column: Table, name: str) -> Parsed:
    """Numbers are float64; NaN and infinity are missing."""
    kind = column.type()
    reason = _none()
    if kind.is_string():
        text = column.strip().nullif("")
        value = text.try_cast("float64")
        reason = _bad_if(text.notnull() & value.isnull(), f"{name} is not a number")
    else:
        value = column.cast("float64")
    finite = value.notnull() & ~value.isnan() & ~value.isinf()
    return Parsed(ibis.ifelse(finite, value, ibis.null("float64")), reason)


def label(column: Table, name: str) -> Parsed:
    """Labels are 0 or 1, as bool, int, float or text."""
    kind = column.type()
    if kind.is_string():
        text = column.strip().lower()
        value = text.cases(("true", 1.0), ("false", 0.0), else_=text.try_cast("float64"))
    elif kind.is_boolean():
        value = column.cast("int8").cast("float64")
    else:
        value = column.cast("float64")
    good = (value == 0.0) | (value == 1.0)
    good = good.fill_null(False)
    value = ibis.ifelse(good, value, ibis.null("float64")).cast("int8")
    return Parsed(value, _bad_if(~good, f"{name} is not 0 or 1"))


def time(column: Table, name: str) -> Parsed:
    """Times are whole seconds since 1970 UTC, from numbers (floored), dates and ISO texts."""
    kind = column.type()
    if kind.is_string():
        text = column.strip().nullif("")
        digits = ibis.ifelse(text.re_search(r"^[+-]?[0-9]+$"), text, _none())
        numeric = ibis.coalesce(digits.try_cast("int64"), _floored(text.try_cast("float64")))
        dated = _seconds(text.try_cast(dt.Timestamp("UTC")).cast("timestamp"))
        value = ibis.coalesce(numeric, _plausible(dated))
        missing = text.isnull()
    else:
        if kind.is_temporal():
            value = _plausible(_seconds(column.cast("timestamp")))
        elif kind.is_integer():
            value = column.try_cast("int64")
        else:
            value = _floored(column.cast("float64"))
        missing = column.isnull()
    value = ibis.ifelse(value.between(-_EXACT, _EXACT), value, ibis.null("int64"))
    reason = ibis.cases(
        (missing, f"{name} is missing"),
        (value.isnull(), f"{name} is no number of seconds and no date from 1900 to 2199"),
        else_=_none(),
    )
    return Parsed(value, reason)


def _floored(value: Table) -> Table:
    """Down to whole numbers, null where there is none; engines differ in how a cast rounds."""
    rounded = value.try_cast("int64")
    return rounded - (rounded.cast("float64") > value).cast("int64")


def _seconds(stamp: Table) -> Table:
    days = stamp.date().delta(ibis.date("1970-01-01"), unit="day").cast("int64")
    parts = ((days, 86_400), (stamp.hour(), 3600), (stamp.minute(), 60), (stamp.second(), 1))
    return sum((part.cast("int64") * seconds for part, seconds in parts), ibis.literal(0, "int64"))


def _plausible(seconds: Table) -> Table:
    return ibis.ifelse(seconds.between(EARLIEST, LATEST - 1), seconds, ibis.null("int64"))


def id_list(column: Table, name: str) -> Parsed:
    """A ready-made history: a list, or text such as ``[1, 2]`` or ``1|2|3``; empty is no history."""
    kind = column.type()
    if not kind.is_array():
        text = column.cast("string").strip().re_replace(_BRACKETS, "")
        text = text.re_replace(_BETWEEN, "|").re_replace(_QUOTES, "").strip()
        parts = ibis.ifelse(text == "", ibis.literal([], "array<string>"), text.split("|"))
    else:
        parts = column.map(lambda part: id_text(part, name, required=False).value)
    return Parsed(ibis.coalesce(parts, ibis.literal([], "array<string>")), _none())


def parse_list(text: str | None) -> list[str]:
    """What ``id_list`` makes of a text."""
    text = re.sub(_BRACKETS, "", (text or "").strip(_SPACE))
    text = re.sub(_QUOTES, "", re.sub(_BETWEEN, "|", text)).strip(_SPACE)
    return text.split("|") if text else []


PARSERS: dict[str, Callable[[Table, str], Parsed]] = {
    "key": lambda column, name: id_text(column, name, required=True),
    "id": lambda column, name: id_text(column, name, required=False),
    "number": number,
    "label": label,
    "time": time,
    "list": id_list,
}
"""The canonical form for each use of a raw column; a ``key`` is an id that must be there."""


def _unwrap(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_id(kind: pa.DataType) -> bool:
    t = pa.types
    return bool(
        t.is_integer(kind) or t.is_floating(kind) or t.is_boolean(kind)
        or t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind) or t.is_null(kind)
    )  # fmt: skip


def _is_list(kind: pa.DataType) -> bool:
    t = pa.types
    return bool(t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind))


def fits(use: str, kind: pa.DataType) -> bool:
    """Whether a column of this type can be used so."""
    kind = _unwrap(kind)
    if use == "time":
        return _is_id(kind) or bool(pa.types.is_temporal(kind) and not pa.types.is_time(kind))
    if use == "list":
        inner = _unwrap(kind.value_type) if _is_list(kind) else None
        return _is_id(inner) if inner is not None else _is_id(kind)
    return _is_id(kind) or (use == "number" and bool(pa.types.is_decimal(kind)))


def canonical_text(column: pa.Array | pa.ChunkedArray, name: str) -> pa.Array:
    """Raw ids as canonical text, null where missing or a number with a fraction.

    Raises:
        DataError: the column holds no ids.
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    kind = _unwrap(column.type)
    if not _is_id(kind):
        raise DataError(f"column {name!r} is of type {kind}; ids are text or whole numbers")
    column = column.cast(kind)
    if pa.types.is_null(kind):
        return column.cast(pa.string())
    if pa.types.is_floating(kind):
        whole = np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False))
        with np.errstate(invalid="ignore"):
            good = (whole == np.floor(whole)) & (np.abs(whole) < _INT)
        whole = np.where(good, whole, 0).astype(np.int64)
        return pa.array(whole, mask=~good).cast(pa.string())
    text = column.cast(pa.string())
    return pc.if_else(pc.equal(text, ""), None, text)
