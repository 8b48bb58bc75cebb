"""Rows as a table of numbers for trees: rates and counts of ids, and what is a number already.

Shape letters: N rows, C columns.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, PositiveFloat

from isthmus.batch import Impressions
from isthmus.errors import ConfigError
from isthmus.reference.rates import Floats, Ints, Table, folds, out_of_fold, rate
from isthmus.schema import Frozen, Schema

DOMAIN = "domain"


class EncodingConfig(Frozen):
    """How rates are made.

    ``pairs`` are names of two features (or a feature and "domain") whose pairs of ids have rates of
    their own, beside those of each id feature, of the domain, and of user features with the domain.
    """

    folds: int = Field(5, ge=2)
    fold_by: Literal["time", "random"] = "time"
    smoothing: PositiveFloat = 20.0
    pairs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Encoding:
    """The tables of every key, from training rows alone."""

    config: EncodingConfig
    schema: Schema
    total: Table  # all rows under the key 0
    tables: tuple[Table, ...]  # in the order of ``keyed``

    @classmethod
    def learn(cls, config: EncodingConfig, schema: Schema, rows: Impressions) -> Self:
        """Count every key's training rows."""
        label_N = _labels(rows)
        tables = (Table.of(key_N, label_N) for key_N in keys(config, schema, rows).values())
        total = Table.of(np.zeros_like(label_N), label_N)
        return cls(config, schema, total, tuple(tables))

    def __call__(self, rows: Impressions) -> npt.NDArray[np.float32]:
        """Rows to be scored, with the rates of all training rows: [N, C]."""
        found = map(Table.find, self.tables, keys(self.config, self.schema, rows).values())
        total, positives = float(self.total.rows.sum()), float(self.total.positives.sum())
        prior = positives / total if total else 0.5
        pairs = ((rate(n, p, prior, self.config.smoothing), n) for n, p in found)
        return self._table(rows, [column for pair in pairs for column in pair])

    def training(self, rows: Impressions, seed: int) -> npt.NDArray[np.float32]:
        """The training rows themselves, each with the rates of the other folds: [N, C].

        Counts are scaled up to the number of all training rows, so that they mean the same.
        """
        label_N = _labels(rows)
        fold_N = folds(len(rows), self.config.folds, self.config.fold_by, seed)
        others_N, positives_N = out_of_fold(np.zeros_like(label_N), label_N, fold_N)
        prior_N = positives_N / np.maximum(others_N, 1)
        columns: list[Floats] = []
        for key_N in keys(self.config, self.schema, rows).values():
            n, p = out_of_fold(key_N, label_N, fold_N)
            columns.append(rate(n, p, prior_N, self.config.smoothing))
            columns.append(n * (len(rows) / np.maximum(others_N, 1)))
        return self._table(rows, columns)

    def names(self) -> list[str]:
        """What each column is, in words."""
        own = keyed(self.config, self.schema)
        rates = [f"{what} of {name}" for name in own for what in ("rate", "rows")]
        return [*rates, *_plain(self.schema)]

    def _table(
        self, rows: Impressions, columns: Sequence[npt.NDArray[np.generic]]
    ) -> npt.NDArray[np.float32]:
        ids_NC = rows.features.numpy()
        plain = [make(ids_NC) for make in _plain(self.schema).values()]
        found = np.empty((len(rows), len(columns) + len(plain)), np.float32)
        for place, column in enumerate([*columns, *plain]):
            found[:, place] = column
        return found


def keyed(config: EncodingConfig, schema: Schema) -> dict[str, tuple[str, ...]]:
    """What has rates: a name for it, and the one or two features whose ids are its key.

    Raises:
        ConfigError: a pair of ``config`` names no id feature.
    """
    ids = [feature for feature in schema.features if feature.kind == "id"]
    known = {DOMAIN, *(feature.name for feature in ids)}
    for name in {name for pair in config.pairs for name in pair} - known:
        raise ConfigError(
            f"settings.pairs: no id feature {name!r}; there are: {', '.join(sorted(known))}"
        )
    users = ((feature.name, DOMAIN) for feature in ids if feature.role == "user")
    single = ((name,) for name in (DOMAIN, *(feature.name for feature in ids)))
    return {" x ".join(parts): parts for parts in (*single, *users, *config.pairs)}


def keys(config: EncodingConfig, schema: Schema, rows: Impressions) -> dict[str, Ints]:
    """The key of each row, by what has rates: [N] each."""
    ids_NC, places = rows.features.numpy(), schema.columns
    columns = {f.name: ids_NC[:, places[f.name].start] for f in schema.features if f.kind == "id"}
    columns[DOMAIN] = rows.domain.numpy()
    sizes = {feature.name: feature.size for feature in schema.features}
    sizes[DOMAIN] = schema.num_domains + 1
    found = {}
    for name, (first, *second) in keyed(config, schema).items():
        key_N = columns[first]
        for other in second:
            key_N = key_N * sizes[other] + columns[other]
        found[name] = key_N
    return found


def _plain(schema: Schema) -> dict[str, Callable[[Ints], Ints]]:
    """Columns that need no label: bins of numbers; a history's length, and whether it has the id."""
    places = schema.columns
    found: dict[str, Callable[[Ints], Ints]] = {}
    for feature in schema.features:
        own = places[feature.name]
        if feature.kind == "number":
            found[feature.name] = partial(_bins, own)
        if feature.kind == "history":
            found[f"length of {feature.name}"] = partial(_length, own)
        for other in schema.features:
            if feature.kind == "history" and other.kind == "id" and other.table == feature.table:
                name = f"{other.name} in {feature.name}"
                found[name] = partial(_times, own, places[other.name].start)
    return found


def _bins(own: slice, ids_NC: Ints) -> Ints:
    return ids_NC[:, own.start]


def _length(own: slice, ids_NC: Ints) -> Ints:
    length_N: Ints = (ids_NC[:, own] > 0).sum(1)
    return length_N


def _times(own: slice, place: int, ids_NC: Ints) -> Ints:
    """How often a history holds the id at ``place``; an unknown one is in none."""
    same_NL = (ids_NC[:, own] == ids_NC[:, place, None]) & (ids_NC[:, own] > 0)
    times_N: Ints = same_NL.sum(1)
    return times_N


def _labels(rows: Impressions) -> Ints:
    labels: Ints = rows.label.numpy().astype(np.int64)
    return labels
