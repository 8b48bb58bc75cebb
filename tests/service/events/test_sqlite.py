"""What concerns the SQLite file alone: pragmas, versions, locks, a full disk, readers."""

import resource
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from isthmus.errors import IntegrityError, LockedError, MismatchError
from isthmus.files import StorageError
from isthmus.service.events import check, open_events, repair
from isthmus.service.events import sqlite_schema as schema
from tests.service.events.sample import NOW, event, ids, statuses

GOLDEN = Path(__file__).parent / "golden" / "events-v1.sqlite"


@pytest.fixture
def path(place):
    return place / "events.sqlite"


def opened(path, **options):
    return open_events(path, clock=lambda: NOW, **options)


def test_every_commit_is_synced_and_deleted_rows_are_overwritten(path):
    with opened(path) as store:
        for pragma, value in {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1}.items():
            assert store._writer.execute(f"PRAGMA {pragma}").fetchone()[0] == value


def test_a_place_that_cannot_have_a_log_is_refused(path):
    """SQLite answers with another mode where it cannot do what it was asked for."""
    with pytest.raises(StorageError, match="journal_mode = 'memory' where 'wal' was asked for"):
        schema.prepare(sqlite3.connect(":memory:", isolation_level=None), path)


def test_a_deleted_user_leaves_no_byte_in_any_file(path):
    secret = "somebody-in-particular"
    with opened(path) as store:
        store.append([event(i, user=secret, item=f"{secret}-{i}") for i in range(500)])
        store.append([event(1000)])
        held = b"".join(file.read_bytes() for file in path.parent.iterdir())
        assert secret.encode() in held
        store.delete_user(secret)
        held = b"".join(file.read_bytes() for file in path.parent.iterdir())
        assert secret.encode() not in held
        assert store.counts().events == 1


def test_a_reader_in_the_middle_puts_the_wiping_off_and_not_away(path):
    with opened(path) as store:
        store.append([event(1, user="secret-user")])
        store._writer.execute("PRAGMA busy_timeout = 0")
        reader = schema.connect(path, writing=False)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM events").fetchone()
        assert store.delete_user("secret-user") == 1
        assert store._to_wipe
        reader.close()
        store.append([event(2)])
        assert not store._to_wipe
        assert b"secret-user" not in b"".join(f.read_bytes() for f in path.parent.iterdir())


def test_readers_never_wait_for_a_writer_nor_it_for_them(path):
    with opened(path) as store:
        store.append([event(1)])
        writer = store._writer
        writer.execute("BEGIN IMMEDIATE")  # a write in progress
        writer.execute("UPDATE events SET item = 'new'")
        assert store.history("u1", 5)[0].item == "i1"
        writer.execute("ROLLBACK")
        with store._reader() as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM events").fetchone()
            assert statuses(store.append([event(2)])) == ["accepted"]
            assert reader.execute("SELECT count(*) FROM events").fetchone() == (1,)
            reader.execute("COMMIT")


def test_a_second_writer_is_told_who_has_the_store(path):
    with opened(path), pytest.raises(LockedError, match=r"events.sqlite is being written to by pr"):
        opened(path)
    opened(path).close()  # it is free again


def test_the_file_of_version_1_is_brought_to_this_one(path):
    shutil.copy(GOLDEN, path)
    with pytest.raises(MismatchError, match="older version"):
        opened(path, reading=True)
    with opened(path) as store:
        assert [(n, e.id) for n, e in store.since()] == [(1, "a"), (2, "b"), (4, "d")]
        assert store.history("u", 9)[0].as_json() == {
            "id": "a",
            "user": "u",
            "item": "i",
            "domain": "x",
            "time": 10.0,
        }
        assert store.counts().domains == {"x": 2, "é": 1}
        again = {"id": "a", "user": "u", "item": "i", "domain": "x", "time": 10}
        assert statuses(store.append([again, event(5, kind="new")])) == ["duplicate", "accepted"]
        (new,) = store.since(4)
        assert new.sequence > 6  # 5 and 6 were given, and deleted
    assert check(path).faults == ()


def test_a_migration_that_is_cut_off_leaves_the_old_file(path, monkeypatch):
    shutil.copy(GOLDEN, path)
    script = schema._MIGRATIONS[1]
    monkeypatch.setitem(schema._MIGRATIONS, 1, script + "SELECT no_such_function();")
    with pytest.raises(StorageError):
        opened(path)
    monkeypatch.setitem(schema._MIGRATIONS, 1, script)
    with opened(path) as store:
        assert store.counts().events == 3


def test_repair_brings_an_old_file_to_this_version(path):
    shutil.copy(GOLDEN, path)
    assert "version 1" in check(path).faults[0]
    assert repair(path).events == 3
    assert check(path).faults == ()
    assert list(path.parent.glob("*damaged*")) == []


def test_a_newer_version_is_refused(path):
    opened(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 3")
    connection.close()
    with pytest.raises(MismatchError, match=r"version 3; this is isthmus .* reads versions 1 to 2"):
        opened(path)


def test_a_file_of_somebody_else_is_refused_and_left_alone(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE recipes (name)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(MismatchError, match="another program"):
        opened(path)
    path.with_name("text").write_text("no database at all, and long enough to be looked at" * 20)
    with pytest.raises(IntegrityError, match="isthmus events repair"):
        opened(path.with_name("text"))
    assert path.read_bytes() == before


def test_a_full_disk_is_an_error_and_loses_nothing(path):
    with opened(path) as store:
        store.append([event(i) for i in range(5)])
        before = store.counts()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        try:
            with pytest.raises(StorageError, match="Make room"):
                store.append([event(i, context={"x": "y" * 900}) for i in range(10, 500)])
            assert store.counts() == before
            assert ids(store.history("u1", 2)) == ["e1", "e4"]
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert statuses(store.append([event(10)])) == ["accepted"]
    assert check(path).faults == ()


def test_a_file_that_may_not_grow_is_an_error_too(path):
    with opened(path) as store:
        store._writer.execute("PRAGMA max_page_count = 20")
        with pytest.raises(StorageError, match="full"):
            store.append([event(i, context={"x": "y" * 900}) for i in range(100)])
        assert statuses(store.append([event(1)])) == ["accepted"]
        assert store.counts().events == 1


def test_a_directory_without_permission_is_said_in_words(path):
    """As another user, for root may do everything."""
    path.parent.chmod(0o555)
    code = (
        "import os, sys\n"
        "from isthmus.service.events.sqlite_store import SqliteStore\n"
        "from isthmus.files import StorageError\n"
        "os.geteuid() or os.seteuid(65534)\n"
        "try: SqliteStore(sys.argv[1])\n"
        "except StorageError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    path.parent.chmod(0o755)
    assert "cannot be written" in done.stdout, done
