"""What serving needs of a prepared data set, without its rows: raw ids, items, users, pasts.

Tables are in the order of ids, the first row being id 1. Values are those of the last row by time:
serving begins where the data ends, so held-out rows are part of the past.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from isthmus.data.config import FeatureConfig, PrepareConfig
from isthmus.data.prepared import ITEMS, Prepared
from isthmus.data.sequence_config import SequenceConfig
from isthmus.data.split import SPLITS
from isthmus.data.vocabulary import USERS, vocabulary_file
from isthmus.errors import DataError
from isthmus.schema import Feature, Frozen

Ints = NDArray[np.int64]
Tables = dict[str, pa.Table]


class Collected(Frozen):
    """A history that is collected from rows: see ``FeatureConfig``."""

    feature: str
    of: str
    positives: bool | None
    window: int | None


class Facts(Frozen):
    """What the tables do not say of themselves.

    ``item`` and ``user`` are the features that hold raw ids ("" where no feature holds the user);
    ``bins`` the edges of numbers. A retriever's data has none of these.
    """

    kind: str
    items_by_domain: bool = False
    item: str = ""
    user: str = ""
    bins: dict[str, tuple[float, ...]] = {}
    collected: tuple[Collected, ...] = ()


@dataclass(frozen=True, slots=True)
class _Rows:
    """Columns of all splits, rows by time."""

    table: dict[str, NDArray[Any]]
    features: Ints


def serving_tables(prepared: Prepared) -> tuple[Facts, Tables]:
    """All that is kept: ``items`` and ``users``; of a ranker's data ``pairs`` and ``words`` too.

    * items: ``value, domain, count``, and a ranker's ``features`` (the columns of item features);
    * users: ``value``, their past, oldest first, as lists ``items``, ``domains``, ``times``; of a
      ranker ``features`` and, for each collected history, ``ids`` and ``times``, newest first;
    * pairs: ``domain, item, count`` of each item in each domain, the most taken first;
    * words: ``table, value`` of every vocabulary but those of users and items.

    Raises:
        DataError: no feature of a ranker's data says which item a row is of.
    """
    config = prepared.manifest.config
    if isinstance(config, SequenceConfig):
        facts = Facts(kind="retriever", items_by_domain=config.items_by_domain)
        return facts, _of_events(prepared)
    return _of_impressions(prepared, config)


def _of_events(prepared: Prepared) -> Tables:
    items = pq.read_table(prepared.path / vocabulary_file(ITEMS))
    events, values = prepared.sequences, pa.chunked_array([[]], pa.string())
    if vocabulary_file(USERS) in prepared.manifest.files:  # not in data of before it was written
        values = prepared.values(USERS)
    kept = (events.item > 0) & (events.user <= len(values))
    bounds = np.searchsorted(events.user[kept], np.arange(1, len(values) + 2))
    return {
        "items": items.select(["value", "domain", "count"]),
        "users": pa.table(
            {
                "value": values,
                "items": _lists(events.item[kept], bounds, pa.int32()),
                "domains": _lists(events.domain[kept], bounds, pa.int32()),
                "times": _lists(events.time[kept], bounds, pa.int64()),
            }
        ),
    }


def _of_impressions(prepared: Prepared, config: PrepareConfig) -> tuple[Facts, Tables]:
    item = _id_feature(prepared, config, config.columns.item)
    user = _id_feature(prepared, config, config.columns.user)
    if item is None:
        raise DataError(
            f"{prepared.path}: no id feature holds the column {config.columns.item!r}, so a ranker "
            f"of these rows cannot tell items apart; prepare the data with that feature"
        )
    facts = Facts(
        kind="ranker",
        item=item.name,
        user=user.name if user is not None else "",
        bins=prepared.manifest.bins,
        collected=tuple(_collected(config.features)),
    )
    rows, columns = _all_rows(prepared), prepared.schema.columns
    item_N = rows.features[:, columns[item.name].start]
    pairs = _pairs(rows.table["domain"], item_N, rows.table["label"])
    tables = {"items": _items(prepared, item, item_N, rows, pairs), "pairs": pa.table(pairs)}
    tables["words"] = _words(prepared, {item.table, user.table if user is not None else ""})
    tables["users"] = _users(prepared, facts, rows)
    return facts, tables


def _id_feature(prepared: Prepared, config: PrepareConfig, column: str) -> Feature | None:
    """The feature that is a raw column's own ids."""
    found = [f.name for f in config.features if f.kind == "id" and f.source == column]
    return next((f for f in prepared.schema.features if f.name in found[:1]), None)


def _collected(features: Iterable[FeatureConfig]) -> Iterable[Collected]:
    for f in features:
        if f.of is not None:
            yield Collected(feature=f.name, of=f.of, positives=f.positives, window=f.window)


def _all_rows(prepared: Prepared) -> _Rows:
    parts = [prepared.table(split) for split in SPLITS]
    table = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    features = np.concatenate([prepared.impressions(split).features.numpy() for split in SPLITS])
    order = np.lexsort((table["row"], table["time"]))
    return _Rows({name: column[order] for name, column in table.items()}, features[order])


