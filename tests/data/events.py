"""Raw events for the tests of sequences, and what a plain loop makes of them."""

from collections import Counter
from hashlib import md5
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from isthmus.data.sequence_config import SequenceColumns, SequenceConfig

COLUMNS = SequenceColumns(user="who", item="what", domain="shop", time="at")


def events(rows: int = 600, seed: int = 0, users: int = 40, items: int = 60) -> pa.Table:
    """Events in random order, many of equal time; an item's shop is its number's remainder."""
    draw = np.random.default_rng(seed)
    item = (draw.random(rows) ** 2 * items).astype(int)
    return pa.table(
        {
            "who": draw.integers(0, users, rows),
            "what": item,
            "shop": [f"s{i % 3}" for i in item],
            "at": draw.integers(0, rows // 4, rows),
        }
    )


def config(file: Any, **changes: Any) -> SequenceConfig:
    values = {"task": "next_item", "name": "planted", "columns": COLUMNS, "length": 7}
    return SequenceConfig.model_validate({**values, "files": (str(file),), **changes})


def written(table: pa.Table, file: Any) -> Any:
    pq.write_table(table, file)
    return file


def plain(table: pa.Table, cuts: tuple[int, int] | None = None, min_count: int = 1) -> dict:
    """Everything a preparation says, by loops over rows: users' events with split, and known items."""
    by_user: dict[str, list[tuple[int, str, str, str]]] = {}
    for row in table.to_pylist():
        who, what, shop, at = str(row["who"]), str(row["what"]), row["shop"], row["at"]
        tie = md5(f"{who}\n{what}\n{shop}\n{at}".encode()).hexdigest()
        by_user.setdefault(who, []).append((at, tie, what, shop))
    sequences = {}
    for who in sorted(by_user):
        own = sorted(by_user[who])
        splits = ["train"] * len(own)
        if cuts is not None:
            splits = [("train", "valid", "test")[sum(at >= c for c in cuts)] for at, *_ in own]
        elif len(own) >= 3:
            splits[-2:] = ["valid", "test"]
        sequences[who] = [
            (at, what, shop, split) for (at, _, what, shop), split in zip(own, splits, strict=True)
        ]
    train = [e for own in sequences.values() for e in own if e[3] == "train"]
    counts = Counter(what for _, what, _, _ in train)
    sizes = Counter(shop for _, _, shop, _ in train)
    domains = sorted(sizes, key=lambda shop: (-sizes[shop], shop))
    known = {what: shop for _, what, shop, _ in train if counts[what] >= min_count}
    order = sorted(known, key=lambda w: (domains.index(known[w]), -counts[w], w))
    return {"sequences": sequences, "domains": domains, "items": order, "counts": counts}


def plain_rows(truth: dict, split: str, length: int) -> list[tuple[list[int], int, int]]:
    """Each event of a split: the known items before it (newest last), its item and its domain."""
    ids = {what: i + 1 for i, what in enumerate(truth["items"])}
    places = {shop: i + 1 for i, shop in enumerate(truth["domains"])}
    rows = []
    for own in truth["sequences"].values():
        before: list[int] = []
        for _, what, shop, where in own:
            if where == split:
                rows.append((before[-length:], ids.get(what, 0), places.get(shop, 0)))
            if what in ids:
                before.append(ids[what])
    return rows
