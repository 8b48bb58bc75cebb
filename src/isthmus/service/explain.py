"""Why an item was retrieved: what its score loses with each event.

An event is left out and the rest scored anew, which holds for every retriever, whatever is in it.
"""

import numpy as np

from isthmus.service.bundle import Ints
from isthmus.service.catalogue import Catalogue
from isthmus.service.retrieval import Search
from isthmus.service.types import Event, Influence
from isthmus.service.users import as_ids

LATEST = 20
"""Events that are left out one after another, the newest: one more query each."""


def influences(
    search: Search, catalogue: Catalogue, events: list[Event], entries: Ints, domain_N: Ints
) -> list[tuple[Influence, ...]]:
    """For each entry, with the domain that it was asked in, the latest events that the retriever
    knows, the largest gain first; of equals the newest."""
    known = [e for e in events if catalogue.entry(e.item, e.domain) >= 0]
    latest = known[-min(LATEST, search.model.schema.max_history) :]
    pasts = [as_ids(known, catalogue)]
    for place in range(len(known) - len(latest), len(known)):
        pasts.append(as_ids([*known[:place], *known[place + 1 :]], catalogue))
    found: list[tuple[Influence, ...]] = [()] * len(entries)
    for domain in np.unique(domain_N):
        rows = np.flatnonzero(domain_N == domain)
        queries = search.queries(pasts, [int(domain)] * len(pasts))
        score_PN = np.stack([search.score(query, entries[rows]) for query in queries])
        with np.errstate(invalid="ignore"):
            gain_PN = np.nan_to_num(score_PN[0] - score_PN[1:])  # what is never given stays so
        for column, row in enumerate(rows):
            pairs = zip(reversed(latest), gain_PN[::-1, column].tolist(), strict=True)
            weighed = [Influence(event, weight) for event, weight in pairs]
            found[row] = tuple(sorted(weighed, key=lambda one: -one.weight))
    return found
