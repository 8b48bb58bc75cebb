"""The routes for clients: recommend, rank, events, users, domains."""

import asyncio
from collections import Counter, defaultdict
from itertools import islice
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel

from isthmus.service.events import Verdict
from isthmus.service.events.event import STATUSES
from isthmus.service.http.bodies import EventsBody, RankBody, RecommendBody
from isthmus.service.http.errors import refusal
from isthmus.service.http.replies import (
    Deleted,
    Domain,
    Domains,
    Kept,
    Refusal,
    User,
    UserEvent,
    Users,
)
from isthmus.service.http.state import State
from isthmus.service.http.strict import parsed
from isthmus.service.types import Reply

UserId = Annotated[str, Path(min_length=1, max_length=1024, description="The raw id.")]
Few = Annotated[int, Query(ge=1, le=100, description="Users at most.")]
Most = Annotated[int, Query(ge=1, le=1000, description="Events at most, the newest.")]


def answer(value: Any) -> Response:
    """A value as the JSON that is sent."""
    return Response(orjson.dumps(value), media_type="application/json")


def described(body: type[BaseModel] | None, reply: type, *codes: int) -> dict[str, Any]:
    """What OpenAPI says of a route that reads its body itself, and answers with bytes of its own.

    ``codes``: refusals beside those that any route may give.
    """
    refused = {"model": Refusal, "description": "Refused: the code says why."}
    any_route = (400, 401, 413, 415, 422, 503) if body is not None else (400, 401, 422, 503)
    extra: dict[str, Any] = {}
    if body is not None:
        schema = {"$ref": f"#/components/schemas/{body.__name__}"}
        content = {"application/json": {"schema": schema}}
        extra["requestBody"] = {"required": True, "content": content}
    return {
        "response_class": Response,
        "responses": {200: {"model": reply}, **dict.fromkeys((*any_route, *codes), refused)},
        "openapi_extra": extra,
    }


def routes(state: State) -> APIRouter:
    """The routes, over this state."""
    router = APIRouter(prefix="/v1", tags=["recommendations"])

    @router.post("/recommend", **described(RecommendBody, Reply))
    async def recommend(request: Request) -> Response:
        """The best items of the asked domains."""
        return answer(await state.recommend(parsed(await request.body(), RecommendBody)))

    @router.post("/rank", **described(RankBody, Reply))
    async def rank(request: Request) -> Response:
        """The given candidates, the best first."""
        return answer(await state.rank(parsed(await request.body(), RankBody)))

    @router.post("/events", **described(EventsBody, Kept, 409))
    async def keep(request: Request) -> Response:
        """Keep events: they are on the disk when the reply comes.

        One event that is refused makes the reply 409 (its id is kept with another content) or 422;
        of several, each has its verdict in a reply of 200.
        """
        events = parsed(await request.body(), EventsBody, texts=False).events
        return _kept(await state.keep(events))

    @router.get("/users", **described(None, Users))
    async def users(limit: Few = 10) -> Response:
        """Some users of the data, to try with."""
        return answer(await asyncio.to_thread(_users, state, limit))

    @router.get("/users/{user:path}", **described(None, User))
    async def user(user: UserId, limit: Most = 100) -> Response:
        """What is known of a user."""
        return answer(await asyncio.to_thread(_user, state, user, limit))

    @router.delete("/users/{user:path}", **described(None, Deleted))
    async def forget(user: UserId) -> Response:
        """Delete a user's events, and use no more what training knew of the user."""
        return answer(Deleted(user, await state.forget(user)))

    @router.get("/domains", **described(None, Domains))
    async def domains() -> Response:
        """All domains: size, verdict of the sharing report, traffic."""
        return answer(_domains(state))

    return router


def _kept(verdicts: tuple[Verdict, ...]) -> Response:
    counts = Counter(one.status for one in verdicts)
    kept = Kept(**{name: counts[name] for name in STATUSES}, verdicts=verdicts)
    (first, *others) = verdicts
    if others or first.status in ("accepted", "duplicate"):
        return answer(kept)
    code = "id_conflict" if first.status == "conflict" else "rejected"
    return refusal(code, first.reason, details=[{"code": first.code, "message": first.reason}])


def _users(state: State, limit: int) -> Users:
    found = (one for one in state.current.pipeline.users() if one not in state.forgotten)
    return Users(tuple(islice(found, limit)))


def _user(state: State, user: str, limit: int) -> User:
    """The newest events of both sources, by domain."""
    forgotten = user in state.forgotten
    pipeline = state.current.pipeline
    trained = [] if forgotten else pipeline.past(user)
    kept = state.store.history(user, limit)
    found = [(e.domain, UserEvent(e.item, e.time, "data")) for e in trained]
    found += [(e.domain, UserEvent(e.item, e.time, "events", e.kind, e.value)) for e in kept]
    found.sort(key=lambda one: one[1].time or 0)
    domains: dict[str, list[UserEvent]] = defaultdict(list)
    for domain, event in found[-limit:]:
        domains[domain].append(event)
    return User(user, bool(found), forgotten, dict(domains))


def _domains(state: State) -> Domains:
    served = state.current
    found = (
        Domain(
            name=one.name,
            items=one.items,
            retriever=one.retriever,
            ranker=one.ranker,
            verdict=served.beside.verdicts.get(one.name),
            traffic=state.measures.traffic(one.name),
        )
        for one in served.pipeline.domains
    )
    return Domains(served.pipeline.loaded.version, tuple(found))
