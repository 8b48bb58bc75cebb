"""What the two stages share of a request: who asks, and what each stage makes of it."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from isthmus.models import Ranker
from isthmus.service.bundle import Bundle, Ints
from isthmus.service.catalogue import Catalogue
from isthmus.service.features import Features
from isthmus.service.ranking import scorer
from isthmus.service.retrieval import Search
from isthmus.service.types import About, Event, Flags, Given
from isthmus.service.users import Pasts, Person, as_ids, person, strangers

POPULARITY = "popularity"
UNKNOWN_DOMAIN = "unknown domain"


class Ranking:
    """The second stage.

    Attributes:
        edges: share of the edges that a domain's masks keep, level by level.
    """

    def __init__(self, model: Ranker, bundle: Bundle) -> None:
        self._features = Features(bundle)
        self._score = scorer(model, self._features.item_columns)
        masks = [level.flatten(1).double().mean(1).tolist() for level in model.expert_masks()]
        self.edges: list[tuple[float, ...]] = list(zip(*masks, strict=True))

    def probabilities(
        self, asked: "Asked", context: dict[str, Given], item_N: Ints, domain_N: Ints
    ) -> NDArray[np.float64]:
        """Of items in domains, by the ranker's ids, [N]."""
        shared_C, asked.unknown_context = self._features.shared(asked.ranked_for, context)
        if not len(item_N):
            return np.empty(0)
        return self._score(shared_C, self._features.items(item_N), domain_N)


@dataclass(frozen=True, slots=True)
class Stages:
    """What a pipeline is made of; without a stage what belongs to it is None."""

    catalogue: Catalogue
    search: Search | None
    ranking: Ranking | None
    pasts: tuple[Pasts | None, Pasts | None]

    def asked(self, about: About, new: list[Event]) -> "Asked":
        """The user of a request, of whom these events are new."""
        own = [p.of(about.user) if p is not None and about.trained else [] for p in self.pasts]
        known = [p.ids for p in self.pasts if p is not None and about.trained]
        first = person(about, own[0], own[1], new)
        unknown, misplaced = strangers(new, self.catalogue)
        return Asked(
            past=as_ids(first.events, self.catalogue),
            retrieved_for=first,
            ranked_for=person(about, own[1], own[0], new),
            unknown_user=about.user is not None
            and not new
            and not any(about.user in users for users in known),
            unknown_items=unknown,
            misplaced_items=misplaced,
        )


@dataclass(slots=True)
class Asked:
    """A request's user as both stages see them, and what turns out to be unknown on the way.

    Attributes:
        past: the events that the retriever knows, by its ids.
    """

    past: tuple[Ints, Ints]
    retrieved_for: Person
    ranked_for: Person
    unknown_user: bool
    unknown_items: list[str] = field(default_factory=list)
    misplaced_items: list[str] = field(default_factory=list)
    unknown_domains: tuple[str, ...] = ()
    unknown_context: list[str] = field(default_factory=list)

    def flags(self, fallback: str) -> Flags:
        """What is told of it."""
        return Flags(
            unknown_user=self.unknown_user,
            unknown_domains=self.unknown_domains,
            unknown_items=tuple(dict.fromkeys(self.unknown_items)),
            misplaced_items=tuple(dict.fromkeys(self.misplaced_items)),
            unknown_context=tuple(self.unknown_context),
            fallback=fallback,
        )
