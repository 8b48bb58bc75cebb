"""Odd raw values: what engines are known to read differently, by type; and rows that hold them."""

import numpy as np
import pyarrow as pa

from tests.data.raw import raw

_NUMBERS = """0|-1|9223372036854775807|9223372036854775808|9007199254740993|+5|1.|1.5|.5|-.5|1e5
1E-3|1e999|-1e999|1e-400|nan|NaN|-nan|inf|+inf|-Infinity|infinity|1d|1f|1.0D|0x10|0x1p3|1_000|1,5
１２|00|01|1.0|2|0.0|-0.0|-0|1e18|1.7976931348623157e308|4.9e-324|2.4703282292062327e-324|1e|e5|+|-
--1|1 2|true| TRUE |False|t|f|yes|T|much"""
_TIMES = """1500000000|-5|1500000000.9|-1500000000.9|2020-01-01|2020-1-5|2020/01/05|20200105|2020
2020-01|2020-13-01|2020-02-30|2020-02-29|1900-02-29|2020-01-01T02:00:00+02:00
2020-01-01T02:00:00+0200|2020-01-01T02:00:00+02|2020-01-01T02:00:00-05:30|2020-01-01T02:00:00 +02:00
2020-01-01T02:00:00Z|2020-01-01T02:00:00z|2020-01-01 02:00:00 UTC|2020-01-01 02:00:00 PST
2020-01-01 02:00:00 America/New_York|2040-01-01 00:00:00Z|1969-12-31T23:59:59.5|10000-01-01
2020-01-01T23:59:59.9999999|0001-01-01|9999-12-31|2020-01-01T24:00:00|2020-01-01T23:60:00
2020-01-01T23:59:60|2020-01-01 10:11|2020-01-01 10|2020-01-01 1:2:3|2020-01-01T10:11:12,5
2020-01-01t10:11:12|2020-01-01  10:11:12|2020-01-01T10:11:12.|2020-01-01T|T10:11|10:11:12|epoch
-infinity|now|today|2020-01-01 10:11:12 PM|Jan 1 2020|01-02-2020|1-1-1|-2020-01-01|+2020-01-01
2020-01-01 (BC)|2020-01-01T10:11:12+25:00|2020-01-01T10:11:12+14:00|2020-01-01T10:11:12-18:00
2020-01-01T10:11:12+15:59|2020-01-01T10:11:12+02:75|1900-01-01|1899-12-31T23:59:59|2200-01-01
2199-12-31T23:59:59|1899-12-31T23:00:00-01:00|2020-01-01+02:00|2020-01-01Z|9007199254740992
-9007199254740993|1e10|１５|2020-01-01T10:11:12GMT|2020-01-01T10:11:12 GMT+2|1600000000\u2028"""
_LISTS = ["[1, 2]", "1|2|3", "[]", "['a', 'b']", ' ["x" ,"y"] ', "a b|c", "[0]", "|", "||", "a||b"]
_LISTS += [",", ",,", "a,", "[a", "a]", "[a,a]", "[[a]]", "]a[", "[ ]", "' '", "a|\u2028", "a.b"]
_LISTS += ["[1]\u2028", "\u2028]", "a\\|b", "[1]\n", "a;b", "\x0b1\x0c", "1 |\x0b2", "[1\u00a0,2]"]
_TEXTS = [
    "",
    " ",
    "\t\n",
    " 7 ",
    "12\x0b",
    "12\u2028",
    "\u00a012",
    "a\x0bb",
    "ü",
    "日本",
    "🛒",
    "ﬁ",
]
_TEXTS += ["A\u0301", "İ", "ſ", "a'b", 'a"b', "a\\b", "\\n", "a\nb", "%", "_", "`", "$x", "a\0b"]


def texts() -> list[str]:
    split = [part for text in (_NUMBERS, _TIMES) for part in text.replace("\n", "|").split("|")]
    return [*split, *_LISTS, *_TEXTS]


ROWS = len(texts()) + 1


