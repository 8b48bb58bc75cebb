"""The first stage: exact search for the best entries of a pool.

Shape letters: Q queries, H width, I item ids, N entries of a part.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from isthmus.batch import Histories
from isthmus.models import Retriever
from isthmus.service.bundle import Ints
from isthmus.service.catalogue import Catalogue, Entries, Part, Pool
from isthmus.service.one_history import OneHistory

Floats = NDArray[np.floating]
Past = tuple[Ints, Ints]
"""Item ids and domain ids of a user's events, oldest first."""


@dataclass(frozen=True, slots=True)
class Found:
    """Entries with their scores, best first; of equals the first entry.

    ``left``: how many there were to choose from.
    """

    entries: Ints
    scores: Floats
    left: int


class Search:
    """What a retriever finds; without vectors, it scores all items."""

    def __init__(self, model: Retriever) -> None:
        self.model = model
        self._vectors: torch.Tensor | None = None
        if type(model).scores is Retriever.scores:
            with torch.no_grad():
                self._vectors = model.item_vectors().float().contiguous()
        self._one = OneHistory(model) if OneHistory.fits(model) else None  # type: ignore[arg-type]

    def by_domain(self, past: Past, domains: Sequence[int]) -> dict[int, Floats]:
        """The query of one past for each of these domains: a vector [H], or scores [I]."""
        if self._one is None:
            queries = self.queries([past] * len(domains), domains)
            return dict(zip(domains, queries, strict=True))
        return dict.fromkeys(domains, self._one(*past))

    @torch.inference_mode()
    def queries(self, pasts: Sequence[Past], domains: Sequence[int]) -> Floats:
        """One query a past and domain, side by side: vectors [Q, H], or scores [Q, I]."""
        batch = self._batch(pasts, domains)
        found = self.model.scores(batch) if self._vectors is None else self.model(batch).float()
        queries: Floats = found.numpy()
        return queries

    def score(self, query: Floats, entries: Entries) -> Floats:
        """Scores of entries, [N]; an array that is the caller's own."""
        rows = (
            slice(entries.start + 1, entries.stop + 1)
            if isinstance(entries, slice)
            else entries + 1
        )
        if self._vectors is None:
            return np.array(query[rows])
        # by torch, whose threads a server limits, and not by NumPy, which takes all cores
        places = rows if isinstance(rows, slice) else torch.from_numpy(rows)
        scores: Floats = (self._vectors[places] @ torch.from_numpy(query)).numpy()
        return scores

    def _batch(self, pasts: Sequence[Past], domains: Sequence[int]) -> Histories:
        length = self.model.schema.max_history
        items, own = (torch.zeros(len(pasts), length, dtype=torch.int64) for _ in range(2))
        for row, (item, domain) in enumerate(pasts):
            if size := min(len(item), length):
                items[row, -size:] = torch.from_numpy(item[-size:])
                own[row, -size:] = torch.from_numpy(domain[-size:])
        domain_Q = torch.tensor(list(domains), dtype=torch.int64)
        return Histories(items, own, torch.zeros_like(domain_Q), domain_Q)


def by_model(search: Search, pool: Pool, past: Past, filters: "Filters", most: int) -> Found:
    """The best ``most`` entries of the pool by the retriever's scores."""
    parts = filters.parts(pool)
    domains = sorted({part.domain for part in parts})
    queries = search.by_domain(past, domains)
    scored = ((part, search.score(queries[part.domain], part.entries)) for part in parts)
    return _best(scored, filters, most)


def by_share(catalogue: Catalogue, pool: Pool, filters: "Filters", most: int) -> Found:
    """The most taken ``most`` entries of the pool."""
    parts = filters.parts(pool)
    scored = ((part, catalogue.share_E[part.entries].copy()) for part in parts)
    return _best(scored, filters, most)


@dataclass(frozen=True, slots=True)
class Filters:
    """Sorted entries: those that alone may come (None: all), and those that may not."""

    allowed: Ints | None
    left_out: Ints

    def parts(self, pool: Pool) -> list[Part]:
        """The pool's parts, cut to what is allowed."""
        if self.allowed is None:
            return list(pool.parts)
        return [Part(p.domain, _within(self.allowed, p.entries)) for p in pool.parts]

    def drop(self, part: Part, scores: Floats) -> None:
        """Minus infinity for what may not come, in place."""
        out, entries = self.left_out, part.entries
        if isinstance(entries, slice):
            low, high = np.searchsorted(out, [entries.start, entries.stop])
            scores[out[low:high] - entries.start] = -np.inf
        elif len(out):
            scores[np.isin(entries, out)] = -np.inf


def _within(chosen: Ints, entries: Entries) -> Ints:
    if isinstance(entries, slice):
        low, high = np.searchsorted(chosen, [entries.start, entries.stop])
        return chosen[low:high]
    return np.intersect1d(chosen, entries, assume_unique=True)


def _best(scored: Iterable[tuple[Part, Floats]], filters: Filters, most: int) -> Found:
    entries: list[Ints] = [np.empty(0, np.int64)]
    scores: list[Floats] = [np.empty(0)]
    left = 0
    for part, score in scored:
        filters.drop(part, score)
        places, real = top(score, most)
        left += real
        start = part.entries.start if isinstance(part.entries, slice) else None
        entries.append(places + start if start is not None else part.entries[places])  # type: ignore[index]
        scores.append(score[places])
    entry, score = np.concatenate(entries), np.concatenate(scores)
    order = np.lexsort((entry, -score))[:most]
    return Found(entry[order], score[order], left)


def top(score: Floats, most: int) -> tuple[Ints, int]:
    """Places of the ``most`` largest scores, of equals the first ones; and how many real
    scores there are. Minus infinity is the score of what never comes.
    """
    real = int(np.count_nonzero(score > -np.inf))
    if real <= most:
        return np.flatnonzero(score > -np.inf), real
    least = np.partition(score, len(score) - most)[len(score) - most]
    places = np.flatnonzero(score >= least)
    if len(places) > most:  # of those that equal the least, the first ones
        level = np.flatnonzero(score[places] == least)
        places = np.delete(places, level[most - len(places) :])
    return places, real
