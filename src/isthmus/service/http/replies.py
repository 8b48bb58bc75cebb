"""What is answered, beside ``isthmus.service.Reply``."""

from dataclasses import dataclass, field
from typing import Any

from isthmus.service.events import Verdict
from isthmus.service.pipeline import Loaded


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a batch: the four counts add up to its length; verdicts are in its order."""

    accepted: int
    duplicate: int
    conflict: int
    rejected: int
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class UserEvent:
    """An event of a user: ``source`` is "events" where the server kept it, "data" where the data of
    training knew it."""

    item: str
    time: float | None
    source: str
    kind: str | None = None
    value: float | None = None


@dataclass(frozen=True, slots=True)
class User:
    """What is known of a user: the newest events, by domain, oldest first.

    ``forgotten``: the user was deleted; what training knew is used no more.
    """

    user: str
    known: bool
    forgotten: bool
    domains: dict[str, list[UserEvent]]


@dataclass(frozen=True, slots=True)
class Users:
    """Some users of whom the data of training knew events."""

    users: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Deleted:
    """A user is gone: so many kept events were deleted."""

    user: str
    events: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """Since the server started: requests that named the domain, items given, events kept."""

    requests: int = 0
    recommended: int = 0
    events: int = 0


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain. ``verdict`` is that of the sharing report beside the run, None without one."""

    name: str
    items: int
    retriever: bool
    ranker: bool
    verdict: str | None
    traffic: Traffic


@dataclass(frozen=True, slots=True)
class Domains:
    """All domains of the loaded runs."""

    version: str
    domains: tuple[Domain, ...]


@dataclass(frozen=True, slots=True)
class Second:
    """What happened in a second (of Unix time)."""

    at: int
    requests: int
    errors: int
    p50: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class Stats:
    """Since the server started; latencies in milliseconds, of requests to recommend and rank."""

    version: str
    ready: bool
    uptime: float
    requests: int
    errors: dict[str, int]
    p50: float | None
    p90: float | None
    p99: float | None
    waiting: int
    backlog: int
    seconds: tuple[Second, ...]


@dataclass(frozen=True, slots=True)
class KnownRun:
    """A run in the server's folder of runs."""

    path: str
    model: str
    finished: bool
    packed: bool


@dataclass(frozen=True, slots=True)
class Runs:
    """What is served, what was served before (a roll back returns to it), and what there is.

    ``report``: there is a sharing report of what is served.
    """

    current: Loaded
    previous: Loaded | None
    report: bool
    available: tuple[KnownRun, ...]


@dataclass(frozen=True, slots=True)
class Health:
    """``live``: the process answers. ``ready``: runs are loaded and warm."""

    status: str


@dataclass(frozen=True, slots=True)
class Error:
    """A refusal: ``code`` for programs, ``message`` for people; what more there is depends on it."""

    code: str
    message: str
    details: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The body of every reply that is not 2xx."""

    error: Error
