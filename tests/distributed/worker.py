"""What each process of a test does: train the runs of a file, all or until it is killed.

    torchrun --nproc-per-node 2 tests/distributed/worker.py TASKS RUNS

TASKS is JSON: ``runs`` [[name, configuration], ..], and ``kill``: {rank, step, once}: that process
is killed by SIGKILL before its so-manieth step, if the file ``once`` is not there yet.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from isthmus.config import checked
from isthmus.experiment import run
from isthmus.meeting import started
from isthmus.store import Store
from isthmus.training import fit


def main(tasks: dict[str, Any], runs: Path) -> None:
    _in_float64()
    with started() as here:
        if tasks.get("kill"):
            _die(here.rank, **tasks["kill"])
        for name, config in tasks["runs"]:
            run(checked({**config, "name": name}, name), Store(runs))


def _in_float64() -> None:
    """There the order of sums is 1e-15 of a figure, and no near tie of two masks turns over."""
    torch.set_default_dtype(torch.float64)
    plain = functional.binary_cross_entropy_with_logits

    def wide(logit: Tensor, label: Tensor, **how: Any) -> Tensor:
        return plain(logit, label.to(logit.dtype), **how)  # labels are stored in float32

    functional.binary_cross_entropy_with_logits = wide


def _die(own: int, rank: int, step: int, once: str) -> None:
    """Be killed in the middle of an epoch, one time."""
    taken, update = 0, fit.update

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal taken
        taken += 1
        if own == rank and taken == step and not Path(once).exists():
            Path(once).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return update(*args, **kwargs)

    fit.update = counted


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
