"""Events to a prepared data set of sequences: filtered, ordered, split, and numbered by training alone.

``events.parquet`` holds every event, users one after another, each user's events by time; events
of equal time stand in the order of a hash, which says nothing (files often list them by item).
Item ids count domain by domain: those of one domain are a contiguous slice.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

import isthmus
from isthmus.data.engine import Engine, Table
from isthmus.data.features import UNKNOWN_DOMAIN
from isthmus.data.interactions import Interactions
from isthmus.data.leaks import Finding
from isthmus.data.prepared import EVENTS, ITEMS, Count, Manifest
from isthmus.data.sequence_config import SequenceConfig
from isthmus.data.split import SPLITS, by_time, protocol_by_time, time_code
from isthmus.data.vocabulary import USERS, vocabulary_file
from isthmus.errors import DataError
from isthmus.schema import Schema

_EVENT = ("user", "item", "domain", "time")
_GROUP = 262_144  # rows of a row group: fixed, so that the bytes depend on the rows alone
_ARROW = pa.schema(
    [
        ("row", pa.int64()),
        ("time", pa.int64()),
        ("user", pa.int64()),
        ("domain", pa.int32()),
        ("item", pa.int32()),
        ("split", pa.int8()),
    ]
)


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: rows by split and domain id, [3, D + 1], and those of unknown items, [3]."""

    rows: NDArray[np.int64]
    unknown_items: NDArray[np.int64]


def write_sequences(
    engine: Engine, raw: Interactions, config: SequenceConfig, folder: Path
) -> Manifest:
    """Write events and items into ``folder``; the manifest still lacks the hashes of the files.

    Raises:
        DataError: an item has two domains, no event is left, or the split cannot be made.
    """
    events = _ordered(engine, _filtered(engine, _events(engine, raw, config), config))
    events, protocol = _split(engine, events, config)
    train = events.filter(events.split == 0)
    domains = _domains(engine, train, config.min_domain_rows)
    items = _items(engine, train, domains, config.min_count)
    if not len(items):
        raise DataError(f"no training event is of a known item ({protocol}); lower min_count")
    file = folder / vocabulary_file(ITEMS)
    file.parent.mkdir(exist_ok=True)
    pq.write_table(items, file, compression="zstd")
    users = _users(engine, events)
    pq.write_table(users, folder / vocabulary_file(USERS), compression="zstd")
    encoded = _encoded(engine, events, domains, items, users)
    written = _write(engine, encoded, len(domains), folder)
    sizes = np.bincount(items["domain"].to_numpy(), minlength=len(domains) + 1)[1:]
    schema = Schema(
        features=(),
        domains=domains,
        items=len(items) + 1,
        max_history=config.length,
        domain_items=tuple(sizes.tolist()),
    )
    return Manifest(
        isthmus=isthmus.__version__,
        name=config.name,
        source=config.source,
        protocol=protocol,
        config=config,
        data_schema=schema,
        bins={},
        splits=_counts(written, domains),
        unknown={ITEMS: _unknown(written)},
        audit=_findings(written),
        rejected=raw.rejected,
        files={},
    )


def _events(engine: Engine, raw: Interactions, config: SequenceConfig) -> Table:
    names, columns = raw.layout, config.columns
    rows = raw.table.select(
        user=raw.table[names.name(columns.user, "key")],
        item=raw.table[names.name(columns.item, "key")],
        domain=raw.table[names.name(columns.domain, "key")],
        time=raw.table[names.name(columns.time, "time")],
    )
    if config.items_by_domain:
        return rows.mutate(item=rows.domain + ibis.literal("/") + rows.item)
    _refuse_two_domains(engine, rows)
    return rows


def _refuse_two_domains(engine: Engine, rows: Table) -> None:
    pairs = rows.group_by("item").agg(first=rows.domain.min(), last=rows.domain.max())
    several = pairs.filter(pairs["first"] != pairs["last"])
    count = engine.one(several.agg(n=several.count()))["n"]
    if count:
        one = engine.one(several.order_by("item").limit(1))
        raise DataError(
            f"{count:,} items occur in more than one domain, such as {one['item']!r} in "
            f"{one['first']!r} and {one['last']!r}; an item belongs to one: set items_by_domain = "
            f"true to count it as one item in each"
        )


def _filtered(engine: Engine, rows: Table, config: SequenceConfig) -> Table:
    """Without items and users of too few events: once, or until both have enough."""
    rules = (("item", config.min_item_events), ("user", config.min_user_events))
    if max(least for _, least in rules) == 1:
        return engine.keep(rows)
    before = None
    while True:
        for key, least in rules:
            counts = rows.group_by(key).agg(n=ibis._.count())
            rows = engine.keep(rows.semi_join(counts.filter(counts.n >= least), key))
        left = engine.one(rows.agg(n=rows.count()))["n"]
        if not left:
            raise DataError(
                f"no event is left of users with {config.min_user_events} and items with "
                f"{config.min_item_events} events; lower min_user_events or min_item_events"
            )
        if left == before or not config.core:
            return rows
        before = left


def _ordered(engine: Engine, rows: Table) -> Table:
    """With ``place``, from 0, and ``size``, the number of events, of each user."""
    parts = [rows.user, rows.item, rows.domain, rows.time.cast("string")]
    tie = ibis.literal("\n").join(parts).hexdigest("md5")
    keyed = engine.keep(rows.mutate(tie=tie))
    by_time = ibis.window(group_by="user", order_by=["time", "tie"])
    whole = ibis.window(group_by="user")
    return engine.keep(
        keyed.select(*_EVENT, place=ibis.row_number().over(by_time), size=keyed.count().over(whole))
    )


