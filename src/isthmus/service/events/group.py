"""Group commit: one thread writes, and one commit is for everybody who waits at that moment.

DeWitt et al., Implementation techniques for main memory database systems (SIGMOD 1984), section
5.2: while the disk is made to keep one group of requests, the next group gathers.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from isthmus.files import StorageError

Request = TypeVar("Request")
Result = TypeVar("Result")
_MOMENT = 0.001
"""Seconds; a lone caller never waits for it, as the group before it was one."""
_Waiting = tuple[Request, Future[Result]]


class GroupCommit(Generic[Request, Result]):
    """Hands requests, in the order in which they came, to ``commit``: as many as are waiting.

    ``commit`` returns one result a request once all are durable; if it raises, all of the group
    get that error.
    """

    def __init__(
        self, commit: Callable[[Sequence[Request]], Sequence[Result]], *, most: int = 1024
    ) -> None:
        self._commit = commit
        self._most = most
        self._queue: SimpleQueue[_Waiting[Request, Result] | None] = SimpleQueue()
        self._lock = threading.Lock()  # nothing is put in behind the end
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="isthmus-events", daemon=True)
        self._thread.start()

    @property
    def backlog(self) -> int:
        """About how many requests wait."""
        return self._queue.qsize()

    def submit(self, request: Request) -> "Future[Result]":
        """Queue a request. Its future holds the result when that is durable.

        Raises StorageError once closed.
        """
        future: Future[Result] = Future()
        with self._lock:
            if self._closed:
                raise StorageError("the event store is closed; open it again to write to it.")
            self._queue.put((request, future))
        return future

    def close(self) -> None:
        """Commit what waits, and end the thread."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        taken: list[_Waiting[Request, Result] | None] = []
        while not taken or taken[-1] is not None:
            taken = self._take(len(taken))
            self._serve([each for each in taken if each is not None])

    def _take(self, before: int) -> list[_Waiting[Request, Result] | None]:
        """What waits, and for a moment what is about to: as many as there were ``before``.

        Those who were answered just now send their next request within microseconds. Without that
        moment the first of them would have a commit for itself, and the others wait for another.
        """
        taken = [self._queue.get()]
        end = time.monotonic() + _MOMENT
        while taken[-1] is not None and len(taken) < self._most:
            wait = end - time.monotonic() if len(taken) < before else 0.0
            try:
                taken.append(
                    self._queue.get(timeout=wait) if wait > 0 else self._queue.get_nowait()
                )
            except Empty:
                break
        return taken

    def _serve(self, taken: list[_Waiting[Request, Result]]) -> None:
        wanted = [(request, f) for request, f in taken if f.set_running_or_notify_cancel()]
        if not wanted:
            return
        try:
            results = self._commit([request for request, _ in wanted])
        except BaseException as error:  # whatever it is, nobody may wait for ever
            for _, future in wanted:
                future.set_exception(error)
        else:
            for (_, future), result in zip(wanted, results, strict=True):
                future.set_result(result)
