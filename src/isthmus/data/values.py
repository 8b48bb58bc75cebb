"""What a raw value means: one canonical form an id, number, label or time, whatever the file said.

Every rule is here once as an Ibis expression; ``canonical_text`` is its counterpart for the rows
that are encoded at scoring time. What engines read differently (which texts are numbers or dates,
what is infinite, how ``$`` or a separator is meant) is said by the expressions, never left to them.
"""

import re
import sys
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

_INT, _EXACT, _FINITE = 2.0**63, 2**53, sys.float_info.max
_BRACKETS, _BETWEEN, _QUOTES = r"^\[|\]$", r"[ \t\r\n]*[,|][ \t\r\n]*", "[\"']"
_LAST_BRACKET = r"^\[|\]\z"  # engines' ``$`` may mean more line ends than Python's
_DIGITS, _NUMBER = r"^[+-]?[0-9]+\z", r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\z"
_NO_NUMBER = r"^[+-]?(nan|inf|infinity)\z"
_DATE = (
    r"^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([T ]([01]?[0-9]|2[0-3]):[0-9]{1,2}(:[0-9]{1,2}(\.[0-9]+)?)?"
    r"(Z| ?UTC|[+-](0[0-9]|1[0-7])(:?[0-5][0-9])?)?)?\z"
)
_SPACE = " \t\n\r\v\f"  # what Ibis strips


@dataclass(frozen=True, slots=True)
class Parsed:
    """A canonical column, and for each row the reason why its value is bad (null: it is not)."""

    value: Table
    reason: Table


def _none() -> Table:
    return ibis.null("string")


def exact(value: float) -> Table:
    """A float64 literal. As text: DuckDB reads a number that is written out as a decimal, whose
    double may be the next one."""
    return ibis.literal(repr(value)).cast("float64")


def _where(condition: Table, value: Table) -> Table:
    """The value where the condition holds, else null."""
    return ibis.ifelse(condition.fill_null(False), value, ibis.null(value.type()))


def _below(value: Table, bound: float) -> Table:
    """Whether it is a number less than the bound, rising or falling; not for null and NaN."""
    return (value.abs() < exact(bound)).fill_null(False)


def _float(text: Table) -> Table:
    """The number of a text; null for words such as nan, and where it is no number."""
    return _where(text.re_search(_NUMBER), text).try_cast("float64")


def _bad_if(condition: Table, reason: str) -> Table:
    return ibis.ifelse(condition, reason, _none())


def id_text(column: Table, name: str, *, required: bool) -> Parsed:
    """Ids are text: integers in digits, whole floats as integers, empty text is missing."""
    kind = column.type()
    reason = _none()
    if kind.is_floating():
        wide = column.cast("float64")
        whole = _where(_below(wide, _INT), wide).try_cast("int64")
        same = (whole.cast("float64") == wide).fill_null(False)
        value = _where(same, whole).cast("string")
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
        known = text.re_search(_NUMBER) | text.lower().re_search(_NO_NUMBER)
        reason = _bad_if(~known, f"{name} is not a number")
        value = _float(text)
    else:
        value = column.cast("float64")
    value = _where(_below(value, _FINITE) | (value.abs() == exact(_FINITE)), value)
    return Parsed(ibis.ifelse(value == 0, exact(0.0), value), reason)  # -0.0 is 0.0


def label(column: Table, name: str) -> Parsed:
    """Labels are 0 or 1, as bool, int, float or text."""
    kind = column.type()
    if kind.is_string():
        text = column.strip().lower()
        value = text.cases(("true", 1.0), ("false", 0.0), else_=_float(text))
    elif kind.is_boolean():
        value = column.cast("int8").cast("float64")
    else:
        value = column.cast("float64")
    good = (value == 0.0) | (value == 1.0)
    good = good.fill_null(False)
    value = _where(good, value).cast("int8")
    return Parsed(value, _bad_if(~good, f"{name} is not 0 or 1"))


def time(column: Table, name: str) -> Parsed:
    """Times are whole seconds since 1970 UTC, from numbers (floored), dates and ISO texts."""
    kind = column.type()
    if kind.is_string():
        text = column.strip().nullif("")
        digits = _where(text.re_search(_DIGITS), text)
        numeric = ibis.coalesce(digits.try_cast("int64"), _floored(_float(text)))
        iso = text.replace("/", "-")
        iso = _where(iso.re_search(_DATE), iso).try_cast(dt.Timestamp("UTC"))
        value = ibis.coalesce(numeric, _plausible(_seconds(iso.cast("timestamp"))))
        missing = text.isnull()
    else:
        if kind.is_temporal():
            value = _plausible(_seconds(column.cast("timestamp")))
        elif kind.is_floating():
            value = _floored(column.cast("float64"))
        else:
            value = column.try_cast("int64")
        missing = column.isnull() | column.isnan() if kind.is_floating() else column.isnull()
    value = _where(value.between(-_EXACT, _EXACT), value)
    reason = ibis.cases(
        (missing, f"{name} is missing"),
        (value.isnull(), f"{name} is no number of seconds and no date from 1900 to 2199"),
        else_=_none(),
    )
    return Parsed(value, reason)


def _floored(value: Table) -> Table:
    """Down to whole numbers, null where there is none; engines differ in how a cast rounds."""
    rounded = _where(_below(value, _INT), value).try_cast("int64")
    return rounded - (rounded.cast("float64") > value).cast("int64")


def _seconds(stamp: Table) -> Table:
    days = stamp.date().delta(ibis.date("1970-01-01"), unit="day").cast("int64")
    parts = ((days, 86_400), (stamp.hour(), 3600), (stamp.minute(), 60), (stamp.second(), 1))
    return sum((part.cast("int64") * seconds for part, seconds in parts), ibis.literal(0, "int64"))


def _plausible(seconds: Table) -> Table:
    return _where(seconds.between(EARLIEST, LATEST - 1), seconds)


def id_list(column: Table, name: str) -> Parsed:
    """A ready-made history: a list, or text such as ``[1, 2]`` or ``1|2|3``; empty is no history."""
    kind = column.type()
    if not kind.is_array():
        text = id_text(column, name, required=False).value.strip().re_replace(_LAST_BRACKET, "")
        text = text.re_replace(_BETWEEN, ",").re_replace(_QUOTES, "").strip()
        # a comma means itself in a regular expression, too, which some engines split by
        parts = ibis.ifelse(text == "", ibis.literal([], "array<string>"), text.split(","))
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