def _pairs(domain_N: Ints, item_N: Ints, label_N: Ints) -> dict[str, Ints]:
    """Known items of known domains, domain by domain, by falling positives, then by id."""
    known = (domain_N > 0) & (item_N > 0)
    both = np.stack([domain_N[known], item_N[known]], 1).astype(np.int64)
    pair, place = np.unique(both, axis=0, return_inverse=True)
    count = np.bincount(place.ravel(), weights=label_N[known], minlength=len(pair)).astype(np.int64)
    order = np.lexsort((pair[:, 1], -count, pair[:, 0]))
    return {"domain": pair[order, 0], "item": pair[order, 1], "count": count[order]}


def _items(
    prepared: Prepared, item: Feature, item_N: Ints, rows: _Rows, pairs: dict[str, Ints]
) -> pa.Table:
    """An item's domain is the one in which it was taken most often; of equals the first."""
    total = np.bincount(pairs["item"], weights=pairs["count"], minlength=item.size)
    domain = np.zeros(item.size, np.int64)
    order = np.lexsort((-pairs["domain"], pairs["count"]))  # the last one written stays
    domain[pairs["item"][order]] = pairs["domain"][order]
    own = rows.features[:, _columns_of(prepared, "item")]
    return pa.table(
        {
            "value": prepared.values(item.table),
            "domain": pa.array(domain[1:], pa.int32()),
            "count": pa.array(total[1:].astype(np.int64)),
            "features": _table(_latest(item_N, own, item.size)[1:]),
        }
    )


def _users(prepared: Prepared, facts: Facts, rows: _Rows) -> pa.Table:
    columns, features = prepared.schema.columns, prepared.schema.features
    user = next((f for f in features if f.name == facts.user), None)
    if user is None:
        return pa.table({"value": pa.array([], pa.string())})
    user_N = rows.features[:, columns[user.name].start]
    item_N = rows.features[:, columns[facts.item].start]
    own = rows.features[:, _columns_of(prepared, "user")]
    taken = np.flatnonzero((rows.table["label"] > 0) & (user_N > 0) & (item_N > 0))
    taken = taken[np.argsort(user_N[taken], kind="stable")]
    bounds = np.searchsorted(user_N[taken], np.arange(1, user.size + 1))
    found = {
        "value": prepared.values(user.table),
        "features": _table(_latest(user_N, own, user.size)[1:]),
        "items": _lists(item_N[taken], bounds, pa.int32()),
        "domains": _lists(rows.table["domain"][taken], bounds, pa.int32()),
        "times": _lists(rows.table["time"][taken], bounds, pa.int64()),
    }
    for one in facts.collected:
        length = next(f.length for f in features if f.name == one.feature)
        ids = rows.features[:, columns[one.of].start]
        found |= _past(one, (user.size, length), user_N, ids, rows)
    return pa.table(found)


def _past(
    one: Collected, size: tuple[int, int], user_N: Ints, id_N: Ints, rows: _Rows
) -> dict[str, pa.Array]:
    """The newest ids of every user, with their times, as a row after the last one would hold them.

    ``size``: of the users' ids, and of a history.
    """
    (users, length), label = size, rows.table["label"]
    chosen = (user_N > 0) & (one.positives is None or label == int(bool(one.positives)))
    places = np.flatnonzero(chosen)
    time = rows.table["time"]
    # as in data.histories: newest first, ids rising within one time
    places = places[np.lexsort((id_N[places], -time[places], user_N[places]))]
    user = user_N[places]
    rank = np.arange(len(places)) - np.searchsorted(user, user)
    places = places[rank < length]
    bounds = np.searchsorted(user_N[places], np.arange(1, users + 1))
    return {
        f"{one.feature}.ids": _lists(id_N[places], bounds, pa.int32()),
        f"{one.feature}.times": _lists(time[places], bounds, pa.int64()),
    }


def _columns_of(prepared: Prepared, role: str) -> list[int]:
    """The columns of the features of a role."""
    places = prepared.schema.columns
    return [
        column
        for feature in prepared.schema.features
        if feature.role == role
        for column in range(places[feature.name].start, places[feature.name].stop)
    ]


def _latest(id_N: Ints, values: Ints, size: int) -> Ints:
    """Each id's values in its last row; 0 for an id without one."""
    last = np.full(size, -1)
    np.maximum.at(last, id_N, np.arange(len(id_N)))
    found = values[last]
    found[last < 0] = 0
    return found


def _words(prepared: Prepared, without: set[str]) -> pa.Table:
    numbers = {f.table for f in prepared.schema.features if f.kind == "number"}
    names = [name for name in prepared.schema.tables if name not in without | numbers]
    columns = {name: prepared.values(name) for name in names}
    table = [name for name, values in columns.items() for _ in range(len(values))]
    values = [v for column in columns.values() for v in column.to_pylist()]
    return pa.table({"table": pa.array(table, pa.string()), "value": pa.array(values, pa.string())})


def _lists(values: Ints, bounds: Ints, kind: pa.DataType) -> pa.Array:
    return pa.LargeListArray.from_arrays(pa.array(bounds, pa.int64()), pa.array(values, kind))


def _table(rows: Ints) -> pa.Array:
    bounds = np.arange(len(rows) + 1) * rows.shape[1]
    return _lists(rows.reshape(-1), bounds, pa.int32())
