"""Which rows train, which choose, which judge: by time, by a column, or by user."""

from datetime import UTC, datetime
from itertools import product

import ibis

from isthmus.data.config import Split
from isthmus.data.engine import Engine, Table
from isthmus.errors import DataError

SPLITS = ("train", "valid", "test")
"""Split names; a row's ``split`` is the place in here."""

_NEAR = 3


def by_time(engine: Engine, times: Table, fractions: tuple[float, float, float]) -> tuple[int, int]:
    """The two times from which on rows are valid, and test.

    Rows of equal time are never parted, so a cut lies at the distinct time whose share of earlier
    rows comes nearest to the fraction asked for.

    Args:
        times: columns ``value`` (a distinct time) and ``n`` (its rows).

    Raises:
        DataError: too few distinct times for the splits asked for.
    """
    running = times.n.sum().over(ibis.cumulative_window(order_by=times.value))
    starts = engine.keep(times.select("value", before=running - times.n))
    summary = engine.one(times.agg(rows=times.n.sum(), last=times.value.max()))
    wanted = [fractions[0] * summary["rows"], (fractions[0] + fractions[1]) * summary["rows"]]
    end = (summary["last"] + 1, summary["rows"])
    first = _near(engine, starts, wanted[0]) if sum(fractions[1:]) > 0 else [end]
    second = _near(engine, starts, wanted[1]) if fractions[2] > 0 else [end]
    pairs = [
        (abs(a[1] - wanted[0]) + abs(b[1] - wanted[1]), a, b)
        for a, b in product(first, second)
        if (a[1] < b[1] if fractions[1] > 0 else a[1] == b[1])
    ]
    if not pairs:
        raise DataError(
            "too few distinct times to part the rows by time: rows of equal time stay together; "
            'use split.by = "user" or a column'
        )
    _, a, b = min(pairs)
    return a[0], b[0]


def _near(engine: Engine, starts: Table, wanted: float) -> list[tuple[int, int]]:
    """The few (time, earlier rows) about the wanted count of earlier rows, which is not 0."""
    below = starts.filter((starts.before <= wanted) & (starts.before > 0))
    above = starts.filter((starts.before > wanted) & (starts.before > 0))
    near = [
        engine.arrow(part.order_by(order).limit(_NEAR)).to_pylist()
        for part, order in ((below, ibis.desc("before")), (above, ibis.asc("before")))
    ]
    return [(row["value"], row["before"]) for rows in near for row in rows]


def time_code(time: Table, cuts: tuple[int, int]) -> Table:
    """0, 1 or 2 for a row's time."""
    return (time >= cuts[0]).cast("int8") + (time >= cuts[1]).cast("int8")


def user_code(user: Table, split: Split) -> Table:
    """0, 1 or 2 for a user, by a hash that any engine computes alike."""
    digest = (user + ibis.literal(f"\n{split.seed}")).hexdigest("md5").substr(0, 12)
    bounds = (split.fractions[0], split.fractions[0] + split.fractions[1])
    # a bound of 1 becomes a digit too many, beyond every digest
    texts = [f"{round(bound * 16**12):012x}" if bound < 1 - 1e-9 else "g" for bound in bounds]
    return (digest >= texts[0]).cast("int8") + (digest >= texts[1]).cast("int8")


def column_code(engine: Engine, column: Table, split: Split, rows: Table) -> Table:
    """0, 1 or 2 for the value of the split column.

    Raises:
        DataError: the column holds something else than the three values.
    """
    values = split.values or SPLITS
    found = {row["value"] for row in _few_values(engine, column, rows)}
    if not found <= set(values):
        shown = ", ".join(repr(value) for value in sorted(found)[:8])
        raise DataError(
            f"split column {split.column!r} holds {shown}; expected only {list(values)} for train, "
            f"valid and test (say which with split.values)"
        )
    code = ibis.cases(*((column == value, place) for place, value in enumerate(values)))
    return code.cast("int8")


def _few_values(engine: Engine, column: Table, rows: Table) -> list[dict[str, str]]:
    few: list[dict[str, str]] = engine.arrow(
        rows.select(value=column).distinct().limit(9)
    ).to_pylist()
    return few


def protocol(split: Split, cuts: tuple[int, int] | None) -> str:
    """The way of the split in words, for manifests and reports."""
    if split.by == "time" and cuts is not None:
        return protocol_by_time(cuts)
    if split.by == "user":
        return f"by user: all rows of a user in one split, seed {split.seed}"
    return f"by column {split.column!r}: {', '.join(split.values or SPLITS)}"


def protocol_by_time(cuts: tuple[int, int]) -> str:
    """A split by time in words."""
    a, b = (_date(cut) for cut in cuts)
    return f"by time: train before {a}, valid before {b}, test from then on"


def _date(seconds: int) -> str:
    """Dates for what looks like one (from 1971 on), the number otherwise."""
    if not 31_536_000 <= seconds < 7_258_118_400:
        return str(seconds)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
