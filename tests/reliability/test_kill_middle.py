"""kill -9 in the middle of epochs: training goes on from the step of the last checkpoint, exactly."""

from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from isthmus.data.prepare import prepare
from isthmus.data.sources import get
from isthmus.experiment import run
from isthmus.store import Store
from tests.data.grouped import regrouped
from tests.reliability.small_loop import contents
from tests.reliability.small_run import config, train_and_die


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Planted clusters of domains in row groups of 60 rows."""
    folder = tmp_path_factory.mktemp("data")
    made = get("synthetic")(folder / "raw", rows=1300, domains=4, clusters=2, seed=3)
    return regrouped(prepare(made, folder / "whole").path, folder / "grouped", 60)


@pytest.fixture(scope="module")
def straight(data: Path, place: Path) -> dict[str, bytes]:
    """The content of the run that was never interrupted, and had no checkpoint within an epoch."""
    run(config(data, checkpoint_every=None), Store(place / "straight"))
    return contents(place / "straight")


@pytest.mark.parametrize("lives", [[2, 5, 6, 9, 5], [1, 1, 4, 30], [17, 12, 3]])
def test_killed_in_the_middle_and_resumed_ends_the_same(
    context: ForkServerContext,
    data: Path,
    straight: dict[str, bytes],
    tmp_path: Path,
    lives: list[int],
) -> None:
    kept: set[str] = set()
    for steps in [*lives, 10**9]:
        child = context.Process(target=train_and_die, args=(data, tmp_path, steps))
        child.start()
        child.join()
        assert child.exitcode == (-9 if steps < 10**9 else 0)
        kept |= {path.name for path in tmp_path.glob("small/checkpoints/epoch-*")}
    assert any("-step-" in name for name in kept)
    assert contents(tmp_path) == straight
