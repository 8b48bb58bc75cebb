"""A request from retrieval to reply."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.service.bundle import Ints
from isthmus.service.catalogue import Pool
from isthmus.service.explain import influences
from isthmus.service.retrieval import Filters, Found, by_model, by_share
from isthmus.service.stages import POPULARITY, UNKNOWN_DOMAIN, Asked, Stages
from isthmus.service.types import Event, Influence, Recommended, Reply, Request, Why


class Clock:
    """Milliseconds of each stage of a request."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.milliseconds[name] = 1000 * (time.perf_counter() - start)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What was found, how, and in which order it is given."""

    found: Found
    fallback: str
    scores: NDArray[np.float64] | None
    order: Ints


def recommend(stages: Stages, request: Request, new: list[Event], version: str) -> Reply:
    """The best items of the asked domains for a user of whom these events are new."""
    clock = Clock()
    with clock.stage("user"):
        asked = stages.asked(request, new)
        pool, asked.unknown_domains = stages.catalogue.pool(request.domains)
        filters = _filters(stages, request, asked)
    with clock.stage("retrieve"):
        found, fallback = _retrieved(
            stages, asked, pool, filters, max(request.k, request.retrieved)
        )
    with clock.stage("rank"):
        chosen = _ranked(stages, request, asked, pool, found, fallback)
    with clock.stage("reply"):
        why = _why(stages, asked, pool, chosen) if request.explain else {}
        items = tuple(
            _item(stages, chosen, place, rank, why.get(place))
            for rank, place in enumerate(chosen.order.tolist(), 1)
        )
    if pool.unknown:
        fallback = f"{UNKNOWN_DOMAIN}, {fallback}" if fallback else UNKNOWN_DOMAIN
    return Reply(
        items, version, asked.flags(fallback), _fewer(request, pool, found), clock.milliseconds
    )


def _filters(stages: Stages, request: Request, asked: Asked) -> Filters:
    allowed, catalogue = None, stages.catalogue
    if request.allow is not None:
        allowed, strange = catalogue.entries(request.allow)
        asked.unknown_items += strange
    left_out, strange = catalogue.entries(request.block)
    asked.unknown_items += strange
    if request.exclude_seen:
        seen = (*asked.retrieved_for.events, *asked.ranked_for.events)
        entries, _ = catalogue.entries(dict.fromkeys(event.item for event in seen))
        left_out = np.union1d(left_out, entries)
    return Filters(allowed, left_out)


def _retrieved(
    stages: Stages, asked: Asked, pool: Pool, filters: Filters, most: int
) -> tuple[Found, str]:
    """Candidates, and the fallback by which they were found."""
    if stages.search is not None and len(asked.past[0]):
        return by_model(stages.search, pool, asked.past, filters, most), ""
    return by_share(stages.catalogue, pool, filters, most), POPULARITY


def _ranked(
    stages: Stages, request: Request, asked: Asked, pool: Pool, found: Found, fallback: str
) -> _Chosen:
    """The candidates in order; equal ones stay in the order of the first stage."""
    if stages.ranking is None:
        return _Chosen(found, fallback, None, np.arange(len(found.entries))[: request.k])
    scores = stages.ranking.probabilities(
        asked,
        request.context,
        stages.catalogue.ranked_item_E[found.entries],
        stages.catalogue.ranked_domains(found.entries, pool),
    )
    return _Chosen(found, fallback, scores, np.argsort(-scores, kind="stable")[: request.k])


def _why(stages: Stages, asked: Asked, pool: Pool, chosen: _Chosen) -> dict[int, Why]:
    """Why each place of the order is there."""
    entries = chosen.found.entries[chosen.order]
    by_event: list[tuple[Influence, ...]] = [()] * len(entries)
    if stages.search is not None and not chosen.fallback:
        domain_N = stages.catalogue.domain_E[entries] * (not pool.unknown)
        by_event = influences(
            stages.search, stages.catalogue, asked.retrieved_for.events, entries, domain_N
        )
    edges = stages.ranking.edges if stages.ranking is not None else []
    domains = stages.catalogue.ranked_domains(entries, pool).tolist()
    return {
        place: Why(events, edges[domain] if edges else (), chosen.fallback)
        for place, events, domain in zip(chosen.order.tolist(), by_event, domains, strict=True)
    }


def _item(stages: Stages, chosen: _Chosen, place: int, rank: int, why: Why | None) -> Recommended:
    entry = int(chosen.found.entries[place])
    return Recommended(
        item=stages.catalogue.items[entry],
        domain=stages.catalogue.name(entry),
        rank=rank,
        score=None if chosen.scores is None else float(chosen.scores[place]),
        retrieval_score=float(chosen.found.scores[place]),
        retrieval_rank=place + 1,
        known=stages.ranking is None or bool(stages.catalogue.ranked_item_E[entry]),
        why=why,
    )


def _fewer(request: Request, pool: Pool, found: Found) -> str:
    """Why there are fewer than asked for."""
    if found.left >= request.k:
        return ""
    asked = f"{request.k} items asked for; the asked domains hold {pool.size}"
    return asked if found.left == pool.size else f"{asked}, of which {found.left} may be given"
