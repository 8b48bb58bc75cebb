"""What may be sent: the values of ``isthmus.service`` with bounds, and what only HTTP knows."""

from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, WithJsonSchema

from isthmus.schema import Frozen
from isthmus.service.types import About, Candidate, Event, Given, Id, RankRequest, Request

EVENTS: Final = 1000
"""Events of a batch, or of a request's history."""
ITEMS: Final = 10_000
FARTHEST: Final = 1e15
"""Times, in whatever unit."""


def _bounded(event: Event) -> Event:
    if event.time is not None and abs(event.time) > FARTHEST:
        raise ValueError(f"time must lie within {FARTHEST:g} of 0")
    return event


class _Bounds(About):
    history: Annotated[
        tuple[Annotated[Event, AfterValidator(_bounded)], ...], Field(max_length=EVENTS)
    ] = ()
    context: Annotated[dict[str, Given], Field(max_length=200)] = {}
    time: Annotated[float, Field(ge=-FARTHEST, le=FARTHEST)] | None = None


class RecommendBody(_Bounds, Request):
    """Recommend ``k`` items of these domains, of all where none is named, to a user, to someone with
    this history, or to anyone."""

    domains: Annotated[tuple[str, ...], Field(max_length=EVENTS)] = ()
    k: Annotated[int, Field(ge=1, le=1000)] = 10
    retrieved: Annotated[int, Field(ge=1, le=2000)] = 200
    allow: Annotated[tuple[Id, ...], Field(max_length=ITEMS)] | None = None
    block: Annotated[tuple[Id, ...], Field(max_length=ITEMS)] = ()


class RankBody(_Bounds, RankRequest):
    """Order these candidates for a user, for someone with this history, or for anyone."""

    candidates: Annotated[tuple[Candidate, ...], Field(min_length=1, max_length=ITEMS)]
    k: Annotated[int, Field(ge=1, le=ITEMS)] | None = None


_TEXT = {"type": "string", "minLength": 1, "maxLength": 256}
_EVENT = {
    "type": "object",
    "additionalProperties": False,
    "required": ["id", "user", "item", "domain", "time"],
    "properties": {
        **dict.fromkeys(("id", "user", "item", "domain"), _TEXT),
        "time": {
            "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "format": "date-time"}]
        },
        "kind": {"anyOf": [{**_TEXT, "maxLength": 64}, {"type": "null"}]},
        "value": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "context": {"anyOf": [{"type": "object"}, {"type": "null"}]},
    },
}


class EventsBody(Frozen):
    """Events to be kept. Each gets a verdict of its own."""

    events: Annotated[
        tuple[Annotated[Any, WithJsonSchema(_EVENT)], ...], Field(min_length=1, max_length=EVENTS)
    ]


class LoadBody(Frozen):
    """Runs to serve, by their paths within the server's folder of runs."""

    runs: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=300)], ...],
        Field(min_length=1, max_length=2),
    ]
