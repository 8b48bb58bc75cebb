"""A small streamed run of AREAD, in a process that kills itself after so many steps."""

import os
import signal
from pathlib import Path
from typing import Any

import torch

from isthmus.config import RunConfig, checked
from isthmus.experiment import run
from isthmus.store import Store
from isthmus.training import fit

SETTINGS = {
    "embedding_dim": 4,
    "bottom_experts": 2,
    "bottom_hidden": [8],
    "experts": [2, 2],
    "expert_hidden": [[4], [4]],
    "search": {
        "warmup_steps": 6,
        "first": 5,
        "every": 9,
        "candidates": 2,
        "updates": 1,
        "batch_size": 32,
        "flips": 0.5,
        "incumbent": False,
    },
    "augment_weight": 0.1,
}


def config(data: Path, **train: Any) -> RunConfig:
    """Two epochs; a checkpoint after every fourth step."""
    how = {"batch_size": 64, "max_epochs": 2, "patience": 9, "checkpoint_every": 4}
    how |= {"stream": True, "stream_window": 200, **train}
    return checked(
        {"data": str(data), "model": "aread", "settings": SETTINGS, "train": how, "name": "small"},
        "a test",
    )


def train_and_die(data: Path, root: Path, steps: int) -> None:
    """Train the run in the store ``root``; after ``steps`` steps SIGKILL ends the process."""
    torch.set_num_threads(1)
    left, real = iter(range(steps)), fit.update

    def update(*args: Any, **named: Any) -> Any:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **named)

    fit.update = update  # type: ignore[assignment]
    run(config(data), Store(root))
