"""Events as the files that ``isthmus prepare`` reads: what users did becomes what is trained on."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from isthmus.errors import DataError
from isthmus.files import atomically, write_atomically
from isthmus.progress import Reporter, quiet
from isthmus.service.events.base import EventStore
from isthmus.service.events.event import Event

Task = Literal["next_item", "ranking"]

_GROUP: Final = 100_000
_SCHEMA: Final = pa.schema(
    [
        *((name, pa.string()) for name in ("event", "user", "item", "domain")),
        ("time", pa.float64()),
        ("label", pa.int8()),
        ("kind", pa.string()),
        ("value", pa.float64()),
        ("context", pa.string()),
    ]
)
_PREPARE: Final = {
    "next_item": """task = "next_item"
name = "events"
files = ["{file}"]
items_by_domain = true

[columns]
user = "user"
item = "item"
domain = "domain"
time = "time"
""",
    "ranking": """name = "events"
files = ["{file}"]

[columns]
user = "user"
item = "item"
domain = "domain"
label = "label"
time = "time"

[[features]]
name = "user_id"
column = "user"
role = "user"

[[features]]
name = "item_id"
column = "item"
role = "item"

[[features]]
name = "recent"
kind = "history"
of = "item_id"
role = "user"
""",
}


def export(
    store: EventStore,
    path: Path | str,
    *,
    task: Task = "next_item",
    reporter: Reporter = quiet,
) -> int:
    """Write events to the Parquet file ``path``, and beside it the TOML that prepares them.

    An event is one row, ``label`` 0 where its value is 0 (shown, and not taken), else 1. Of those
    with label 0 a ranker learns; for ``next_item`` they are left out, as nothing was taken. Returns
    how many rows there are. Raises DataError if there is none.
    """
    path = Path(path)
    rows = (_row(e) for _, e in store.since(0) if task == "ranking" or _label(e))
    written = 0
    with atomically(path) as temporary, pq.ParquetWriter(temporary, _SCHEMA) as writer:
        with reporter.task("events", store.counts().events) as advance:
            while group := _group(rows):
                writer.write_table(pa.Table.from_pylist(group, _SCHEMA))
                written += len(group)
                advance(len(group))
        if not written:
            raise DataError(f"{store.where} has no events to export")
    write_atomically(path.with_suffix(".toml"), _PREPARE[task].format(file=path.name).encode())
    return written


def _group(rows: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    return list(islice(rows, _GROUP))


def _row(event: Event) -> dict[str, Any]:
    values = event.as_json()
    return {**values, "event": event.id, "label": _label(event), "context": event.context_text()}


def _label(event: Event) -> int:
    return int(event.value != 0)
