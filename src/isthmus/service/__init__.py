"""Serving: candidates by a retriever, their order by a ranker, and the events that users leave.

Without HTTP, for whatever speaks it (and for the command ``isthmus recommend``)::

    pack(run, prepared)                      # once a run: what serving needs of its data
    pipeline = Pipeline.load([retriever_run, ranker_run])        # or one of them
    pipeline.warm_up()                       # then it is ready
    reply = pipeline.recommend(Request(user="906", domains=("YOGURT",), k=10), history=source)
    reply = pipeline.rank(RankRequest(user="906", candidates=(Candidate(item="895070"),)))

* ``Request`` and ``RankRequest`` are what is asked (pydantic: unknown fields are refused), ``Reply``
  is what is answered (dataclasses). Ids are the raw ones of the data, as text.
* ``Pipeline`` is immutable: to swap runs, load another one, warm it up, and move one reference.
  ``pipeline.loaded`` says which runs it holds and names the version that every reply bears. It may
  be used by several threads at once; a request is computed by the thread that asks.
* ``HistorySource`` is what an event store has to offer: the newest events of a user. They are merged
  with the events of the request and with what the data knew.
* ``pipeline.domains`` lists the domains, ``pipeline.past(user)`` what the data knew of a user.

What is not known is answered by a rule and told in ``reply.flags``, never refused:

=====================  ==========================================================================
unknown user           the events that came along are used; without any, what is popular there
unknown domain         all items (or those of the allow list), ranked by the unknown domain's path
unknown item           in a history, allow or block list: passed over; as a candidate: ranked last
                       by a retriever, by the unknown item's path by a ranker (``known`` is false)
item of other domain   an event that names a known item with a domain that it is not of is passed
                       over by the retriever, and counts for the ranker
more than there is     fewer items, and ``reply.fewer`` says why
=====================  ==========================================================================
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isthmus.service.bundle import pack
    from isthmus.service.pipeline import DomainInfo, Loaded, Pipeline
    from isthmus.service.types import (
        Candidate,
        Event,
        Flags,
        HistorySource,
        Influence,
        RankRequest,
        Recommended,
        Reply,
        Request,
        Why,
    )

_PLACES = {"pack": "bundle", "DomainInfo": "pipeline", "Loaded": "pipeline", "Pipeline": "pipeline"}

__all__ = [
    "Candidate",
    "DomainInfo",
    "Event",
    "Flags",
    "HistorySource",
    "Influence",
    "Loaded",
    "Pipeline",
    "RankRequest",
    "Recommended",
    "Reply",
    "Request",
    "Why",
    "pack",
]


def __getattr__(name: str) -> Any:
    if name in __all__:  # loaded when first used: the event stores need no torch
        return getattr(import_module(f"isthmus.service.{_PLACES.get(name, 'types')}"), name)
    raise AttributeError(f"module 'isthmus.service' has no attribute {name!r}")
