"""Where runs are killed, and the run that was not."""

import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from tests.reliability.small_loop import contents, train

_LAZY = ["torch._dynamo", "pandas"]  # what the first step of Adam and the first table import


@pytest.fixture(scope="session")
def context() -> ForkServerContext:
    """Children of one process that has imported all: they start in 20 ms instead of seconds."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(
        ["tests.reliability.every_line", "tests.reliability.small_run", *_LAZY]
    )
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """In memory where there is such a place: SIGKILL loses no page, so waiting for a disk is idle."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path_factory.mktemp("place")
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def uninterrupted(place: Path) -> dict[str, bytes]:
    """The content of the run "small", trained in one go."""
    train(place / "uninterrupted")
    return contents(place / "uninterrupted")
