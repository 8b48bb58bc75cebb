"""kill -9 while four clients ingest: what was acknowledged is there, once."""

import contextlib
import multiprocessing
import random
import threading

import pytest

from isthmus.files import StorageError
from isthmus.service.events import check, open_events
from tests.service.events.sample import NOW, event
from tests.service.events.server import BINARY, SAFE, WHY_NOT, Server
from tests.service.events.writer import ingest


@pytest.fixture(scope="session")
def context():
    """Children of one process that has imported all: they start at once."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["tests.service.events.writer"])
    return found


def killed_writer(context, path, number, batches):
    """The ids that a writer acknowledged; it was killed after about so many batches."""
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=ingest, args=(path, number, sender))
    child.start()
    sender.close()
    acknowledged = []
    for _ in range(batches):
        acknowledged += receiver.recv()
    child.kill()
    with contextlib.suppress(EOFError, OSError):  # a message may be cut off
        while True:
            acknowledged += receiver.recv()
    child.join()
    assert child.exitcode == -9
    return acknowledged


def are_kept(store, acknowledged):
    """Each acknowledged event is there once, whole, and in its user's history."""
    kept = [e for _, e in store.since()]
    by_id = {e.id: e for e in kept}
    assert len(by_id) == len(kept)
    assert set(acknowledged) <= set(by_id)
    for user in {e.user for e in kept}:
        assert len(store.history(user, len(kept))) == sum(e.user == user for e in kept)
    assert store.counts().events == len(kept)


def kill_rounds(context, place, rounds):
    """The ids that were acknowledged; after every kill they are kept, in a whole file."""
    draw, acknowledged = random.Random(rounds), []
    for number in range(rounds):
        path = place / "events.sqlite"
        acknowledged += killed_writer(context, path, number, draw.randrange(1, 150))
        assert check(path).faults == ()
        with open_events(path) as store:
            are_kept(store, acknowledged)
    return acknowledged


def test_a_killed_writer_loses_nothing_that_it_acknowledged(context, place):
    assert len(kill_rounds(context, place, 3)) > 3


@pytest.mark.slow
def test_a_writer_killed_twenty_times_loses_nothing(context, tmp_path):
    """On a real disk, where commits take their time."""
    assert len(kill_rounds(context, tmp_path, 20)) > 20


def redis_rounds(place, rounds):
    """The batches without a reply. The server is killed; the clients live, and see errors until it
    is back; what was acknowledged is kept after every kill."""
    if BINARY is None:
        pytest.skip(WHY_NOT)
    server, acknowledged, unknown = Server(place, *SAFE), [], []
    draw = random.Random(rounds)
    for number in range(rounds):
        server.start()
        enough = threading.Semaphore(0)
        with open_events(server.url, clock=lambda: NOW) as store:
            are_kept(store, acknowledged)
            clients = [
                threading.Thread(
                    target=_until_it_fails,
                    args=(store, f"{number}-{c}", acknowledged, unknown, enough),
                )
                for c in range(4)
            ]
            for client in clients:
                client.start()
            for _ in range(draw.randrange(5, 60)):
                enough.acquire()
            server.kill()
            for client in clients:
                client.join()
    server.start()
    with open_events(server.url, clock=lambda: NOW) as store:
        are_kept(store, acknowledged)
        for batch in unknown:  # sent again, as clients do whose reply was lost
            assert {v.status for v in store.append(batch)} in ({"accepted"}, {"duplicate"})
        are_kept(store, acknowledged + [e["id"] for batch in unknown for e in batch])
    server.kill()
    return unknown


def _until_it_fails(store, name, acknowledged, unknown, enough):
    count = 0
    while True:
        batch = [event(count + i, id=f"{name}-{count + i}", user=name) for i in range(3)]
        try:
            acknowledged += [v.id for v in store.append(batch)]
        except StorageError:
            unknown.append(batch)
            return
        count += 3
        enough.release()


def test_a_killed_redis_loses_nothing_that_it_acknowledged(tmp_path):
    assert len(redis_rounds(tmp_path, 3)) == 4 * 3


@pytest.mark.slow
def test_a_redis_killed_twenty_times_loses_nothing(tmp_path):
    assert len(redis_rounds(tmp_path, 20)) == 4 * 20
