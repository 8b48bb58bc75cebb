"""Counts of a prepared data set, as checks look at them.

Shape letters: N rows, C columns of features, D known domains.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from isthmus.data import leaks
from isthmus.data.config import PrepareConfig
from isthmus.data.prepared import ITEMS, Prepared
from isthmus.data.sequence_config import SequenceConfig
from isthmus.data.split import SPLITS
from isthmus.diagnosis import Audited, Data, Separated
from isthmus.evaluation.predictions import Floats, Ints
from isthmus.schema import Feature

MOST_VALUES = 1_000_000
"""Values of a vocabulary that are read, the most frequent first."""
DENSE = 50_000_000
"""Pairs of a domain and a value up to which counting takes a table of all of them."""


def data_evidence(prepared: Prepared) -> Data:
    """All that checks of the data look at; reads every row once."""
    return _events(prepared) if prepared.of_events else _impressions(prepared)


def _impressions(prepared: Prepared) -> Data:
    schema, config = prepared.schema, prepared.manifest.config
    assert isinstance(config, PrepareConfig)
    ids = len(schema.domains) + 1
    rows: dict[str, Ints] = {}
    unknown: dict[str, dict[str, Ints]] = {feature.name: {} for feature in schema.features}
    separated: list[Separated] = []
    spread, early, last = None, np.zeros(ids, np.int64), None
    for split in SPLITS:
        table, features_NC = prepared.table(split), prepared.impressions(split).features.numpy()
        domain = table["domain"]
        rows[split] = np.bincount(domain, minlength=ids)
        for feature in schema.features:
            lacks = ~features_NC[:, schema.columns[feature.name]].any(1)
            unknown[feature.name][split] = np.bincount(domain[lacks], minlength=ids)
        if split == "train":
            last = table["time"].max(initial=np.iinfo(np.int64).min)
            for feature in schema.features:
                if feature.kind != "history":
                    column = features_NC[:, schema.columns[feature.name].start]
                    separated += _separated(feature, column, table, schema.domains)
                if feature.name == _item(config):
                    spread = _spread(features_NC[:, schema.columns[feature.name].start], domain)
        else:
            early += np.bincount(domain[table["time"] < last], minlength=ids)
    ordered = config.columns.time is not None and config.split.by != "user"
    collected = {f.name: config.feature(f.of).source if f.of else f.source for f in config.features}
    return Data(
        rows=rows,
        audit=_audit(prepared),
        sources=collected,
        target=config.columns.label,
        early=early if ordered else None,
        unknown=unknown,
        separated=separated,
        values={f.table: _values(prepared, f.table) for f in schema.features if f.kind == "id"},
        spread=spread,
    )


def _item(config: PrepareConfig) -> str | None:
    """The feature that is the item's id."""
    same = (f.name for f in config.features if f.kind == "id" and f.source == config.columns.item)
    return next(same, None)


def _events(prepared: Prepared) -> Data:
    events, config = prepared.sequences, prepared.manifest.config
    assert isinstance(config, SequenceConfig)
    ids = len(prepared.schema.domains) + 1
    rows, unknown = {}, {}
    for code, split in enumerate(SPLITS):
        domain = events.domain[events.split == code]
        rows[split] = np.bincount(domain, minlength=ids)
        new = (events.split == code) & (events.item == 0)
        unknown[split] = np.bincount(events.domain[new], minlength=ids)
    train = events.split == 0
    whose = events.user if config.split.by == "last" else np.zeros_like(events.user)
    last = np.full(int(whose.max(initial=0)) + 1, np.iinfo(np.int64).min)
    np.maximum.at(last, whose[train], events.time[train])
    late = ~train & (events.time < last[whose])
    return Data(
        rows=rows,
        audit=_audit(prepared),
        early=np.bincount(events.domain[late], minlength=ids),
        unknown={ITEMS: unknown},
        values={ITEMS: _values(prepared, ITEMS)},
        spread=_spread(events.item[train], events.domain[train]),
    )


def _audit(prepared: Prepared) -> tuple[Audited, ...]:
    return tuple(
        Audited(found.code, found.feature, found.severity == "blocks", found.message)
        for found in prepared.manifest.audit
    )


def _values(prepared: Prepared, table: str) -> list[str]:
    found: list[str] = prepared.values(table)[:MOST_VALUES].to_pylist()
    return found


def _spread(item: npt.NDArray[np.integer], domain: npt.NDArray[np.integer]) -> Ints:
    """In how many known domains each item id has rows; of the unknown item 0."""
    known = (item > 0) & (domain > 0)
    if not known.any():
        return np.zeros(1, np.int64)
    ids = int(domain.max()) + 1
    pairs = np.unique(item[known].astype(np.int64) * ids + domain[known])
    return np.bincount(pairs // ids)


def _separated(
    feature: Feature,
    column: npt.NDArray[np.int64],
    table: dict[str, npt.NDArray[np.int64]],
    domains: tuple[str, ...],
) -> Iterator[Separated]:
    """How well this feature alone tells each domain's labels, by ``leaks.separation``."""
    keys, n, positives = _tally(
        table["domain"].astype(np.int64) * feature.size + column, table["label"]
    )
    bounds = np.searchsorted(keys, np.arange(len(domains) + 2) * feature.size)
    for d, name in enumerate(domains, 1):
        part = slice(bounds[d], bounds[d + 1])
        found = leaks.separation(n[part], positives[part], np.ones(bounds[d + 1] - bounds[d]))
        if found is not None:
            yield Separated(feature.name, name, found.auc, found.error)


def _tally(key: Ints, label: npt.NDArray[np.integer]) -> tuple[Ints, Ints, Floats]:
    """Keys that occur, rising, with their rows and their rows of label 1."""
    if key.max(initial=0) < DENSE:
        counts = np.bincount(key)
        keys = np.flatnonzero(counts)
        n, ones = counts[keys], np.bincount(key, weights=label)[keys]
    else:
        keys, place, n = np.unique(key, return_inverse=True, return_counts=True)
        ones = np.bincount(place, weights=label)
    return keys.astype(np.int64), n.astype(np.int64), ones.astype(np.float64)
