"""What a user did before: lists of ids from strictly earlier rows, newest first.

No row sees itself or a row of equal time. The number of events before a row is a running count up
to its time less the count at its time; the list that ends with that event is then fetched by one
join, so the work grows as the rows do and never as their square.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import ibis

from isthmus.data.engine import Engine, Table

_JOINS = 8


@dataclass(frozen=True, slots=True)
class Collect:
    """Which earlier ids a history takes.

    Attributes:
        ids: the column that is collected.
        length: the newest so many.
        positives: only rows of label 1 (True), of label 0 (False), or all (None).
        window: only rows at most so many seconds back, if given.
    """

    ids: str
    length: int
    positives: bool | None = True
    window: int | None = None


def with_history(engine: Engine, rows: Table, collect: Collect, name: str) -> Table:
    """The rows with one more column: a list of at most ``length`` ids, newest first.

    Args:
        rows: columns ``user``, ``time``, ``label`` and ``collect.ids``.
    """
    counted = rows.mutate(__before=_events_before(rows, _chosen(rows, collect)))
    lists = engine.keep(_lists(engine.keep(_events(rows, collect)), collect))
    joined = counted.left_join(
        lists, [counted.user == lists.h_user, counted["__before"] == lists.h_place]
    )
    ids = joined.h_ids
    if collect.window is not None:
        recent = joined.h_times.filter(lambda t: t >= joined.time - collect.window)
        ids = ids[: recent.length()]
    return engine.keep(joined.select(*rows.columns, **{name: ids}))


def _chosen(rows: Table, collect: Collect) -> Table:
    if collect.positives is None:
        return rows.label.notnull()
    return rows.label == int(collect.positives)


def _events_before(rows: Table, chosen: Table) -> Table:
    """How many chosen rows of the user came strictly before."""
    event = chosen.cast("int64")
    until = event.sum().over(
        ibis.range_window(group_by=rows.user, order_by=rows.time, preceding=None, following=0)
    )
    same = event.sum().over(ibis.window(group_by=[rows.user, rows.time]))
    return until - same


def _events(rows: Table, collect: Collect) -> Table:
    """The chosen rows, each with its ``place`` among its user's: from 1, by time, then falling id."""
    chosen = rows.filter(_chosen(rows, collect))
    rising = ibis.window(group_by="user", order_by=["time", ibis.desc(collect.ids)])
    place = ibis.row_number().over(rising) + 1
    return chosen.select("user", "time", id=chosen[collect.ids], place=place)


def _lists(events: Table, collect: Collect) -> Table:
    """For each event: its id and those of the events before it, newest first.

    ``events`` are kept, for places must not be drawn anew: twins would change theirs.
    """
    falling = ibis.window(
        group_by="user", order_by=ibis.desc("place"), preceding=0, following=collect.length - 1
    )
    columns = {"h_ids": events.id.collect().over(falling)}
    if collect.window is not None:
        columns["h_times"] = events.time.collect().over(falling)
    return events.select(h_user=events.user, h_place=events.place, **columns)


def with_ready_history(
    engine: Engine, rows: Table, lists: str, words: Table, places: Sequence[str]
) -> Table:
    """The rows with the ids of the first values of a list column, in the columns ``places``.

    One join a place; a few at a time, for each holds the vocabulary in memory.

    Args:
        words: the vocabulary, columns ``value`` and ``id``.
    """
    for start in range(0, len(places), _JOINS):
        some = dict(enumerate(places[start : start + _JOINS], start))
        joined = rows
        for k in some:
            known = words.select(**{f"w{k}": words.value, f"i{k}": words.id})
            joined = joined.left_join(known, rows[lists][k] == known[f"w{k}"])
        ids = {name: ibis.coalesce(joined[f"i{k}"], 0).cast("int32") for k, name in some.items()}
        rows = engine.keep(joined.select(*rows.columns, **ids))
    return rows


def flat(column: Table, places: Sequence[str]) -> dict[str, Table]:
    """A list as integer columns of these names, 0 where there is nothing."""
    return {
        name: ibis.coalesce(column[place], 0).cast("int32") for place, name in enumerate(places)
    }
