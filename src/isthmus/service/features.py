"""A ranker's row for a user and an item, put together from what the bundle keeps.

Shape letters: C columns of ``Impressions.features``, N candidates, J columns of item features.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from isthmus.data.serving import Collected
from isthmus.schema import Feature, Schema
from isthmus.service.bundle import Bundle, Ints
from isthmus.service.types import Event, Given
from isthmus.service.users import Person


class Features:
    """Rows of a ranker.

    Attributes:
        item_columns: the columns of item features, [J].
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle, schema = bundle, bundle.schema
        self.item_columns = columns(schema, "item")
        self._user_columns = columns(schema, "user")
        self._item_rows = _rows(bundle, "items", len(self.item_columns))
        self._user, self._item_id = bundle.ids("users"), bundle.ids("items")
        if self._user:
            self._user_rows = _rows(bundle, "users", len(self._user_columns))
        self._word = _words(bundle)
        self._feature = {feature.name: feature for feature in schema.features}
        self._collected = {one.feature: one for one in bundle.facts.collected}
        self._pasts = {
            name: (*bundle.lists("users", f"{name}.ids"), bundle.lists("users", f"{name}.times")[1])
            for name in self._collected
            if self._user
        }

    def items(self, item_N: Ints) -> Ints:
        """Item features of item ids, [N, J]; 0 all through for id 0."""
        rows = self._item_rows[np.maximum(item_N, 1) - 1].astype(np.int64)
        rows[item_N == 0] = 0
        return rows

    def shared(self, person: Person, context: Mapping[str, Given]) -> tuple[Ints, list[str]]:
        """What all candidates have in common, [C] with 0 for item features; and names that are no
        features of context or user."""
        row = np.zeros(self._bundle.schema.num_columns, np.int64)
        known = self._user.get(person.name or "")
        if known is not None:
            row[self._user_columns] = self._user_rows[known - 1]
        places = self._bundle.schema.columns
        for name, one in self._collected.items():
            row[places[name]] = self._recent(one, self._feature[name].length, person, known)
        strange = []
        for name, value in context.items():
            feature = self._feature.get(name)
            if feature is None or feature.role == "item":
                strange.append(name)
            else:
                row[places[name]] = self._given(feature, value)
        return row, strange

    def _recent(self, one: Collected, length: int, person: Person, known: int | None) -> Ints:
        """A collected history, newest first, as a row at ``person.now`` would hold it."""
        pairs: list[tuple[float, int]] = []
        if known is not None:
            bounds, ids, times = self._pasts[one.feature]
            part = slice(bounds[known - 1], bounds[known])
            pairs = list(zip(times[part].tolist(), ids[part].tolist(), strict=True))
        if one.positives is not False:  # an event says that something was taken
            pairs += [
                (event.time or 0, value)
                for event in person.fresh
                if (value := self._value(one.of, event)) is not None
            ]
        pairs.sort(key=lambda pair: (-pair[0], pair[1]))
        if one.window is not None:
            pairs = [pair for pair in pairs if pair[0] >= person.now - one.window]
        found = np.zeros(length, np.int64)
        newest = [value for _, value in pairs[:length]]
        found[: len(newest)] = newest
        return found

    def _value(self, name: str, event: Event) -> int | None:
        """The id of an event's item in a feature; None where an event does not say it."""
        if self._feature[name].role != "item":
            return None
        item = np.array([self._item_id.get(event.item, 0)])
        place = np.searchsorted(self.item_columns, self._bundle.schema.columns[name].start)
        return int(self.items(item)[0, place])

    def _given(self, feature: Feature, value: Given) -> Any:
        """Ids of a raw value; what training did not know has id 0."""
        if feature.kind == "number":
            edges = self._bundle.facts.bins[feature.name]
            try:
                number = float(value)  # type: ignore[arg-type]
            except (TypeError, ValueError):
                return 0
            return (
                int(np.searchsorted(edges, number, side="right")) + 1 if np.isfinite(number) else 0
            )
        if feature.kind == "id":
            return self._id(feature, str(value))
        values = value if isinstance(value, tuple) else (value,)
        ids = [self._id(feature, str(one)) for one in values[: feature.length]]
        return ids + [0] * (feature.length - len(ids))

    def _id(self, feature: Feature, value: str) -> int:
        user, item = self._bundle.facts.user, self._bundle.facts.item
        if user and feature.table == self._feature[user].table:
            return self._user.get(value, 0)
        if feature.table == self._feature[item].table and self._item_id:
            return self._item_id.get(value, 0)
        return self._word.get(feature.table, {}).get(value, 0)


def columns(schema: Schema, role: str) -> Ints:
    """The columns of the features of a role, rising."""
    places = [range(schema.num_columns)[schema.columns[f.name]] for f in schema.features if f.role == role]  # fmt: skip
    return np.array([column for place in places for column in place], np.int64)


def _rows(bundle: Bundle, table: str, width: int) -> Ints:
    _, values = bundle.lists(table, "features")
    return (
        values.reshape(-1, width) if width else np.zeros((len(bundle.tables[table]), 0), np.int64)
    )


def _words(bundle: Bundle) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for table, value in zip(
        bundle.texts("words", "table"), bundle.texts("words", "value"), strict=True
    ):
        words = found.setdefault(table, {})
        words[value] = len(words) + 1
    return found
