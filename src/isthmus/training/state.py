"""All there is to know at the end of an epoch."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass
class TrainingState:
    """Enough to go on training from the end of an epoch, bit for bit.

    ``scores`` and ``losses`` have one entry an epoch; ``model``, ``optimizer`` are the state dicts
    at its end, ``best`` the model's at the end of the best epoch. Tensors are copies, never views
    of live parameters. ``told`` is what the model told of domains at the end of the last epoch:
    for the log, and in no checkpoint.
    """

    scores: list[float] = field(default_factory=list)
    losses: list[dict[str, float]] = field(default_factory=list)
    model: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    told: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def epochs(self) -> int:
        """Epochs completed."""
        return len(self.scores)

    @property
    def best_epoch(self) -> int:
        """The epoch with the highest score, the first of equals."""
        return max(range(len(self.scores)), key=self.scores.__getitem__)
