"""What a tracker is, and what it is told."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

Setting = str | int | float | bool | None


@dataclass(frozen=True)
class Tracked:
    """The run that a tracker is told of.

    ``path``: its directory. ``settings``: all that decides the result, by dotted names. ``where``: what
    the user wrote behind the tracker's name, such as an address; "" where there was nothing.
    """

    name: str
    path: Path
    data: str
    settings: Mapping[str, Setting]
    where: str = ""


class Tracker:
    """Shows one run elsewhere. To add one, derive from it in a module of this package, or of your own.

    It lives in a thread of its own, from before the first epoch that is trained now: it may take its
    time, and may fail. It is told floats and words, and can change nothing of the run.
    """

    @classmethod
    def require(cls, where: str) -> None:
        """Refuse to begin, before anything is trained: a ConfigError that says what is missing."""

    def __init__(self, run: Tracked) -> None:
        self.run = run

    def on_epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        """The figures after an epoch, from 1: ``loss/NAME``, ``valid/METRIC``, ``WHAT/DOMAIN``.

        A run that was interrupted goes on with the epoch after its last checkpoint, which may have
        been told before: its figures are the same.
        """
        raise NotImplementedError

    def on_end(self, epoch: int, figures: Mapping[str, float]) -> None:
        """The figures of a run that is finished after so many epochs, by its best weights.

        ``final SPLIT/METRIC`` and ``final SPLIT by domain/METRIC/DOMAIN``.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Nothing more comes: the run is finished, or was interrupted."""
