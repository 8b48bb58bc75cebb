"""Trackers at work: each in a thread, so that none can hold up training, nor stop or change it."""

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from isthmus.progress import Reporter
from isthmus.trackers.base import Tracked, Tracker

PATIENCE = 60.0
"""Seconds that the end of a run waits for a tracker that has not yet sent everything."""


class Trackers:
    """All trackers of a run. What fails is told once, as a note, and then left alone."""

    def __init__(self, posts: Mapping[str, "Post"], reporter: Reporter) -> None:
        self.posts, self.reporter = dict(posts), reporter

    def on_epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Tell all of an epoch."""
        for post in self.posts.values():
            post.send(lambda tracker: tracker.on_epoch(epoch, dict(figures)))
        self._note_failures()

    def on_end(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Tell all of the end."""
        for post in self.posts.values():
            post.send(lambda tracker: tracker.on_end(epoch, dict(figures)))

    def close(self, patience: float) -> None:
        """Wait until all is sent, for so many seconds at most."""
        for name, post in self.posts.items():
            if not post.finish(patience):
                self.reporter.note(
                    f"tracker {name}: not everything was sent within {patience:.0f} s, and the rest "
                    "is given up; the run's own log has it all"
                )
        self._note_failures()

    def _note_failures(self) -> None:
        for name, post in list(self.posts.items()):
            if post.failure is not None:
                why, *_ = [*str(post.failure).splitlines(), ""]
                self.reporter.note(
                    f"tracker {name} failed, and is told no more: {type(post.failure).__name__}: "
                    f"{why} (training goes on; the run's own log has everything)"
                )
                del self.posts[name]


class Post:
    """A tracker's thread, and what it has yet to be told."""

    def __init__(self, make: Callable[[], Tracker]) -> None:
        self.failure: Exception | None = None
        self._messages: queue.SimpleQueue[Callable[[Tracker], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, args=(make,), daemon=True)
        self._thread.start()

    def send(self, message: Callable[[Tracker], None]) -> None:
        """Have the tracker told, some time soon."""
        self._messages.put(message)

    def finish(self, patience: float) -> bool:
        """Close the tracker when it was told all; whether that took no longer than ``patience``."""
        self._messages.put(None)
        self._thread.join(patience)
        return not self._thread.is_alive()

    def _work(self, make: Callable[[], Tracker]) -> None:
        try:
            tracker = make()
            try:
                while (message := self._messages.get()) is not None:
                    message(tracker)
            finally:
                tracker.close()
        except Exception as error:  # whatever it is, training goes on
            self.failure = error


@contextmanager
def at_work(
    kinds: Mapping[str, tuple[type[Tracker], Tracked]],
    reporter: Reporter,
    *,
    patience: float = PATIENCE,
) -> Iterator[Trackers]:
    """Inside, the trackers can be told of the run; afterwards they are closed, however it ended."""
    posts = {name: Post(lambda k=kind, r=run: k(r)) for name, (kind, run) in kinds.items()}  # type: ignore[misc]
    trackers = Trackers(posts, reporter)
    try:
        yield trackers
    finally:
        trackers.close(patience)
