"""What is asked of the service, and what it answers: values alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Protocol

from pydantic import BeforeValidator, ConfigDict, Field, PositiveInt

from isthmus.schema import Frozen


def _as_text(value: object) -> object:
    """Whole numbers are ids as well, as they are in raw data."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Id = Annotated[str, BeforeValidator(_as_text), Field(min_length=1)]
"""A raw id."""
Given = str | int | float | tuple[Id, ...]
"""A raw value of a feature: an id, a number, or the ids of a history, newest first."""


@dataclass(frozen=True, slots=True)
class Event:
    """A user took an item, at a time in the unit of the data's (seconds since 1970 as a rule).

    ``domain`` matters where one item lies in several domains; "" is the item's own. Events without
    a time are newer than all others, the last one given the newest.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    item: Id
    domain: str = ""
    time: float | None = None


class Candidate(Frozen):
    """An item to be ranked, in a domain: "" is the item's own."""

    item: Id
    domain: str = ""


class About(Frozen):
    """For whom, and when.

    Attributes:
        user: the raw id, where there is one.
        history: events that may be missing elsewhere; those with a time in any order.
        context: raw values of features by name: of the context, or of the user in place of what
            the data knew.
        time: now, for histories that reach back so long and no longer; without it the time of
            the newest event.
        trained: use what the data knew of the user; false for one who asked to be forgotten.
        explain: say why, for several times the cost.
    """

    user: Id | None = None
    history: tuple[Event, ...] = ()
    context: dict[str, Given] = {}
    time: float | None = None
    trained: bool = True
    explain: bool = False


class Request(About):
    """Recommend ``k`` items of these domains, of all where none is named.

    Attributes:
        retrieved: candidates that are ranked, of all domains together; never fewer than ``k``.
        allow: only these items.
        block: not these items.
        exclude_seen: not the items of the user's past, as far back as it is known.
    """

    domains: tuple[str, ...] = ()
    k: PositiveInt = 10
    retrieved: PositiveInt = 200
    allow: tuple[Id, ...] | None = None
    block: tuple[Id, ...] = ()
    exclude_seen: bool = False


class RankRequest(About):
    """Order these candidates. Their own order means nothing; one that comes twice counts once."""

    candidates: tuple[Candidate, ...]
    k: PositiveInt | None = None


class Kept(Protocol):
    """An event as a source keeps it: ``isthmus.service.events.Event`` is one."""

    @property
    def item(self) -> str: ...
    @property
    def domain(self) -> str: ...
    @property
    def time(self) -> float: ...
    @property
    def value(self) -> float | None:
        """0 says that the item was shown, and not taken; it is no part of a history."""
        ...


class HistorySource(Protocol):
    """Where events of users are kept."""

    def history(self, user: str, limit: int) -> Sequence[Kept]:
        """The newest events of a user, at most ``limit``, in any order; none for a stranger."""
        ...


@dataclass(frozen=True, slots=True)
class Influence:
    """What an event does to a retrieval score: the score with it, less the score without it."""

    event: Event
    weight: float


@dataclass(frozen=True, slots=True)
class Why:
    """Why an item stands where it stands.

    Attributes:
        events: recent events by what they did to the retrieval score, the largest gain first.
        edges: share of the edges between experts that the domain's mask keeps, level by level;
            of rankers that have such masks.
        fallback: in words, where the item is there without regard to the user.
    """

    events: tuple[Influence, ...] = ()
    edges: tuple[float, ...] = ()
    fallback: str = ""


@dataclass(frozen=True, slots=True)
class Recommended:
    """One item of a reply.

    Attributes:
        rank: its place, from 1.
        score: the ranker's probability; None without a ranker.
        retrieval_score, retrieval_rank: the first stage's, ranks from 1; None where it took no part.
        known: whether the last stage knows the item.
    """

    item: str
    domain: str
    rank: int
    score: float | None
    retrieval_score: float | None
    retrieval_rank: int | None
    known: bool = True
    why: Why | None = None


@dataclass(frozen=True, slots=True)
class Flags:
    """What was not known, and what was done about it.

    Attributes:
        unknown_user: a user is named of whom neither the data nor any event knows.
        unknown_domains, unknown_items: as they were named in the request or the user's events.
        misplaced_items: known ones that an event names with a domain which they are not of; the
            retriever passes such events over.
        unknown_context: names in ``context`` that are no features of context or user.
        fallback: "popularity" where candidates are the most taken, "unknown domain" where they are
            all there are; "" otherwise.
    """

    unknown_user: bool = False
    unknown_domains: tuple[str, ...] = ()
    unknown_items: tuple[str, ...] = ()
    misplaced_items: tuple[str, ...] = ()
    unknown_context: tuple[str, ...] = ()
    fallback: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer.

    Attributes:
        version: of the runs that gave it.
        fewer: why there are fewer items than asked for; "" where there are as many.
        milliseconds: by stage.
    """

    items: tuple[Recommended, ...]
    version: str
    flags: Flags = Flags()
    fewer: str = ""
    milliseconds: dict[str, float] = field(default_factory=dict, compare=False)
