"""The traps of going on: order, random state, ends of epochs, second writers, second resumptions."""

from itertools import count
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from isthmus.errors import LockedError
from isthmus.store import Store
from isthmus.training import checkpoint
from tests.reliability.small_loop import EPOCHS, contents, train, train_in_child

MARKS = 2 * EPOCHS + 1  # training and saving each epoch, and finishing


class Stopped(Exception):
    pass


def train_until(root: Path, number: int, *, seeded: bool = True) -> None:
    """Train, and stop at the ``number``-th thing that is about to happen."""
    seen = count()

    def mark(_: str) -> None:
        if next(seen) == number:
            raise Stopped

    with pytest.raises(Stopped):
        train(root, mark=mark, seeded=seeded)


def test_the_same_run_twice_gives_the_same_bytes(
    tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    train(tmp_path)
    assert contents(tmp_path) == uninterrupted
    assert {Path(name).name for name in uninterrupted} == {
        "run.json", "model.safetensors", "metrics.json", "valid.parquet", "test.parquet",
    }  # fmt: skip


@pytest.mark.parametrize("number", range(MARKS))
def test_stopped_at_any_step_and_resumed(
    tmp_path: Path, uninterrupted: dict[str, bytes], number: int
) -> None:
    train_until(tmp_path, number)
    train(tmp_path)
    assert contents(tmp_path) == uninterrupted


def test_checkpoints_of_a_resumed_run_have_the_same_bytes(tmp_path: Path) -> None:
    last = 2 * EPOCHS - 1  # before the last checkpoint is saved
    train_until(tmp_path / "once", last)
    for number in (3, 2, 2):  # each stop is in an epoch's middle, or before its save
        train_until(tmp_path / "often", number)
    train_until(tmp_path / "often", last - 6)  # three epochs were there, and two checkpoints
    expected = contents(tmp_path / "once")
    assert len([name for name in expected if name.endswith("manifest.json")]) == 2
    assert contents(tmp_path / "often") == expected


def test_resumed_twice_and_thrice(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    for number in (3, 2, 5):
        train_until(tmp_path, number)
    train(tmp_path)
    assert contents(tmp_path) == uninterrupted


def test_resumed_after_the_last_step(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    train_until(tmp_path, MARKS - 1)  # all epochs are done, nothing is exported
    again: list[str] = []
    train(tmp_path, mark=again.append)
    assert again == ["finishing", "finished"]
    assert contents(tmp_path) == uninterrupted
    train(tmp_path, mark=again.append)  # and a finished run stays as it is
    assert again == ["finishing", "finished"]
    assert contents(tmp_path) == uninterrupted


def test_seeding_once_would_not_do(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    """The negative control: a resumed run that repeats the random numbers of its first epoch."""
    train(tmp_path / "whole", seeded=False)
    train_until(tmp_path / "resumed", 4, seeded=False)
    train(tmp_path / "resumed", seeded=False)
    assert contents(tmp_path / "resumed") != contents(tmp_path / "whole")


def test_a_damaged_newest_checkpoint_costs_an_epoch_and_nothing_else(
    tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    train_until(tmp_path, 6)  # three epochs are saved
    checkpoints = checkpoint.checkpoints(tmp_path / "small" / "checkpoints")
    assert sorted(checkpoints) == [2, 3]
    path = checkpoints[3] / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    train(tmp_path)
    assert contents(tmp_path) == uninterrupted


def test_two_trainers_on_one_directory(
    context: ForkServerContext, tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=train_in_child, args=(tmp_path, "ours", sender, True))
    child.start()
    assert receiver.recv() == "training"  # and it waits there
    with pytest.raises(LockedError, match=f"is being written to by process {child.pid} on "):
        train(tmp_path)
    assert not Store(tmp_path).run("small").finished  # who only reads is not kept out
    child.kill()
    child.join()
    train(tmp_path)  # the lock ended with its process
    assert contents(tmp_path) == uninterrupted
