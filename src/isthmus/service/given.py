"""Candidates that were given by name, in order."""

from dataclasses import dataclass

import numpy as np

from isthmus.service.bundle import Ints
from isthmus.service.catalogue import Catalogue
from isthmus.service.recommend import Clock
from isthmus.service.retrieval import Floats
from isthmus.service.stages import POPULARITY, Asked, Stages
from isthmus.service.types import Candidate, Event, RankRequest, Recommended, Reply, Why


@dataclass(frozen=True, slots=True)
class _Row:
    """A candidate by everything's ids: ``entry`` is -1 and the others 0 where it is unknown."""

    item: str
    domain: str
    entry: int
    ranked_item: int
    ranked_domain: int


def rank(stages: Stages, request: RankRequest, new: list[Event], version: str) -> Reply:
    """The candidates, the best first; equal ones in the order of the catalogue, then of their names."""
    clock = Clock()
    with clock.stage("user"):
        asked = stages.asked(request, new)
        rows = _rows(stages.catalogue, request.candidates, asked)
    with clock.stage("retrieve"):
        retrieval_N, fallback = _retrieval(stages, asked, rows)
    with clock.stage("rank"):
        scores = None
        if stages.ranking is not None:
            ids = np.array([(row.ranked_item, row.ranked_domain) for row in rows], np.int64)
            item_N, domain_N = ids.reshape(-1, 2).T
            scores = stages.ranking.probabilities(asked, request.context, item_N, domain_N)
    place_N = np.empty(len(rows), np.int64)
    place_N[np.argsort(-retrieval_N, kind="stable")] = np.arange(len(rows))
    order = np.argsort(-(retrieval_N if scores is None else scores), kind="stable")[: request.k]
    items = tuple(
        Recommended(
            item=rows[n].item,
            domain=rows[n].domain,
            rank=number,
            score=None if scores is None else float(scores[n]),
            retrieval_score=float(retrieval_N[n]) if np.isfinite(retrieval_N[n]) else None,
            retrieval_rank=int(place_N[n]) + 1 if np.isfinite(retrieval_N[n]) else None,
            known=rows[n].entry >= 0 if scores is None else rows[n].ranked_item > 0,
            why=_why(stages, rows[n], fallback) if request.explain else None,
        )
        for number, n in enumerate(order.tolist(), 1)
    )
    fewer = ""
    if request.k is not None and len(rows) < request.k:
        fewer = f"{request.k} items asked for; there are {len(rows)} different candidates"
    return Reply(items, version, asked.flags(fallback), fewer, clock.milliseconds)


def _rows(catalogue: Catalogue, candidates: tuple[Candidate, ...], asked: Asked) -> list[_Row]:
    """Each candidate once, in an order that does not depend on theirs."""
    rows, strange = set(), set()
    for one in candidates:
        entry = catalogue.entry(one.item, one.domain)
        item = catalogue.ranker_item.get(one.item, 0)
        if one.domain and one.domain not in catalogue.names:
            strange.add(one.domain)
        if entry < 0 and not item:
            misplaced = catalogue.entry(one.item) >= 0
            (asked.misplaced_items if misplaced else asked.unknown_items).append(one.item)
        rows.add(_row(catalogue, one, entry, item))
    asked.unknown_domains = tuple(sorted(strange))
    last = len(catalogue.items)
    key = lambda row: (row.entry if row.entry >= 0 else last, row.item, row.domain)  # noqa: E731
    return sorted(rows, key=key)


def _row(catalogue: Catalogue, one: Candidate, entry: int, item: int) -> _Row:
    """The ranker's domain is the one that is named, if it knows it; else the item's own."""
    domain = one.domain or (catalogue.name(entry) if entry >= 0 else catalogue.home_name(one.item))
    if one.domain in catalogue.ranker_domain:
        ranked = catalogue.ranker_domain[one.domain]
    elif one.domain and one.domain not in catalogue.names:
        ranked = 0
    else:
        ranked = int(catalogue.ranked_domain_E[entry] if entry >= 0 else catalogue.home[item])
    return _Row(one.item, domain, entry, item, ranked)


def _retrieval(stages: Stages, asked: Asked, rows: list[_Row]) -> tuple[Floats, str]:
    """The first stage's scores, [N]: minus infinity for what it does not know; and the fallback."""
    score_N = np.full(len(rows), -np.inf)
    entries = np.array([row.entry for row in rows], np.int64)
    known = np.flatnonzero(entries >= 0)
    if stages.search is None or not len(asked.past[0]):
        score_N[known] = stages.catalogue.share_E[entries[known]]
        return score_N, POPULARITY if stages.ranking is None else ""
    domain_N: Ints = stages.catalogue.domain_E[entries[known]]
    queries = stages.search.by_domain(asked.past, np.unique(domain_N).tolist())
    for domain, query in queries.items():
        chosen = known[domain_N == domain]
        score_N[chosen] = stages.search.score(query, entries[chosen])
    return score_N, ""


def _why(stages: Stages, row: _Row, fallback: str) -> Why:
    edges = stages.ranking.edges if stages.ranking is not None else []
    return Why(edges=edges[row.ranked_domain] if edges else (), fallback=fallback)
