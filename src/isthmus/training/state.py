"""All there is to know at the end of an epoch, or in the middle of one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from isthmus.data.feed import Place


@dataclass
class Partial:
    """An epoch after ``step`` of its steps.

    ``sums`` and ``counts`` are of each named loss so far; ``place`` is the feed's; ``rng`` the states
    of torch's own generators, by process and kind of device; ``masks`` are the model's before the
    epoch, which the log compares with those after it.
    """

    step: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    place: Place = field(default_factory=Place)
    rng: list[dict[str, Tensor]] = field(default_factory=list)
    masks: list[Tensor] = field(default_factory=list)

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Count one more step."""
        self.step += 1
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, torch.zeros(())) + value.detach()
            self.counts[name] = self.counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """Mean of each named loss over the steps that had it."""
        return {name: float(total) / self.counts[name] for name, total in self.sums.items()}


@dataclass
class TrainingState:
    """Enough to go on training from the end of an epoch, or from its middle, bit for bit.

    ``scores`` and ``losses`` have one entry an epoch; ``model``, ``optimizer`` are the state dicts
    at its end, ``best`` the model's at the end of the best epoch. With ``partial`` they are of the
    middle of the next epoch; ``best`` is empty where that is the first. Tensors are copies, never
    views of live parameters. ``told`` is what the model told of domains at the end of the last
    epoch: for the log, and in no checkpoint.
    """

    scores: list[float] = field(default_factory=list)
    losses: list[dict[str, float]] = field(default_factory=list)
    model: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    told: dict[str, dict[str, float]] = field(default_factory=dict)
    partial: Partial | None = None

    @property
    def epochs(self) -> int:
        """Epochs completed."""
        return len(self.scores)

    @property
    def best_epoch(self) -> int:
        """The epoch with the highest score, the first of equals."""
        return max(range(len(self.scores)), key=self.scores.__getitem__)
