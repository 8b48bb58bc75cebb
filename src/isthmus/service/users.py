"""Whose request it is: what the data knew of them, and the events that came since."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from isthmus.service.bundle import Bundle, Ints
from isthmus.service.catalogue import Catalogue
from isthmus.service.types import About, Event, HistorySource

NEWEST = 1000
"""Events that are asked of a ``HistorySource``."""
Doubt = Literal["", "unknown_item", "misplaced_item"]
UNKNOWN: Final = "unknown_item"
MISPLACED: Final = "misplaced_item"


class Pasts:
    """The events of all users that a stage's data knew."""

    def __init__(self, bundle: Bundle) -> None:
        self.ids, self._items = bundle.ids("users"), bundle.values("items")
        self._names = ("", *bundle.schema.domains)
        self._prefixed = bundle.facts.items_by_domain
        if self.ids:
            self._bounds, self._item = bundle.lists("users", "items")
            _, self._domain = bundle.lists("users", "domains")
            _, self._time = bundle.lists("users", "times")

    def of(self, user: str | None) -> list[Event]:
        """A user's events, oldest first."""
        known = self.ids.get(user or "")
        if known is None:
            return []
        part = slice(self._bounds[known - 1], self._bounds[known])
        items = [self._items[item - 1] for item in self._item[part].tolist()]
        names = [self._names[domain] for domain in self._domain[part].tolist()]
        if self._prefixed:
            items = [item.removeprefix(f"{n}/") for item, n in zip(items, names, strict=True)]
        return list(map(Event, items, names, self._time[part].tolist()))

    def users(self) -> Iterator[str]:
        """Users with an event at least, in the order of their ids."""
        for user, known in self.ids.items():
            if self._bounds[known - 1] < self._bounds[known]:
                yield user


@dataclass(frozen=True, slots=True)
class Person:
    """A user as a stage sees them.

    Attributes:
        name: the raw id, where the stage may use what its data knew of it.
        events: all events, oldest first, each with a time.
        fresh: those among them that the stage's data did not know.
        now: what histories reach back from.
    """

    name: str | None
    events: list[Event]
    fresh: list[Event]
    now: float


def person(about: About, own: list[Event], others: list[Event], new: list[Event]) -> Person:
    """The user as the stage sees them whose data knew the events ``own``.

    Where it knew none, what the other stage's data knew (``others``) stands in for them. An event
    that is there twice, the same item at the same time, counts once; those that are ``own`` stay as
    they are.
    """
    known = {(event.item, event.time) for event in own}
    fresh = []
    for event in [*(others if not own else []), *new]:
        if event.time is None or (event.item, event.time) not in known:
            fresh.append(event)
            known.add((event.item, event.time))
    timed, now = _timed(fresh, own, about.time)
    timed.sort(key=lambda e: (e.time, e.item, e.domain))
    events = sorted([*own, *timed], key=lambda e: e.time or 0)
    return Person(about.user if about.trained else None, events, timed, now)


def _timed(
    fresh: Iterable[Event], own: Iterable[Event], now: float | None
) -> tuple[list[Event], float]:
    """Events without a time become the newest, one after another."""
    fresh = list(fresh)
    times = [event.time for event in (*fresh, *own) if event.time is not None]
    newest: float = max([*times, *([now] if now is not None else [])], default=0)
    timed = []
    for event in fresh:
        if event.time is None:
            newest += 1
            event = Event(event.item, event.domain, newest)
        timed.append(event)
    return timed, newest if now is None else max(now, newest)


def new_events(about: About, source: HistorySource | None) -> list[Event]:
    """What came since: of the source, then of the request."""
    if source is None or about.user is None:
        return list(about.history)
    kept = (one for one in source.history(about.user, NEWEST) if one.value != 0)
    return [*(Event(one.item, one.domain, one.time) for one in kept), *about.history]


def as_ids(events: Iterable[Event], catalogue: Catalogue) -> tuple[Ints, Ints]:
    """Items and domains of the known events, by the retriever's ids."""
    found = (catalogue.entry(event.item, event.domain) for event in events)
    known = np.array([entry for entry in found if entry >= 0], np.int64)
    return known + 1, catalogue.domain_E[known]


def doubt(item: str, domain: str, catalogue: Catalogue) -> Doubt:
    """What speaks against an event of this item in this domain: that no stage knows the item, or that
    the first one knows it, and not there.
    """
    if catalogue.entry(item, domain) >= 0:
        return ""
    if catalogue.entry(item) >= 0:
        return MISPLACED
    return "" if item in catalogue.ranker_item else UNKNOWN


def strangers(events: Iterable[Event], catalogue: Catalogue) -> tuple[list[str], list[str]]:
    """Items of events against which something speaks: the unknown, and the misplaced ones."""
    found: dict[Doubt, list[str]] = {"": [], UNKNOWN: [], MISPLACED: []}
    for event in events:
        found[doubt(event.item, event.domain, catalogue)].append(event.item)
    return found[UNKNOWN], found[MISPLACED]
