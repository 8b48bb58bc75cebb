"""A run that is trained, and the trackers that are told of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from isthmus import distributed
from isthmus.config import RunConfig
from isthmus.progress import Reporter
from isthmus.store import Run
from isthmus.trackers import Tracked, get, written
from isthmus.trackers.figures import of_epoch, of_ranks, of_scores, settings
from isthmus.trackers.thread import Trackers, at_work
from isthmus.training.state import TrainingState

OnEpoch = Callable[[TrainingState], None]


class TrackedRun:
    """Tells the trackers of a run what there is to tell."""

    def __init__(self, metric: str, trackers: Trackers) -> None:
        self.metric, self.trackers = metric, trackers

    def before(self, then: OnEpoch) -> OnEpoch:
        """What is done at the end of an epoch: the trackers are told, and ``then`` hears the state."""

        def on_epoch(state: TrainingState) -> None:
            self.trackers.on_epoch(state.epochs, of_epoch(state, self.metric))
            then(state)

        return on_epoch

    def end(self, kept: Run, epochs: int) -> None:
        """Tell of a finished run."""
        if not self.trackers.posts:
            return
        figures: dict[str, float] = {}
        if kept.of_items:
            for split, ranks in kept.rank_metrics.items():
                figures |= of_ranks(split, ranks)
        else:
            for split, scores in kept.metrics.items():
                figures |= of_scores(split, scores)
        self.trackers.on_end(epochs, figures)


@contextmanager
def tracked(config: RunConfig, kept: Run, reporter: Reporter) -> Iterator[TrackedRun]:
    """Inside, the trackers that ``config.track`` names can be told of the run.

    Of several processes the first has them.

    Raises:
        ConfigError: there is no such tracker, or it cannot begin.
    """
    asked = written(config.track) if distributed.peers().leads else {}
    values = settings({**kept.config, "data": kept.data.name})
    kinds = {
        name: (get(name, where), Tracked(kept.name, kept.path, kept.data.name, values, where))
        for name, where in asked.items()
    }
    with at_work(kinds, reporter) as trackers:
        yield TrackedRun(config.train.metric, trackers)
