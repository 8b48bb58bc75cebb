"""What concerns Redis alone: what it must be set to, what it forgets, what is said of it."""

import signal
import time

import pytest
import redis

from isthmus.errors import ConfigError, MismatchError
from isthmus.files import StorageError
from isthmus.service.events import open_events
from tests.service.events.sample import NOW, event, statuses
from tests.service.events.server import BINARY, SAFE, WHY_NOT, Server

pytestmark = pytest.mark.skipif(BINARY is None, reason=WHY_NOT)


@pytest.fixture
def own(tmp_path):
    """A function that starts a server of the test's own, with any options."""
    started = []

    def start(*options):
        started.append(Server(tmp_path, *options).start())
        return started[-1]

    yield start
    for each in started:
        each.kill()


@pytest.fixture
def client(server):
    server.empty()
    with redis.Redis.from_url(server.url) as connected:
        yield connected


@pytest.mark.parametrize(
    ("name", "bad", "good"),
    [
        ("appendfsync", "everysec", "always"),
        ("appendonly", "no", "yes"),
        ("no-appendfsync-on-rewrite", "yes", "no"),
        ("maxmemory-policy", "allkeys-lru", "noeviction"),
    ],
)
def test_a_server_that_may_lose_events_is_refused(server, client, name, bad, good):
    client.config_set("maxmemory", "1gb")
    client.config_set(name, bad)
    try:
        with pytest.raises(StorageError, match=f"{name} {bad}.* would lose events"):
            open_events(server.url)
    finally:
        client.config_set(name, good)
        client.config_set("maxmemory", 0)
    open_events(server.url).close()


def test_events_survive_the_server(own, tmp_path):
    server = own(*SAFE)
    with open_events(server.url, clock=lambda: NOW) as store:
        store.append([event(i) for i in range(10)])
        store.delete_user("u0")
        before = [*store.since()]
        server.kill()
        with pytest.raises(StorageError, match="cannot be used"):
            store.append([event(50)])
        server.start()
        assert [*store.since()] == before  # the same store goes on
        assert statuses(store.append([event(50), event(1)])) == ["accepted", "duplicate"]


def test_a_deleted_user_is_in_no_file_of_the_server(own, tmp_path):
    server = own(*SAFE)
    with open_events(server.url, clock=lambda: NOW) as store:
        store.append([event(i, user="somebody-secret") for i in range(50)])
        store.append([event(99)])
        assert _somewhere(tmp_path, b"somebody-secret")
        store.delete_user("somebody-secret")
        for _ in range(3000):  # the server writes its log anew in the background
            if not _somewhere(tmp_path, b"somebody-secret"):
                break
            time.sleep(0.02)
        assert not _somewhere(tmp_path, b"somebody-secret")
        assert store.counts().events == 1


def _somewhere(directory, text):
    files = [f for f in directory.rglob("*") if f.is_file()]
    return any(text in _read(file) for file in files)


def _read(file):
    try:
        return file.read_bytes()
    except FileNotFoundError:  # the server took it away meanwhile
        return b""


def test_nothing_is_acknowledged_while_the_server_is_held(own):
    server = own(*SAFE)
    with open_events(server.url, clock=lambda: NOW) as store:
        store.append([event(0)])
        server.process.send_signal(signal.SIGSTOP)
        futures = [store.submit([event(i)]) for i in range(1, 9)]
        with pytest.raises(TimeoutError):
            futures[0].result(timeout=0.2)
        assert not any(f.done() for f in futures)
        server.process.send_signal(signal.SIGCONT)
        assert all(statuses(f.result(timeout=60)) == ["accepted"] for f in futures)


def test_a_full_memory_is_an_error_and_loses_nothing(server, client):
    with open_events(server.url, clock=lambda: NOW) as store:
        store.append([event(1)])
        client.config_set("maxmemory", 1)
        try:
            with pytest.raises(StorageError, match="maxmemory"):
                store.append([event(2)])
            assert store.counts().events == 1
        finally:
            client.config_set("maxmemory", 0)
        assert statuses(store.append([event(1), event(2)])) == ["duplicate", "accepted"]


def test_two_servers_of_ours_share_a_store(server, client):
    with (
        open_events(server.url, clock=lambda: NOW) as one,
        open_events(server.url, clock=lambda: NOW) as two,
    ):
        one.append([event(1)])
        assert statuses(two.append([event(1), event(1, item="x"), event(4)])) == [
            "duplicate",
            "conflict",
            "accepted",
        ]
        assert [e.id for e in one.history("u1", 5)] == ["e1", "e4"]


def test_another_format_is_refused(server, client):
    client.set("isthmus:events:format", "isthmus-events 2")
    with pytest.raises(MismatchError, match="'isthmus-events 2'; expected 'isthmus-events 1'"):
        open_events(server.url)


def test_a_password_is_never_said():
    with pytest.raises(StorageError, match=r"redis://127.0.0.1:1/0 cannot be used") as refused:
        open_events("redis://me:secret-word@127.0.0.1:1/0?password=secret-word")
    assert "secret-word" not in str(refused.value)


def test_without_the_client_of_redis_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "isthmus.service.events.redis_store", None)
    with pytest.raises(ConfigError, match=r"pip install 'isthmus\[redis\]'"):
        open_events("redis://127.0.0.1:1/0")
