"""What every event store can do, whatever it keeps its events in."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NamedTuple

from isthmus.files import StorageError
from isthmus.service.events.event import Event, Limits, Status, Verdict, is_text, judged
from isthmus.service.events.group import GroupCommit

Position = tuple[float, str]
"""A place in a user's history: time and event id."""
CONFLICT = "id_conflict"
_MOST = 2**31


class Numbered(NamedTuple):
    """An event, and its place in the order in which events were kept."""

    sequence: int
    event: Event


@dataclass(frozen=True, slots=True)
class Counts:
    """How many events are kept, of how many users, and how many of each domain."""

    events: int
    users: int
    domains: dict[str, int]


@dataclass(frozen=True, slots=True)
class Append:
    """A request to keep events; what is no event has its verdict already."""

    drafts: tuple[Event | Verdict, ...]

    @property
    def events(self) -> list[Event]:
        return [draft for draft in self.drafts if isinstance(draft, Event)]

    def verdicts(self, statuses: Iterable[Status]) -> tuple[Verdict, ...]:
        """One verdict a draft, given one status for each event among them."""
        status = iter(statuses)
        return tuple(
            draft if isinstance(draft, Verdict) else _verdict(draft, next(status))
            for draft in self.drafts
        )


@dataclass(frozen=True, slots=True)
class Delete:
    """A request to delete all that is kept of a user."""

    user: str


Request = Append | Delete


class EventStore(ABC):
    """Events, kept for good. All methods may be called from any thread.

    ``reading``: the store is looked at only, which another process may write to meanwhile.
    """

    def __init__(
        self, where: str, *, limits: Limits, clock: Callable[[], float], reading: bool
    ) -> None:
        self.where = where
        self.limits = limits
        self._clock = clock
        self._group = None if reading else GroupCommit[Request, Any](self._commit)

    def append(self, events: Iterable[object], *, any_time: bool = False) -> tuple[Verdict, ...]:
        """Keep events (``Event``, or mappings of its fields): one verdict each, in their order.

        When it returns, what is accepted survives ``kill -9`` and a power cut. Bad events do not
        keep the good ones out; the good ones are kept all or none. Sending the same events again
        changes nothing. ``any_time`` admits times ahead of the clock, as a restore has to.

        Raises StorageError where the store cannot write: then nothing new is kept that could be
        relied on, and the same events can be sent again.
        """
        return self.submit(events, any_time=any_time).result()

    def submit(
        self, events: Iterable[object], *, any_time: bool = False
    ) -> "Future[tuple[Verdict, ...]]":
        """``append`` for callers that go on meanwhile: ``await asyncio.wrap_future(submit(...))``."""
        now = float("inf") if any_time else self._clock()
        return self._submit(Append(tuple(judged(e, now=now, limits=self.limits) for e in events)))

    def delete_user(self, user: str) -> int:
        """Delete all events of a user, for good; how many there were.

        Later events of the user are kept anew, as are old ones that are sent once more. Raises
        StorageError where the store cannot write.
        """
        return self.submit_delete(user).result()

    def submit_delete(self, user: str) -> "Future[int]":
        """``delete_user`` for callers that go on meanwhile."""
        if not is_text(user):  # nobody is called that
            nobody: Future[int] = Future()
            nobody.set_result(0)
            return nobody
        return self._submit(Delete(user))

    @property
    def backlog(self) -> int:
        """About how many requests wait for the disk."""
        return self._group.backlog if self._group else 0

    def history(self, user: str, limit: int, *, before: Position | None = None) -> list[Event]:
        """The newest ``limit`` events of a user over all domains, oldest first, by (time, id).

        ``before``: only those that come before this place, for paging: that of the oldest event at
        hand, ``(event.time, event.id)``; ``(time, "")`` is everything before a time.
        """
        if limit < 1 or not is_text(user):
            return []
        return self._history(user, min(limit, _MOST), before)

    @abstractmethod
    def since(self, sequence: int = 0) -> Iterator[Numbered]:
        """The events kept after the one with this number, in the order in which they were kept.

        Numbers rise, with gaps where events were deleted, and none is given twice. What is kept
        while this goes on comes at the end.
        """

    @abstractmethod
    def counts(self) -> Counts:
        """How much there is."""

    @abstractmethod
    def close(self) -> None:
        """Finish what was submitted, and let the store go."""

    @abstractmethod
    def _history(self, user: str, limit: int, before: Position | None) -> list[Event]:
        """``history`` of a user whose name is text, for a limit of at least 1."""

    @abstractmethod
    def _commit(self, requests: Sequence[Request]) -> list[tuple[Verdict, ...] | int]:
        """Do all requests, in order; return when all of them are durable."""

    def _submit(self, request: Request) -> "Future[Any]":
        if self._group is None:
            raise StorageError(f"{self.where} is open for reading only.")
        return self._group.submit(request)

    def _drain(self) -> None:
        if self._group is not None:
            self._group.close()

    def __enter__(self) -> "EventStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _verdict(event: Event, status: Status) -> Verdict:
    if status != "conflict":
        return Verdict(event.id, status)
    reason = "an event with this id and another content is kept; give every event its own id"
    return Verdict(event.id, status, CONFLICT, reason)


def system_clock() -> float:
    """Seconds since 1970."""
    return time.time()
