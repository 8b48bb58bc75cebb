"""One pair of runs, loaded once, for all servers."""

import pytest

from isthmus.service.http.state import Served
from tests.service.http.running import serving


@pytest.fixture(scope="session")
def runs(pair):
    return [pair["sasrec"].path, pair["aread"].path]


@pytest.fixture(scope="session")
def served(runs):
    return Served.load(runs)


@pytest.fixture(scope="session")
def plain(served, tmp_path_factory):
    """A server as it starts by default, and its state; for tests that change nothing of it."""
    with serving(served, tmp_path_factory.mktemp("plain")) as (client, state):
        yield client, state
        assert state.store.counts().events == 0, "a test sent events to the server that all share"


@pytest.fixture(scope="session")
def client(plain):
    return plain[0]


@pytest.fixture(scope="module")
def over_redis(served, server):
    """A client of a server of the module's own that keeps events in Redis, and its state."""
    with serving(served, server.url) as found:
        yield found


@pytest.fixture(scope="module")
def worn(served, tmp_path_factory):
    """A client of a server of the module's own, that its tests may send anything to."""
    with serving(served, tmp_path_factory.mktemp("worn")) as (client, _):
        yield client