def columns() -> dict[str, pa.Array]:
    """Columns of one length, of every type that a raw column can have."""
    nan, inf = float("nan"), float("inf")
    floats = [1.0, 1.5, nan, inf, -inf, -0.0, 0.0, 1e15, 1e16, 1e300, -1.5, -0.5, 2.5, 0.1, 5e-324]
    floats += [2.0**53, 2.0**63, -(2.0**63), 9.3e18, 1.7976931348623157e308]
    stamps = [0, -1, -500, -999, -1_000_000_001, 1_577_836_800]
    found = {
        "text": pa.array([*texts(), None]),
        "large": pa.array(["x", None, ""], pa.large_string()),
        "dictionary": pa.array(["x", None, "y", "x", ""]).dictionary_encode(),
        "int64": pa.array([0, -1, 1, 2**63 - 1, -(2**63), 2**53, 2**53 + 1, -(2**53) - 1]),
        "int8": pa.array([0, 1, -128], pa.int8()),
        "int16": pa.array([1, -2], pa.int16()),
        "int32": pa.array([0, 1, -(2**31)], pa.int32()),
        "uint8": pa.array([0, 1, 255], pa.uint8()),
        "uint16": pa.array([0, 65535], pa.uint16()),
        "uint32": pa.array([0, 2**32 - 1], pa.uint32()),
        "uint64": pa.array([0, 1, 2**64 - 1, 2**53, 2**53 + 1, 2**63], pa.uint64()),
        "float64": pa.array(floats),
        "float32": pa.array([1.0, 1.5, nan, inf, 16777216.0, 0.1, -0.0], pa.float32()),
        "bool": pa.array([True, False]),
        "null": pa.array([None], pa.null()),
        "decimal": pa.array(["1.50", "-2.25"]).cast(pa.decimal128(10, 2)),
        "date32": pa.array([0, -1, 18262, -25567, -25568, 84005, 84006], pa.date32()),
        "date64": pa.array([0, 86_400_000], pa.date64()),
        "lists": pa.array([["a", "", None, " b"], [], None]),
        "large_lists": pa.array([["a", "", None], []], pa.large_list(pa.large_string())),
        "list_int": pa.array([[1, None, 2], [], None, [-1]], pa.list_(pa.int32())),
        "list_float": pa.array([[1.0, None, 2.5, nan, 1e15], []]),
        "list_bool": pa.array([[True, None], []]),
        "list_fixed": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(4.0)), 2),
        "list_unsigned": pa.array([[2**64 - 1, 1], None], pa.list_(pa.uint64())),
    }
    for unit in ("s", "ms", "us", "ns"):
        for zone in (None, "America/New_York"):
            late = [1_577_836_800_999_999] if unit in ("us", "ns") else []
            found[f"{unit}_{zone}"] = pa.array([*stamps, *late], pa.timestamp(unit, zone))
    return {name: _filled(column) for name, column in found.items()}


def _filled(column: pa.Array) -> pa.Array:
    return column.take(pa.array([*range(len(column)), *[None] * (ROWS - len(column))], pa.int64()))


def rows(count: int) -> pa.Table:
    """Rows of text as ``raw`` names them, of which some have odd and some have bad values."""
    draw = np.random.default_rng(4)
    plain = raw(count, seed=3)
    chosen = {
        "user": ["", " u", "ü", "日本", "İ", "a'b", "a\\b", "🛒", "u\u2028"],
        "item": [None, "01", "$x", "%", "a|b", "ﬁ"],
        "shop": ["<unknown>", "Ö", "", "rare"],
        "bought": ["true", " FALSE ", "1.0", "2", "yes", None],
        "at": ["7.9", " 8 ", "1970-01-01T00:00:09", "1970-01-01T02:00:10+02:00", "soon", None],
        "brand": ["", None, "b\tb", "`"],
        "price": ["nan", "-inf", "", "1e999", "-0.0", "0", "1d", "cheap"],
    }
    table = {
        name: _mixed(draw, plain[name].cast(pa.string()).to_pylist(), some)
        for name, some in chosen.items()
    }
    items = plain["item"].cast(pa.string()).to_pylist()
    table["seen"] = [f"[{a}, '{b}']" for a, b in zip(items, items[::-1], strict=True)]
    table["seen"][::7] = ["[]"] * len(table["seen"][::7])
    table["weight"] = [str(w) for w in draw.choice([-1.0, -0.0, 0.0, 0.1, 0.3], count)]
    made = pa.table({name: pa.array(column, pa.string()) for name, column in table.items()})
    return pa.concat_tables([made.slice(5), made.slice(0, 5)])


def _mixed(draw: np.random.Generator, usual: list[str], some: list[str | None]) -> list[str | None]:
    """Every tenth value or so is one of a few."""
    other = draw.integers(0, len(some), len(usual))
    return [
        some[k] if odd else value
        for value, k, odd in zip(usual, other, draw.random(len(usual)) < 0.04, strict=True)
    ]


def otherwise_typed(table: pa.Table) -> pa.Table:
    """The same rows where lists are lists and weights are numbers, in a dictionary and a float."""
    seen = [text.strip("[]").replace("'", "") for text in table["seen"].to_pylist()]
    lists = pa.array([text.split(", ") if text else [] for text in seen], pa.list_(pa.string()))
    weight = pa.array([float(text) for text in table["weight"].to_pylist()])
    brand = table["brand"].combine_chunks().dictionary_encode()
    for name, column in {"seen": lists, "weight": weight, "brand": brand}.items():
        table = table.set_column(table.column_names.index(name), name, column)
    return table
