"""kill -9 at any moment: a checkpoint is always there, and the end is the same to the bit."""

import json
import random
import time
from collections import Counter
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest

from isthmus.store import Store
from isthmus.training import checkpoint
from tests.reliability.every_line import kill_every_save
from tests.reliability.small_loop import EPOCHS, contents, train_in_child


class Killer:
    """Trains in children that it kills, until one gets through."""

    def __init__(self, context: ForkServerContext, writer: str, seed: int) -> None:
        self.context = context
        self.writer = writer
        self.random = random.Random(seed)
        self.kills: Counter[str] = Counter()  # by what was going on

    def round(self, root: Path) -> bool:
        """Start a trainer and kill it at a random moment; False if it ended before that."""
        receiver, sender = self.context.Pipe(duplex=False)
        child = self.context.Process(target=train_in_child, args=(root, self.writer, sender))
        child.start()
        sender.close()
        skip = self.random.randrange(2 * EPOCHS + 2)  # marks that pass before the kill
        last = "starting"
        try:
            for _ in range(skip):
                last = receiver.recv()
            time.sleep(self.random.uniform(0, 0.015))  # about what an epoch or a save takes
            while receiver.poll():
                last = receiver.recv()
        except EOFError:
            child.join()
            assert child.exitcode == 0
            return False
        child.kill()
        child.join()
        if child.exitcode == 0:
            return False
        assert child.exitcode == -9, child.exitcode
        self.kills[last] += 1
        return True

    def until_finished(self, root: Path) -> None:
        epochs = 0
        while self.round(root):
            if not (root / "small" / "run.json").exists():
                continue
            if Store(root).run("small", check=False).finished:
                continue
            state = checkpoint.latest(root / "small" / "checkpoints")
            assert state is None or state.epochs >= epochs
            assert state is not None or epochs == 0, "a checkpoint was there, and is lost"
            epochs = state.epochs if state else 0


def test_killed_at_random_moments_and_resumed_ends_the_same(
    context: ForkServerContext, uninterrupted: dict[str, bytes], place: Path
) -> None:
    killer = Killer(context, "ours", seed=0)
    runs = 0
    while killer.kills.total() < 30 or killer.kills["saving"] < 5:
        root = place / str(runs)
        killer.until_finished(root)
        assert contents(root) == uninterrupted
        runs += 1
        assert runs < 100


@pytest.fixture(scope="module")
def killed_at_every_line(context: ForkServerContext, place: Path) -> dict[str, Any]:
    reports = {}
    for writer, stride in (("ours", 1), ("naive", 8)):
        directory = place / writer
        directory.mkdir()
        child = context.Process(target=kill_every_save, args=(directory, writer, stride))
        child.start()
        child.join()
        assert child.exitcode == 0
        reports[writer] = json.loads((directory / "report.json").read_text())
    return reports


def test_killed_at_every_line_of_a_save(killed_at_every_line: dict[str, Any]) -> None:
    report = killed_at_every_line["ours"]
    assert report["kills"] > 100
    assert set(report["loaded"]) == {"2", "3"}  # the one before, or this one, each whole
    assert report["failed"] == []


def test_the_naive_writer_fails_the_same_test(killed_at_every_line: dict[str, Any]) -> None:
    """The negative control: if this one passed, the test above would prove nothing."""
    report = killed_at_every_line["naive"]
    assert report["kills"] > 20
    assert len(report["failed"]) > 5
