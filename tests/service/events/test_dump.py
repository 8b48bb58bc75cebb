"""Dumps: byte-equal after a restore, whole or refused."""

import hashlib
import json

import pytest

from isthmus.errors import DataError, IntegrityError, MismatchError
from isthmus.service.events import Restored, dump, open_events, restore
from isthmus.service.events.redis_store import RedisStore
from isthmus.service.events.sqlite_store import SqliteStore
from tests.service.events.sample import NOW, event


def filled(store):
    """Events in no order of time, some deleted; of all fields; more than a batch of them."""
    store.append([event(i, time=(i * 37) % 101) for i in range(1500)])
    whole = event(7001, kind="buy", value=0.1, context={"z": "é\u2028\0", "a": [1.5, {}]}, user="w")
    store.append([whole], any_time=True)
    store.delete_user("u1")


def test_dump_restore_dump_has_the_same_bytes(store, place):
    filled(store)
    assert dump(store, place / "one") == 1001
    with SqliteStore(place / "other.sqlite") as other:  # of SQLite, and of Redis into SQLite
        assert restore(other, place / "one") == Restored(1001, 0, 0, 0)
        dump(other, place / "two")
        assert other.counts() == store.counts()
        assert other.history("w", 5) == store.history("w", 5)
    assert (place / "one").read_bytes() == (place / "two").read_bytes()


def test_a_dump_of_sqlite_goes_through_redis_unchanged(server, place):
    server.empty()
    with (
        SqliteStore(place / "one.sqlite", clock=lambda: NOW) as one,
        RedisStore(server.url) as other,
    ):
        filled(one)
        dump(one, place / "one")
        restore(other, place / "one")
        dump(other, place / "two")
    assert (place / "one").read_bytes() == (place / "two").read_bytes()


def test_the_format_by_hand(store, place):
    store.append([event(1, kind="é")])
    dump(store, place / "dump")
    lines = (
        b'{"format":"isthmus-events","version":1}\n'
        + '{"domain":"d1","id":"e1","item":"i1","kind":"é","time":1799990001.0,"user":"u1"}\n'.encode()
    )
    seal = hashlib.sha256(lines).hexdigest()
    assert (place / "dump").read_bytes() == lines + f'{{"events":1,"sha256":"{seal}"}}\n'.encode()


def test_a_restore_adds_what_is_missing_and_changes_nothing_else(store, place):
    store.append([event(i) for i in range(6)])
    dump(store, place / "dump")
    with SqliteStore(place / "other.sqlite", clock=lambda: NOW) as other:
        other.append([event(1), event(2, item="mine"), event(100)])
        assert restore(other, place / "dump") == Restored(4, 1, 1, 0)
        assert restore(other, place / "dump") == Restored(0, 5, 1, 0)
        assert other.history("u2", 5)[0].item == "mine"


def test_events_ahead_of_this_clock_are_restored(place):
    with SqliteStore(place / "a", clock=lambda: NOW) as store:
        store.append([event(1, time=NOW + 200)])
        dump(store, place / "dump")
    with SqliteStore(place / "b", clock=lambda: NOW - 10_000) as store:
        assert restore(store, place / "dump").accepted == 1


def test_a_dump_with_any_byte_changed_or_missing_restores_nothing(place):
    with SqliteStore(place / "a", clock=lambda: NOW) as store:
        store.append([event(1), event(2)])
        dump(store, place / "dump")
    whole = (place / "dump").read_bytes()
    bad = [whole[:n] for n in range(len(whole))]
    bad += [whole[:n] + bytes([whole[n] ^ 1]) + whole[n + 1 :] for n in range(len(whole))]
    bad += [whole + b"\n", whole + whole, b"\n" + whole]
    with SqliteStore(place / "b", clock=lambda: NOW) as store:
        for content in bad:
            (place / "bad").write_bytes(content)
            with pytest.raises((IntegrityError, MismatchError)):
                restore(store, place / "bad")
        assert store.counts().events == 0
        assert restore(store, place / "dump").accepted == 2


def test_a_dump_of_a_newer_version_is_refused(store, place):
    (place / "dump").write_text('{"format":"isthmus-events","version":2}\n')
    with pytest.raises(MismatchError, match="version 2; expected 1"):
        restore(store, place / "dump")
    (place / "dump").write_text(json.dumps(["isthmus-events"]))
    with pytest.raises(IntegrityError, match="no dump"):
        restore(store, place / "dump")
    with pytest.raises(DataError, match="No such file"):
        restore(store, place / "absent")


def test_a_dump_that_fails_leaves_the_old_one(place, monkeypatch):
    with open_events(place / "a", clock=lambda: NOW) as store:
        store.append([event(1)])
        dump(store, place / "dump")
        before = (place / "dump").read_bytes()
        monkeypatch.setattr(store, "since", lambda sequence: iter([(1, None)]))
        with pytest.raises(AttributeError):
            dump(store, place / "dump")
    assert (place / "dump").read_bytes() == before
    assert sorted(p.name for p in place.iterdir()) == [".a.lock", "a", "dump"]
