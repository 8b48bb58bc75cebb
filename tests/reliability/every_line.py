"""Kill a save with SIGKILL before each line that it executes, one after the other."""

import itertools
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from isthmus import files
from isthmus.training import checkpoint
from isthmus.training.state import TrainingState
from tests.reliability.small_loop import WRITERS, contents

WATCHED = {files.__file__, checkpoint.__file__, torch.serialization.__file__}


def state_after(epochs: int) -> TrainingState:
    """As of a run of so many epochs; its best epoch is the first."""
    weights = [{"weight": torch.full((50,), float(epoch))} for epoch in range(epochs)]
    optimizer = {"state": {0: {"step": torch.tensor(float(epochs))}}, "param_groups": []}
    scores = [1.0 / (epoch + 1) for epoch in range(epochs)]
    return TrainingState(scores, [{}] * epochs, weights[-1], optimizer, weights[0])


def kill_before_line(number: int) -> None:
    """Arrange that this process is killed before the ``number``-th line in the watched files."""
    left = number

    def trace(frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        nonlocal left
        if frame.f_code.co_filename not in WATCHED:
            return None
        if event == "line":
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


def killed_at(number: int, action: Callable[[], object]) -> bool:
    """Whether ``action``, in a child of its own, met its end at this line."""
    child = os.fork()
    if child == 0:
        kill_before_line(number)
        action()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def kill_every_save(directory: Path, writer: str, stride: int) -> None:
    """For each line (or every ``stride``-th): kill the save of epoch 3 there, look what is left, then save it again.

    Writes ``report.json``: the number of kills, what could be loaded after them, and the lines
    after which nothing could be loaded or the second save came to other bytes.
    """
    torch.set_num_threads(1)
    save, latest = WRITERS[writer]
    first = directory / "first"
    for epochs in (1, 2):
        save(state_after(epochs), first)
    save(state_after(3), Path(shutil.copytree(first, directory / "whole")))
    expected = contents(directory / "whole")
    report: dict[str, Any] = {"kills": 0, "loaded": {}, "failed": []}
    for line in itertools.count(step=stride):
        place = Path(shutil.copytree(first, directory / "place"))
        if not killed_at(line, lambda place=place: save(state_after(3), place)):
            break
        try:
            for path in checkpoint.checkpoints(place).values():
                checkpoint.load(path)  # what bears its final name is whole
            found = latest(place)
            epochs = found.epochs if found else 0
            save(state_after(3), place)
            if epochs not in (2, 3) or contents(place) != expected:
                report["failed"].append(line)
        except Exception as error:  # the control fails in many ways
            epochs = type(error).__name__
            report["failed"].append(line)
        report["loaded"][epochs] = report["loaded"].get(epochs, 0) + 1
        report["kills"] += 1
        shutil.rmtree(place)
    (directory / "report.json").write_text(json.dumps(report))
