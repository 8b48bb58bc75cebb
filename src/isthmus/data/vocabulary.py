"""Ids for values: vocabularies and bins, both from the training rows alone."""

from collections.abc import Sequence
from urllib.parse import quote

import ibis
import pyarrow as pa

from isthmus.data.engine import Engine, Table
from isthmus.data.values import exact

DEFAULT_BINS = 10
USERS = "user"
"""The name of the users' vocabulary of a data set of sequences."""


def tally(rows: Table, column: str) -> Table:
    """``value``, ``n`` and ``positives``: the rows of each value, null among them.

    Args:
        rows: has ``column`` and ``label``.
    """
    values = rows.select(value=rows[column], label=rows.label)
    return values.group_by("value").agg(
        n=values.count(), positives=values.label.cast("int64").sum()
    )


def tally_lists(rows: Table, column: str, length: int) -> Table:
    """As ``tally``, over the first ``length`` values of lists."""
    values = rows.select(value=rows[column][:length], label=rows.label).unnest("value")
    return tally(values.filter(values.value.notnull()), "value")


def vocabulary(engine: Engine, tallies: Sequence[Table], min_count: int) -> pa.Table:
    """The known values: ``id`` from 1 by falling training count, then by value; ``value, count``.

    Args:
        tallies: of the training rows, one for each feature that shares the vocabulary.
        min_count: values that occur less often are unknown.
    """
    every = ibis.union(*tallies) if len(tallies) > 1 else tallies[0]
    known = every.filter(every.value.notnull()).group_by("value").agg(count=every.n.sum())
    known = known.filter(known["count"] >= min_count).order_by(ibis.desc("count"), "value")
    table = engine.arrow(known)
    return pa.table(
        {
            "id": pa.array(range(1, len(table) + 1), pa.int32()),
            "value": table["value"].cast(pa.string()),
            "count": table["count"].cast(pa.int64()),
        }
    )


def vocabulary_file(table: str) -> str:
    """Where a table's vocabulary lies in a prepared directory, whatever its name holds."""
    return f"vocabulary/{quote(table, safe=' ')}.parquet"


def quantile_edges(engine: Engine, values: Table, bins: int) -> tuple[float, ...]:
    """Edges that part the training values into ``bins`` of about equal count, fewer with ties.

    Args:
        values: a tally; each edge is a value that occurs.
    """
    known = values.filter(values.value.notnull())
    running = known.n.sum().over(ibis.cumulative_window(order_by=known.value))
    ranked = known.select("value", until=running)
    total = known.n.sum().as_scalar()
    wanted = {
        f"e{k}": ranked.value.min(where=ranked.until * bins > total * k) for k in range(1, bins)
    }
    found = engine.one(ranked.agg(least=ranked.value.min(), **wanted))
    least = found.pop("least")
    # an edge at the least value would leave the first bin empty
    return tuple(sorted({float(edge) for edge in found.values() if edge is not None} - {least}))


def bin_id(value: Table, edges: Sequence[float]) -> Table:
    """1 plus the number of edges not above the value; 0 where it is missing."""
    reached = ((value >= exact(float(edge))).cast("int32") for edge in edges)
    above = sum(reached, ibis.literal(1, "int32"))
    return ibis.ifelse(value.isnull(), 0, above).cast("int32")
