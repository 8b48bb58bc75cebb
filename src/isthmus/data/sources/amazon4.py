"""Amazon 2014, four domains that share their users: the events of the ABXI benchmark, joined."""

from pathlib import Path

from isthmus.data.sequence_config import SequenceColumns, SequenceConfig
from isthmus.data.sources.base import connect, read_table, require_columns, source, write

_USED = ("user_id", "item_id", "domain", "timestamp")
_SOURCE = (
    "Amazon reviews 2014 (McAuley), the pairs Food + Kitchen and Beauty + Electronics that ABXI "
    "(WWW 2025) publishes, joined on the user; no explicit licence, citation asked. A user known "
    "from one pair alone has unknown, not empty, domains in the other."
)


@source
def amazon4_abxi(
    out: Path, *, table: Path, min_item_events: int = 5, length: int = 50
) -> SequenceConfig:
    """288 thousand reviews in Food, Kitchen, Beauty and Electronics by 9,624 users of two or four.

    ``table`` is the joined Parquet file. A third of its items are reviewed once: items with fewer
    than ``min_item_events`` reviews are left out. Time is the day; reviews of one day stand in the
    order of a hash, for the published files list them by item.

    Raises:
        DataError: the table is not there or lacks a column.
    """
    with connect(out) as con:
        rows = read_table(con, Path(table))
        require_columns(rows, _USED, table)
        file = write(con, rows.select(*_USED), out / "interactions.parquet", _USED[::-1])
    return SequenceConfig(
        task="next_item",
        name="amazon4_abxi",
        files=(file,),
        columns=SequenceColumns(user="user_id", item="item_id", domain="domain", time="timestamp"),
        length=length,
        min_item_events=min_item_events,
        source=_SOURCE,
    )
