"""TensorBoard: event files beside the run, or in a folder for the files of many runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isthmus.errors import ConfigError
from isthmus.trackers.base import Tracked, Tracker


class TensorBoard(Tracker):
    """Writes to ``RUN/tensorboard``, or to ``WHERE/NAME``.

    Of an interrupted run the epochs after its last checkpoint are purged, and told again.
    """

    @classmethod
    def require(cls, where: str) -> None:
        try:
            import torch.utils.tensorboard  # noqa: F401
        except ImportError:
            raise ConfigError(
                "the tracker tensorboard needs a package that is not installed: "
                "pip install 'isthmus[tensorboard]'"
            ) from None

    def __init__(self, run: Tracked) -> None:
        super().__init__(run)
        self.folder = Path(run.where) / run.name if run.where else run.path / "tensorboard"
        self._writer: Any = None

    def on_epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        self._write(epoch, figures, purge=epoch)

    def on_end(self, epoch: int, figures: Mapping[str, float]) -> None:
        self._write(epoch, figures, purge=epoch + 1)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _write(self, epoch: int, figures: Mapping[str, float], *, purge: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        if self._writer is None:
            self._writer = SummaryWriter(str(self.folder), purge_step=purge)
            rows = [f"| {name} | {value} |" for name, value in self.run.settings.items()]
            self._writer.add_text("settings", "\n".join(["| setting | value |", "|-|-|", *rows]), 0)
        for name, value in figures.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()
