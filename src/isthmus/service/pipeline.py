"""One or two runs, loaded once, answering requests."""

import gc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from isthmus.errors import ConfigError
from isthmus.files import canonical, digest_of
from isthmus.models import Ranker, Retriever
from isthmus.service import given, recommend
from isthmus.service.catalogue import Catalogue
from isthmus.service.load import Stage, stage
from isthmus.service.retrieval import Search
from isthmus.service.stages import Ranking, Stages
from isthmus.service.types import Event, HistorySource, RankRequest, Reply, Request
from isthmus.service.users import MISPLACED, Doubt, Pasts, doubt, new_events

_FEW = 5


@dataclass(frozen=True, slots=True)
class DomainInfo:
    """A domain that can be asked for: its items, and which stage knows it by name."""

    name: str
    items: int
    retriever: bool
    ranker: bool


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a pipeline holds: the names of its runs, the SHA-256 of all that they serve, and the
    version, which is short and tells two pipelines apart."""

    retriever: str | None
    ranker: str | None
    digest: str
    version: str


class Pipeline:
    """Retrieves, ranks and replies; it never changes, and threads may share it.

    Attributes:
        loaded: what it holds.
        domains: what can be asked for.
    """

    def __init__(self, retriever: Stage | None, ranker: Stage | None) -> None:
        """At least one of them. Raises MismatchError where they have no item in common."""
        both = (retriever, ranker)
        bundles = [one.bundle if one is not None else None for one in both]
        catalogue = Catalogue(*bundles)
        search = ranking = None
        if retriever is not None:
            assert isinstance(retriever.model, Retriever)
            search = Search(retriever.model)
        if ranker is not None:
            assert isinstance(ranker.model, Ranker)
            ranking = Ranking(ranker.model, ranker.bundle)
        first, second = (Pasts(bundle) if bundle is not None else None for bundle in bundles)
        self._stages = Stages(catalogue, search, ranking, (first, second))
        names = [one.run.name if one is not None else None for one in both]
        content = canonical([one.digest if one is not None else "" for one in both])
        digest = digest_of(content).sha256
        self.loaded = Loaded(names[0], names[1], digest, digest[:12])
        self.domains = tuple(_infos(catalogue, retriever))

    @classmethod
    def load(cls, runs: Sequence[Path | str]) -> "Pipeline":
        """The pipeline of a retriever's run, a ranker's, or both, in any order.

        Raises:
            ConfigError: no run, three, or two of one kind.
            DataError, IntegrityError, MismatchError: a run is not there, not finished, not packed,
                damaged, has weights that are no numbers, or shares no item with the other.
        """
        stages = [stage(Path(run)) for run in runs]
        by_kind = {one.bundle.facts.kind: one for one in stages}
        if not stages or len(by_kind) < len(stages):
            found = ", ".join(f"{one.run.name} (a {one.bundle.facts.kind}'s)" for one in stages)
            raise ConfigError(
                f"expected a retriever's run, a ranker's, or one of each; found {found or 'none'}"
            )
        return cls(by_kind.get("retriever"), by_kind.get("ranker"))

    def recommend(self, request: Request, *, history: HistorySource | None = None) -> Reply:
        """The best items of the asked domains. Equal requests have equal replies."""
        new = new_events(request, history)
        return recommend.recommend(self._stages, request, new, self.loaded.version)

    def rank(self, request: RankRequest, *, history: HistorySource | None = None) -> Reply:
        """The candidates, the best first. Equal sets of candidates have equal replies."""
        return given.rank(self._stages, request, new_events(request, history), self.loaded.version)

    def past(self, user: str) -> list[Event]:
        """What the data knew of a user, oldest first: the retriever's, else the ranker's."""
        found = (pasts.of(user) for pasts in self._stages.pasts if pasts is not None)
        return next((events for events in found if events), [])

    def users(self) -> Iterator[str]:
        """Users of whom the data knew events: the retriever's, else the ranker's."""
        return next((pasts.users() for pasts in self._stages.pasts if pasts is not None), iter(()))

    def doubt(self, item: str, domain: str) -> tuple[Doubt, str]:
        """What speaks against an event of this item in this domain, for programs and in words; ""
        twice if nothing does. It is worth keeping all the same: other runs may know more.
        """
        code = doubt(item, domain, self._stages.catalogue)
        if code == MISPLACED:
            own = ", ".join(self._stages.catalogue.domains(item)[:_FEW])
            return code, f"what is served now knows the item in {own}, not in the event's domain"
        return code, "what is served now does not know the item" if code else ""

    def warm_up(self, requests: Iterable[Request] = ()) -> None:
        """Answer these requests, and one for every domain, so that the first real one is quick.

        The garbage collector is told to pass over all that is loaded by now: of a million items, a
        walk through their names would stop requests for 190 ms, and so takes 1 ms.
        """
        for request in requests:
            self.recommend(request)
        for domain in self.domains:
            self.recommend(Request(domains=(domain.name,)))
        gc.unfreeze()  # first what an earlier pipeline left
        gc.collect()
        gc.freeze()


def _infos(catalogue: Catalogue, retriever: Stage | None) -> Iterable[DomainInfo]:
    for domain, name in enumerate(catalogue.names, 1):
        (pool, _), own = catalogue.pool((name,)), domain <= catalogue.known_first
        yield DomainInfo(
            name=name,
            items=pool.size,
            retriever=own and retriever is not None,
            ranker=name in catalogue.ranker_domain,
        )
