"""What concerns a server over Redis alone: a store that dies, stands still, or has other servers too."""

import signal
import threading

import pytest

from tests.service.events.server import BINARY, SAFE, WHY_NOT, Server
from tests.service.http.running import event, serving, until

pytestmark = pytest.mark.skipif(BINARY is None, reason=WHY_NOT)
KNOWN = {"user": "7", "domains": ["s1"]}
NOBODY = {"domains": ["s1"]}


@pytest.fixture
def own(tmp_path):
    """A Redis server of the test's own."""
    started = Server(tmp_path, *SAFE).start()
    yield started
    started.kill()


def posted(client, path, body):
    reply = client.post(f"/v1/{path}", json=body)
    return reply.status_code, reply.json()


def test_a_store_that_is_killed_and_comes_back(served, own):
    """Refused is what needs the store; all that was acknowledged is there afterwards."""
    batch = {"events": [event(n, user="9") for n in range(3)]}
    with serving(served, own.url) as (client, state):
        assert posted(client, "events", {"events": [event(7, user="8")]})[0] == 200
        assert client.delete("/v1/users/7").status_code == 200
        own.kill()
        for path, body in (("events", batch), ("recommend", KNOWN)):
            status, refused = posted(client, path, body)
            assert (status, refused["error"]["code"]) == (503, "storage")
            assert str(own.directory) not in str(refused)
        for method, path in (("GET", "/v1/users/7"), ("DELETE", "/v1/users/9")):
            assert client.request(method, path).status_code == 503
        assert posted(client, "recommend", NOBODY)[0] == 200
        assert client.get("/health/ready").status_code == 200
        own.start()
        assert posted(client, "events", batch)[1]["accepted"] == 3
        assert posted(client, "recommend", KNOWN)[1]["flags"]["unknown_user"] is True
        assert {e.user for _, e in state.store.since()} == {"8", "9"}


def test_a_store_that_stands_still_holds_up_only_who_waits_for_it(served, own):
    with serving(served, own.url) as (client, state):
        found = []
        ask = lambda *asked: found.append(client.request(*asked[:2], json=asked[2]).status_code)  # noqa: E731
        slow = (("POST", "/v1/events", {"events": [event(1)]}), ("GET", "/v1/users/7", None))
        waiting = [threading.Thread(target=ask, args=asked) for asked in slow]
        own.process.send_signal(signal.SIGSTOP)
        try:
            for one in waiting:
                one.start()
            until(lambda: state.in_flight == 2)
            assert client.get("/health/live").status_code == 200
            assert posted(client, "recommend", NOBODY)[0] == 200
            assert found == []
        finally:
            own.process.send_signal(signal.SIGCONT)
        for one in waiting:
            one.join()
        assert found == [200, 200]
        assert state.store.counts().events == 1


def test_servers_over_one_store_know_what_each_was_told(served, server):
    server.empty()
    with serving(served, server.url) as (one, _), serving(served, server.url) as (other, _):
        assert posted(one, "events", {"events": [event(1, user="new")]})[1]["accepted"] == 1
        assert posted(other, "events", {"events": [event(1, user="new")]})[1]["duplicate"] == 1
        assert posted(other, "recommend", {"user": "new"})[1]["flags"]["unknown_user"] is False
        assert other.delete("/v1/users/new").json()["events"] == 1
        assert other.delete("/v1/users/7").status_code == 200
        for user in ("new", "7"):
            assert one.get(f"/v1/users/{user}").json()["forgotten"] is True
            assert posted(one, "recommend", {"user": user})[1]["flags"]["unknown_user"] is True
