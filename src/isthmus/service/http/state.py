"""What the routes share: the pipeline that is served now, the events, the threads that compute."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from isthmus.service.events import EventStore, Verdict
from isthmus.service.http.errors import ApiError
from isthmus.service.http.forgotten import Forgotten
from isthmus.service.http.measures import Measures
from isthmus.service.http.settings import Settings
from isthmus.service.http.verdicts import report_beside
from isthmus.service.http.warned import warned
from isthmus.service.pipeline import Pipeline
from isthmus.service.types import About, RankRequest, Reply, Request

REMEMBERED = 64
"""Recent requests, in memory alone, by which the next pipeline is made warm."""
Result = TypeVar("Result")
_About = TypeVar("_About", bound=About)


class Served:
    """A pipeline, and what the sharing report beside its runs says."""

    def __init__(self, pipeline: Pipeline, runs: Sequence[Path]) -> None:
        self.pipeline = pipeline
        self.beside = report_beside(runs)
        self.names = frozenset(domain.name for domain in pipeline.domains)

    @classmethod
    def load(cls, runs: Sequence[Path]) -> "Served":
        """Raises as ``Pipeline.load``."""
        return cls(Pipeline.load(runs), runs)


class State:
    """The server's own state. ``current`` is one reference: whoever took it keeps what it was."""

    def __init__(
        self, served: Served, store: EventStore, forgotten: Forgotten, settings: Settings
    ) -> None:
        self.current: Served = served
        self.previous: Served | None = None
        self.store, self.forgotten, self.settings = store, forgotten, settings
        self.measures = Measures()
        self.ready = False
        self.waiting = 0
        self.in_flight = 0
        self._threads = ThreadPoolExecutor(settings.threads, "isthmus-compute")
        self._changing = asyncio.Lock()
        self._recent: deque[Request] = deque(maxlen=REMEMBERED)

    async def recommend(self, request: Request) -> Reply:
        """Raises ApiError where too many wait already."""
        served = self.current

        def compute() -> tuple[Request, Reply]:
            told = self._without_forgotten(request)  # it may ask Redis: nothing for the event loop
            return told, served.pipeline.recommend(told, history=self.store)

        told, reply = await self._computed(compute)
        self._recent.append(told)
        self.measures.replied(served.names, request.domains, reply)
        return reply

    async def rank(self, request: RankRequest) -> Reply:
        """Raises ApiError where too many wait already."""
        served = self.current
        reply = await self._computed(
            lambda: served.pipeline.rank(self._without_forgotten(request), history=self.store)
        )
        self.measures.replied(served.names, (), reply)
        return reply

    async def keep(self, events: Sequence[object]) -> tuple[Verdict, ...]:
        """Keep events; they are on the disk when it returns.

        Raises ApiError where too many wait already, StorageError where the disk refuses.
        """
        if self.store.backlog >= self.settings.limits.backlog:
            raise ApiError("overloaded")
        verdicts = await asyncio.wrap_future(self.store.submit(events))
        known = self.current.names
        accepted = (
            event["domain"]
            for event, verdict in zip(events, verdicts, strict=True)
            if verdict.status == "accepted" and isinstance(event, dict)
        )
        verdicts = warned(self.current.pipeline, events, verdicts)
        self.measures.kept((name for name in accepted if name in known), verdicts)
        return verdicts

    async def forget(self, user: str) -> int:
        """Delete all of a user; how many events there were."""
        await asyncio.to_thread(self.forgotten.add, user)
        deleted = await asyncio.wrap_future(self.store.submit_delete(user))
        kept = [request for request in self._recent if request.user != user]
        self._recent = deque(kept, REMEMBERED)
        return deleted

    async def warm_up(self) -> None:
        """Make the first pipeline warm, and be ready."""
        await asyncio.to_thread(self.current.pipeline.warm_up)
        self.ready = True

    async def load(self, runs: Sequence[Path]) -> Served:
        """Serve other runs: loaded and warmed aside, then one reference moves.

        Raises ApiError where that is going on already, and as ``Pipeline.load``; then nothing
        changed.
        """
        if self._changing.locked():
            raise ApiError("load_in_progress")
        async with self._changing:
            served = await asyncio.to_thread(_loaded, runs, tuple(self._recent))
            self.current, self.previous = served, self.current
        return served

    def roll_back(self) -> Served:
        """Serve what was served before; a second time returns to the newer one.

        Raises ApiError where nothing was, or something is being loaded.
        """
        if self._changing.locked():
            raise ApiError("load_in_progress")
        if self.previous is None:
            raise ApiError("nothing_before")
        self.current, self.previous = self.previous, self.current
        return self.current

    def close(self) -> None:
        """Finish what is being computed, and what waits for the disk."""
        self.ready = False
        self._threads.shutdown()
        self.store.close()

    async def _computed(self, compute: Callable[[], Result]) -> Result:
        if not self.ready:
            raise ApiError("not_ready")
        if self.waiting >= self.settings.limits.queue + self.settings.threads:
            raise ApiError("overloaded")
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, compute)
        finally:
            self.waiting -= 1

    def _without_forgotten(self, request: _About) -> _About:
        if request.user is None or request.user not in self.forgotten:
            return request
        return request.model_copy(update={"trained": False})


def _loaded(runs: Sequence[Path], recent: Sequence[Request]) -> Served:
    served = Served.load(runs)
    served.pipeline.warm_up(recent)
    return served
