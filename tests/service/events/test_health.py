"""Damage: said by check, and repaired so far as rows can be read."""

import random
import shutil
import sqlite3

import pytest

from isthmus.errors import DataError, IntegrityError, LockedError
from isthmus.service.events import check, open_events, repair
from isthmus.service.events.repaired import repaired
from isthmus.service.events.wal import log_of
from tests.service.events.sample import NOW, event

EVENTS = 2000
PAGE = 4096


def opened(path):
    return open_events(path, clock=lambda: NOW)


@pytest.fixture
def path(place):
    """A store with many pages, all in the file."""
    with opened(place / "events.sqlite") as store:
        store.append([event(i, user=f"user-{i}") for i in range(EVENTS)])
    return place / "events.sqlite"


def contents(path):
    with opened(path) as store:
        return {e.id: e.as_json() for _, e in store.since()}


def are_ours(found):
    """No event that was never sent, nor one with another content."""
    return all(found[f"e{i}"] == event(i, user=f"user-{i}") for i in (int(k[1:]) for k in found))


def test_a_whole_store_has_no_fault_and_is_not_touched(path):
    before = path.read_bytes()
    assert check(path).faults == repair(path).faults == ()
    assert check(path).events == EVENTS
    assert path.read_bytes() == before
    assert list(path.parent.glob("*damaged*")) == []


@pytest.mark.parametrize("sixteenths", range(1, 16))
def test_a_file_cut_short_keeps_what_is_before_the_cut(path, sixteenths):
    content = path.read_bytes()
    size = len(content) * sixteenths // 16
    path.write_bytes(content[:size])
    assert check(path).faults
    health = repair(path)
    assert health.aside.read_bytes() == content[:size]
    assert check(path).faults == ()
    found = contents(path)
    assert are_ours(found)
    assert health.events == len(found)
    assert len(found) >= EVENTS * (sixteenths - 3) / 16 * 0.5  # half of all pages are the indexes'


def test_a_store_with_garbled_pages_loses_only_what_was_on_them(path):
    draw = random.Random(0)
    whole = path.read_bytes()
    for _ in range(6):
        content = bytearray(whole)
        page = draw.randrange(2, len(content) // PAGE)
        content[page * PAGE : (page + 1) * PAGE] = draw.randbytes(PAGE)
        path.write_bytes(content)
        assert check(path).faults
        health = repair(path)
        found = contents(path)
        assert are_ours(found)
        assert health.events == len(found) >= EVENTS - 100  # a page has at most that many rows
        assert check(path).faults == ()


def test_a_changed_letter_is_found_and_its_event_left_out(path):
    content = path.read_bytes()
    place = content.index(b"user-1000i")  # in the row; the index has the time after it
    path.write_bytes(content[: place + 5] + b"9" + content[place + 6 :])
    health = repair(path)
    assert "event number 1,001 cannot be read" in health.faults
    assert set(contents(path)) == {f"e{i}" for i in range(EVENTS)} - {"e1000"}


def test_a_wrong_count_is_found_and_mended(path):
    connection = sqlite3.connect(path)
    connection.execute("UPDATE domains SET events = events + 1 WHERE domain = 'd0'")
    connection.commit()
    connection.close()
    assert check(path).faults == ("its domains count 2,001 events, and 2,000 can be read",)
    repair(path)
    with opened(path) as store:
        assert store.counts().domains == {"d0": 1000, "d1": 1000}


def test_nothing_readable_is_an_empty_store_with_the_old_file_aside(path):
    path.write_bytes(b"\xff" * 10_000)
    with pytest.raises(IntegrityError, match="isthmus events repair"):
        opened(path)
    health = repair(path)
    assert (health.events, health.faults[0]) == (0, "file is not a database")
    assert health.aside.read_bytes() == b"\xff" * 10_000
    assert contents(path) == {}


def test_an_empty_or_absent_file(place):
    (place / "empty").touch()
    assert "version 0" in check(place / "empty").faults[0]
    with pytest.raises(DataError, match="no such event store"):
        check(place / "absent")
    with pytest.raises(DataError, match="no such event store"):
        repair(place / "absent")


def test_numbers_go_on_after_a_repair(path):
    with opened(path) as store:
        store.delete_user(f"user-{EVENTS - 1}")
    content = path.read_bytes()
    place = content.index(b"user-1000i")
    path.write_bytes(content[: place + 5] + b"9" + content[place + 6 :])
    repair(path)
    with opened(path) as store:
        store.append([event(1, id="new")])
        assert [n > EVENTS for n, e in store.since() if e.id == "new"] == [True]


def test_a_store_in_use_is_not_repaired(path):
    with opened(path), pytest.raises(LockedError):
        repair(path)


def test_a_repair_killed_before_the_old_log_is_gone_is_finished_by_opening(path, place):
    """The log of the damaged file must never be replayed into the repaired one."""
    with opened(place / "other") as store:
        store.append([event(1, id="repaired")])
        store._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(place / "other", repaired(path))
    with opened(path) as store:
        assert [e.id for _, e in store.since()] == ["repaired"]
    assert not repaired(path).exists()
    log = b"a log of the damaged file"
    with opened(place / "other") as store:
        shutil.copy(place / "other", repaired(path))
    log_of(path).write_bytes(log)
    assert list(contents(path)) == ["repaired"]


# --- the log


@pytest.fixture
def crashed(place):
    """A store as a killed process leaves it: thirty commits, all in the log."""
    with opened(place / "live") as store:
        store._writer.execute("PRAGMA wal_autocheckpoint = 0")
        for i in range(30):
            store.append([event(i, user=f"user-{i}")])
        for name in ("live", "live-wal"):
            shutil.copy(place / name, place / name.replace("live", "events.sqlite"))
    return place / "events.sqlite"


def test_a_log_that_is_whole_is_no_fault(crashed):
    assert check(crashed).faults == ()
    assert len(contents(crashed)) == 30
    assert list(crashed.parent.glob("*damaged*")) == []


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_log_cut_short_keeps_its_prefix(crashed, share):
    log = log_of(crashed).read_bytes()
    log_of(crashed).write_bytes(log[: int(len(log) * share)])
    found = contents(crashed)
    assert are_ours(found)
    assert list(found) == [f"e{i}" for i in range(len(found))]
    assert 30 * share - 3 <= len(found) < 30


@pytest.mark.parametrize("share", [0.0001, 0.2, 0.7])
def test_a_garbled_log_keeps_its_prefix_and_the_rest_lies_aside(crashed, share, caplog):
    log = bytearray(log_of(crashed).read_bytes())
    log[int(len(log) * share) + 40] ^= 1
    log_of(crashed).write_bytes(log)
    (fault,) = [f for f in check(crashed).faults if "log is damaged" in f]
    found = contents(crashed)
    assert list(found) == [f"e{i}" for i in range(len(found))]
    assert len(found) < 30
    (aside,) = crashed.parent.glob("events.sqlite-wal.damaged-*")
    assert aside.read_bytes() == log
    assert fault in caplog.text
    assert str(aside) in caplog.text


def test_an_old_generation_of_the_log_is_no_damage(place):
    """After a checkpoint SQLite writes over the log from its beginning; what is behind is old."""
    with opened(place / "live") as store:
        for i in range(30):
            store.append([event(i)])
        store._writer.execute("PRAGMA wal_checkpoint(PASSIVE)")
        store.append([event(50)])
        assert log_of(place / "live").stat().st_size > 30 * PAGE
        assert check(place / "live").faults == ()
        assert check(place / "live").events == 31
