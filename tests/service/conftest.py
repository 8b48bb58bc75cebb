"""One pair of data sets and its runs for all tests of the service, and both kinds of event store."""

import os
import tempfile
from pathlib import Path

import pytest

from tests.service.events.server import BINARY, SAFE, WHY_NOT, Server
from tests.service.pair import make


@pytest.fixture(scope="session")
def pair(tmp_path_factory):
    return make(tmp_path_factory.mktemp("pair"))


@pytest.fixture
def place(tmp_path):
    """In memory where there is such a place: waiting for a disk proves nothing here."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
def server():
    """One safe Redis server for all tests that only fill it."""
    if BINARY is None:
        pytest.skip(WHY_NOT)
    with tempfile.TemporaryDirectory() as directory:
        started = Server(Path(directory), *SAFE).start()
        yield started
        started.kill()


@pytest.fixture(params=["sqlite", "redis"])
def url(request, place):
    """Where an empty store is."""
    if request.param == "sqlite":
        return str(place / "events.sqlite")
    running = request.getfixturevalue("server")
    running.empty()
    return running.url