def _split(engine: Engine, rows: Table, config: SequenceConfig) -> tuple[Table, str]:
    """Each event's split, and how it was made in words."""
    same = "events of equal time in the order of a hash"
    if config.split.by == "time":
        times = engine.keep(rows.group_by(value=rows.time).agg(n=rows.count()))
        cuts = by_time(engine, times, config.split.fractions)
        said = f"{protocol_by_time(cuts)}; every event is a target, {same}"
        return rows.mutate(split=time_code(rows.time, cuts)), said
    left = rows["size"] - rows.place
    code = ibis.ifelse(rows["size"] < 3, 0, ibis.ifelse(left == 1, 2, ibis.ifelse(left == 2, 1, 0)))
    said = "leave one out: test a user's last event, valid the one before, train all earlier"
    return rows.mutate(split=code.cast("int8")), f"{said}; {same}"


def _domains(engine: Engine, train: Table, least: int) -> tuple[str, ...]:
    """Names by falling training events; those with too few are unknown."""
    counted = train.group_by("domain").agg(n=train.count())
    known = counted.filter((counted.n >= least) & (counted.domain != UNKNOWN_DOMAIN))
    table = engine.arrow(known.order_by(ibis.desc("n"), "domain"))
    return tuple(table["domain"].to_pylist())


def _items(engine: Engine, train: Table, domains: tuple[str, ...], least: int) -> pa.Table:
    """``id, value, count, domain``: ids from 1, domain by domain, by falling training events."""
    names = _names(engine, domains)
    counted = train.group_by("item", "domain").agg(count=train.count())
    known = counted.filter(counted["count"] >= least).join(names, counted.domain == names.d_value)
    known = known.select("item", "count", "d_id").order_by("d_id", ibis.desc("count"), "item")
    table = engine.arrow(known)
    return pa.table(
        {
            "id": pa.array(range(1, len(table) + 1), pa.int32()),
            "value": table["item"].cast(pa.string()),
            "count": table["count"].cast(pa.int64()),
            "domain": table["d_id"].cast(pa.int32()),
        }
    )


def _names(engine: Engine, domains: tuple[str, ...]) -> Table:
    ids = pa.array(range(1, len(domains) + 1), pa.int32())
    return engine.table(pa.table({"d_id": ids, "d_value": pa.array(domains, pa.string())}))


def _users(engine: Engine, events: Table) -> pa.Table:
    """``id, value``: all users, in the order of their names."""
    values = engine.arrow(events.select(value=events.user).distinct().order_by("value"))["value"]
    ids = pa.array(range(1, len(values) + 1), pa.int64())
    return pa.table({"id": ids, "value": values.cast(pa.string())})


def _encoded(
    engine: Engine, events: Table, domains: tuple[str, ...], items: pa.Table, known: pa.Table
) -> Table:
    """Integer columns, users one after another."""
    users = engine.table(known.rename_columns(["u_id", "u_value"]))
    words = engine.table(items.select(["value", "id"]).rename_columns(["i_value", "i_id"]))
    names = _names(engine, domains)
    joined = events.left_join(users, events.user == users.u_value)
    joined = joined.left_join(names, events.domain == names.d_value)
    joined = joined.left_join(words, events.item == words.i_value)
    return joined.select(
        "time",
        "place",
        "split",
        user=joined.u_id,
        domain=ibis.coalesce(joined.d_id, 0).cast("int32"),
        item=ibis.coalesce(joined.i_id, 0).cast("int32"),
    )


def _write(engine: Engine, events: Table, domains: int, folder: Path) -> Written:
    rows = np.zeros((len(SPLITS), domains + 1), np.int64)
    unknown = np.zeros(len(SPLITS), np.int64)
    number = 0
    with pq.ParquetWriter(
        folder / EVENTS, _ARROW, compression="zstd", use_dictionary=False
    ) as file:
        for batch in engine.batches(events.order_by(["user", "place"]), _GROUP):
            columns: dict[str, Any] = {name: batch[name].to_numpy() for name in batch.schema.names}
            columns["row"] = np.arange(number, number + len(batch), dtype=np.int64)
            number += len(batch)
            np.add.at(rows, (columns["split"], columns["domain"]), 1)
            np.add.at(unknown, columns["split"][columns["item"] == 0], 1)
            arrays = [pa.array(columns[field.name], field.type) for field in _ARROW]
            file.write_table(pa.table(arrays, schema=_ARROW), row_group_size=_GROUP)
    return Written(rows, unknown)


def _counts(written: Written, domains: tuple[str, ...]) -> dict[str, dict[str, Count]]:
    names = (UNKNOWN_DOMAIN, *domains)
    return {
        split: {
            names[d]: Count(rows=int(rows[d]), positives=int(rows[d]))
            for d in [*range(1, len(names)), 0]
            if d or rows[0]
        }
        for split, rows in zip(SPLITS, written.rows, strict=True)
    }


def _unknown(written: Written) -> dict[str, float]:
    totals = written.rows.sum(axis=1)
    return {
        split: round(float(written.unknown_items[k] / totals[k]), 6)
        for k, split in enumerate(SPLITS)
        if totals[k]
    }


def _findings(written: Written) -> tuple[Finding, ...]:
    totals, cold = written.rows.sum(axis=1), _unknown(written)
    found = [
        Finding(
            code="empty-split",
            severity="warns",
            feature="split",
            message=f"the {split} split has no events; change the split, or min_user_events",
        )
        for split, total in zip(SPLITS, totals, strict=True)
        if not total
    ]
    if cold.get("test", 0.0) > 0.5:
        message = (
            f"{cold['test']:.0%} of the test events are of items that training never met: no "
            f"model that learns a vector an item can find them"
        )
        found.append(
            Finding(code="unseen-values", severity="warns", feature=ITEMS, message=message)
        )
    return tuple(found)
