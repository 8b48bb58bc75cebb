"""Both stores behind one fixture, each on a place of its own."""

import os
import tempfile
from pathlib import Path

import pytest

from isthmus.service.events import open_events
from tests.service.events.sample import NOW
from tests.service.events.server import BINARY, SAFE, WHY_NOT, Server


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


@pytest.fixture
def open_store(url):
    """Opens the same store, as often as asked; the clock stands still."""
    opened = []

    def open_it(**options):
        opened.append(open_events(url, **{"clock": lambda: NOW, **options}))
        return opened[-1]

    yield open_it
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store):
    return open_store()
