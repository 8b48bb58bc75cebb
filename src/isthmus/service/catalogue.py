"""What can be recommended: items in domains, by raw ids, and what each is called by both stages.

An entry is an item in a domain. Entries of a domain are neighbours, so a domain is a slice: those of
a retriever are its items (entry ``e`` is item id ``e + 1``); without one, all pairs of a ranker's data.

Shape letters: E entries, D domain ids of the first stage (0 is the unknown domain).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import MismatchError
from isthmus.service.bundle import Bundle, Ints

Entries = slice | Ints
_NONE = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Part:
    """Entries of one domain of the first stage, by which its queries are made; 0 is unknown."""

    domain: int
    entries: Entries


@dataclass(frozen=True, slots=True)
class Pool:
    """Entries to choose from.

    ``at_home``: those of domains that the ranker alone knows, sorted; ``unknown``: whether all
    stand for a domain that nobody knows.
    """

    parts: tuple[Part, ...]
    at_home: Ints
    unknown: bool = False

    @property
    def size(self) -> int:
        """How many entries there are."""
        parts = (part.entries for part in self.parts)
        return sum(p.stop - p.start if isinstance(p, slice) else len(p) for p in parts)


class Catalogue:
    """All entries, and the way from names to entries and to the ranker's ids.

    Attributes:
        items: raw ids, [E].
        names: domains of the first stage, id 1 first, then those that the ranker alone knows.
        domain_E: the first stage's domain ids.
        share_E: how often an entry was taken, of all that was taken; of the ranker's data positives.
        ranked_item_E, ranked_domain_E: the ranker's ids, 0 where it does not know them.
        ranker_item, ranker_domain: the ranker's ids of raw items and of domains by name.
        home: the domain of each of the ranker's items, by its ids.
    """

    def __init__(self, retriever: Bundle | None, ranker: Bundle | None) -> None:
        first = retriever or ranker
        assert first is not None
        values = first.values("items")
        if retriever is not None:
            domain_E, count_E = retriever.column("items", "domain"), None
            if retriever.facts.items_by_domain:
                names = retriever.schema.domains
                values = [
                    value.removeprefix(f"{names[d - 1]}/")
                    for value, d in zip(values, domain_E, strict=True)
                ]
            self.items: Sequence[str] = values
            count_E = retriever.column("items", "count")
        else:
            domain_E, count_E = first.column("pairs", "domain"), first.column("pairs", "count")
            self.items = [values[item - 1] for item in first.column("pairs", "item")]
        self.domain_E: Ints = domain_E.astype(np.int64)
        self._domain_of: list[int] = (
            self.domain_E.tolist()
        )  # read one by one, quicker than an array
        self.share_E: NDArray[np.float64] = count_E / max(1, count_E.sum())
        ends = np.arange(len(first.schema.domains) + 2)
        self._bounds = np.searchsorted(self.domain_E, ends)
        self._entry, self._others = _by_item(self.items)
        self._ranked(first.schema.domains, ranker)

    def _ranked(self, own: tuple[str, ...], ranker: Bundle | None) -> None:
        theirs = ranker.schema.domains if ranker is not None else ()
        self.names = own + tuple(name for name in theirs if name not in own)
        self.known_first, self._domain = len(own), {n: d for d, n in enumerate(self.names, 1)}
        self.ranker_domain = {name: d for d, name in enumerate(theirs, 1)}
        self._ranker_names = theirs
        self.ranked_item_E = np.zeros(len(self.items), np.int64)
        self.ranked_domain_E = self.ranked_item_E
        self.ranker_item: dict[str, int] = {}
        self.home, self._home_E = np.zeros(1, np.int64), self.ranked_item_E
        if ranker is None:
            return
        self.ranker_item = ranker.ids("items")
        self.ranked_item_E = np.array([self.ranker_item.get(v, 0) for v in self.items], np.int64)
        if not self.ranked_item_E.any():
            raise MismatchError(
                f"the retriever and the ranker have no item in common: such as "
                f"{self.items[0] if self.items else ''!r} of the one and "
                f"{next(iter(self.ranker_item), '')!r} of the other; serve runs of data with the same "
                f"raw item ids"
            )
        self.home = np.concatenate([[0], ranker.column("items", "domain")]).astype(np.int64)
        self._home_E = self.home[self.ranked_item_E]
        as_named = np.array([0, *(self.ranker_domain.get(name, 0) for name in own)])[self.domain_E]
        self.ranked_domain_E = np.where(as_named > 0, as_named, self._home_E)

    def entry(self, item: str, domain: str = "") -> int:
        """The entry of an item, in a domain where it is named; -1 where there is none."""
        first = self._entry.get(item, -1)
        if not domain or first < 0 or self.name(first) == domain:
            return first
        found = (e for e in self._others.get(item, ()) if self.name(e) == domain)
        return next(found, -1)

    def entries(self, items: Iterable[str]) -> tuple[Ints, list[str]]:
        """All entries of these items, sorted; and the items that have none."""
        found: list[int] = []
        strange = []
        for item in items:
            first = self._entry.get(item)
            if first is not None:
                found += (first, *self._others.get(item, ()))
            elif item not in self.ranker_item:
                strange.append(item)
        return np.array(sorted(set(found)), np.int64), strange

    def name(self, entry: int) -> str:
        """The domain of an entry."""
        return self.names[self._domain_of[entry] - 1]

    def domains(self, item: str) -> list[str]:
        """The domains in which the first stage knows an item."""
        first = self._entry.get(item)
        return [] if first is None else [*map(self.name, (first, *self._others.get(item, ())))]

    def home_name(self, item: str) -> str:
        """The domain of an item of the ranker's; "" where it does not know it."""
        domain = int(self.home[self.ranker_item.get(item, 0)])
        return self._ranker_names[domain - 1] if domain else ""

    def of_domain(self, domain: int) -> slice:
        """The entries of a domain of the first stage."""
        return slice(int(self._bounds[domain]), int(self._bounds[domain + 1]))

    def pool(self, names: Iterable[str]) -> tuple[Pool, tuple[str, ...]]:
        """The entries of these domains (all where none is named), and the names nobody knows.

        Where nobody knows any of them: all entries, by the unknown domain's path of both stages.
        """
        asked = dict.fromkeys(names)
        strange = tuple(name for name in asked if name not in self._domain)
        known = sorted(self._domain[name] for name in asked if name in self._domain)
        if strange and not known:
            return Pool((Part(0, slice(0, len(self.items))),), _NONE, unknown=True), strange
        known = known or list(range(1, self.known_first + 1))
        first = [d for d in known if d <= self.known_first]
        parts = [Part(d, self.of_domain(d)) for d in first]
        if len(first) == len(known):
            return Pool(tuple(parts), _NONE), strange
        theirs = [self.ranker_domain[self.names[d - 1]] for d in known if d > self.known_first]
        found = np.flatnonzero(np.isin(self._home_E, theirs))
        found = found[~np.isin(self.domain_E[found], first)]
        parts += [Part(int(d), found[self.domain_E[found] == d]) for d in self._met(found)]
        return Pool(tuple(parts), found), strange

    def ranked_domains(self, entries: Ints, pool: Pool) -> Ints:
        """The ranker's domains of entries of a pool; 0 where it does not know them."""
        if pool.unknown:
            return np.zeros(len(entries), np.int64)
        own = self.ranked_domain_E[entries]
        if not len(pool.at_home):
            return own
        return np.where(np.isin(entries, pool.at_home), self._home_E[entries], own)

    def _met(self, entries: Ints) -> list[int]:
        found: list[int] = np.unique(self.domain_E[entries]).tolist()
        return found


def _by_item(items: Sequence[str]) -> tuple[dict[str, int], dict[str, list[int]]]:
    """The first entry of each item, and the others of those that have several."""
    first: dict[str, int] = {}
    others: dict[str, list[int]] = {}
    for entry, item in enumerate(items):
        if first.setdefault(item, entry) != entry:
            others.setdefault(item, []).append(entry)
    return first, others
