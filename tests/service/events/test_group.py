"""One commit for all who wait, and no answer before it."""

import threading
from concurrent.futures import wait

import pytest

from isthmus.files import StorageError
from isthmus.service.events import open_events
from isthmus.service.events.group import GroupCommit
from tests.service.events.sample import NOW, event, ids, statuses


class Held:
    """Commits when it is let go: the groups that it was handed."""

    def __init__(self):
        self.groups, self.entered, self.go = [], threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, requests):
        self.groups.append(list(requests))
        self.entered.release()
        self.go.acquire()
        if "bad" in requests:
            raise StorageError("no room")
        return [f"{request}!" for request in requests]


def test_those_who_wait_share_the_next_commit():
    held = Held()
    group = GroupCommit(held, most=4)
    first = group.submit("a")
    held.entered.acquire()
    rest = [group.submit(name) for name in "bcdefg"]
    assert not first.done()
    held.go.release(3)
    assert [f.result() for f in [first, *rest]] == [f"{name}!" for name in "abcdefg"]
    assert held.groups == [["a"], ["b", "c", "d", "e"], ["f", "g"]]
    group.close()


def test_a_failed_commit_fails_its_group_and_no_other():
    held = Held()
    group = GroupCommit(held)
    first = group.submit("a")
    held.entered.acquire()
    failing = [group.submit("b"), group.submit("bad")]
    held.go.release(3)
    wait(failing)
    later = group.submit("c")
    assert first.result() == "a!"
    for future in failing:
        with pytest.raises(StorageError, match="no room"):
            future.result()
    assert later.result() == "c!"
    group.close()


def test_a_caller_that_gave_up_is_passed_over():
    held = Held()
    group = GroupCommit(held)
    group.submit("a")
    held.entered.acquire()
    gone, there = group.submit("b"), group.submit("c")
    assert gone.cancel()
    held.go.release(2)
    assert there.result() == "c!"
    assert held.groups == [["a"], ["c"]]
    group.close()


def test_closing_finishes_what_waits_and_takes_no_more():
    group = GroupCommit(lambda requests: list(requests))
    futures = [group.submit(i) for i in range(100)]
    group.close()
    group.close()
    assert [f.result() for f in futures] == list(range(100))
    with pytest.raises(StorageError):
        group.submit(1)


class Barrier:
    """A connection whose COMMIT waits, as a disk does whose fsync takes its time."""

    def __init__(self, connection):
        self.connection = connection
        self.reached, self.open = threading.Event(), threading.Event()

    def execute(self, query, *parameters):
        if query == "COMMIT":
            self.reached.set()
            assert self.open.wait(60)
        return self.connection.execute(query, *parameters)

    def __getattr__(self, name):
        return getattr(self.connection, name)


def test_nothing_is_acknowledged_before_the_commit_returns(place):
    """Nor can anybody read it; and all that gathered meanwhile is done with the next commit."""
    with open_events(place / "events.sqlite", clock=lambda: NOW) as store:
        barrier = store._writer = Barrier(store._writer)
        futures = [store.submit([event(0)])]
        assert barrier.reached.wait(60)
        futures += [store.submit([event(i)]) for i in range(1, 20)]
        deletion = store.submit_delete("u1")
        assert not any(f.done() for f in [*futures, deletion])
        assert store.history("u0", 5) == []
        barrier.open.set()
        assert all(statuses(f.result()) == ["accepted"] for f in futures)
        assert deletion.result() == 7
        assert "e0" in ids(store.history("u0", 99))
