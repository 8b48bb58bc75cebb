"""The SQLite file: its tables, its version, and the pragmas that durability rests on."""

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from isthmus import __version__
from isthmus.errors import IntegrityError, IsthmusError, MismatchError
from isthmus.files import StorageError

APPLICATION: Final = 0x49534556  # "ISEV", in the file's header
VERSION: Final = 2
COLUMNS: Final = "id, user, item, domain, time, kind, value, context"
ROW: Final = f"sequence, {COLUMNS}"
INSERT: Final = (
    f"INSERT INTO events ({ROW}, crc) VALUES (?,?,?,?,?,?,?,?,?,?) ON CONFLICT (id) DO NOTHING"
)
COUNTED: Final = "SELECT coalesce(sum(events), 0) FROM domains"

_TABLES = """
CREATE TABLE events (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  user TEXT NOT NULL,
  item TEXT NOT NULL,
  domain TEXT NOT NULL,
  time REAL NOT NULL,
  kind TEXT,
  value REAL,
  context TEXT,
  crc INTEGER NOT NULL
);
CREATE INDEX events_of_user ON events (user, time, id);
CREATE TABLE domains (domain TEXT PRIMARY KEY, events INTEGER NOT NULL) WITHOUT ROWID;
"""
_MIGRATIONS: Final = {
    # Version 1 had the first six columns only, whole seconds, and no count of domains.
    1: """
ALTER TABLE events RENAME TO events_1;
DROP INDEX events_of_user;
"""
    + _TABLES
    + """
INSERT INTO events (sequence, id, user, item, domain, time, crc)
  SELECT sequence, id, user, item, domain, CAST(time AS REAL),
    sum_of(id, user, item, domain, CAST(time AS REAL), NULL, NULL, NULL)
  FROM events_1 ORDER BY sequence;
UPDATE sqlite_sequence SET seq = max(seq, coalesce(
  (SELECT seq FROM sqlite_sequence WHERE name = 'events_1'), 0)) WHERE name = 'events';
INSERT INTO sqlite_sequence (name, seq) SELECT 'events', seq FROM sqlite_sequence
  WHERE name = 'events_1' AND NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'events');
DROP TABLE events_1;
INSERT INTO domains SELECT domain, count(*) FROM events GROUP BY domain;
""",
}
"""What makes a file of the next version of one of this version."""

_WANTED: Final = {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1, "fullfsync": 1}
"""WAL and FULL: every commit is fsynced before it returns, and readers are never in the way.
Deleted rows are overwritten; ``fullfsync`` makes macOS empty the drive's cache as well."""


def connect(path: Path, *, writing: bool) -> sqlite3.Connection:
    """A connection to the file; one for reading never changes it. May be handed between threads."""
    mode = "rwc" if writing else "ro"
    return sqlite3.connect(
        f"{path.resolve().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,  # transactions begin and end where the code says so
        check_same_thread=False,
        timeout=10.0,
    )


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Set the pragmas and assert them; make the tables, or bring them to this version.

    Raises MismatchError for a file of a newer version or of another program, StorageError where the
    file system cannot do what durability needs.
    """
    version = version_of(connection, path)
    for pragma, wanted in _WANTED.items():
        connection.execute(f"PRAGMA {pragma} = {wanted}")
        found = connection.execute(f"PRAGMA {pragma}").fetchone()[0]
        if found != wanted:
            raise StorageError(
                f"{path}: SQLite answers {pragma} = {found!r} where {wanted!r} was asked for; "
                "events would not be safe. Keep the store on a local disk."
            )
    if version == VERSION:
        return
    script = (
        _TABLES if version is None else "".join(_MIGRATIONS[v] for v in range(version, VERSION))
    )
    connection.create_function("sum_of", 8, lambda *row: sum_of(row), deterministic=True)
    header = f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION};"
    connection.executescript(f"BEGIN IMMEDIATE; {script} {header} COMMIT;")


def sum_of(row: Sequence[Any]) -> int:
    """The checksum of a row's columns: SQLite notices a broken page, and not a changed letter.

    Texts hold no NUL, so that no two rows are joined alike; numbers are as Python writes them.
    """
    texts = (repr(v) if isinstance(v, float) else "" if v is None else str(v) for v in row)
    return zlib.crc32("\0".join(texts).encode())


def version_of(connection: sqlite3.Connection, path: Path) -> int | None:
    """The version of the tables in the file, None if it is empty.

    Raises MismatchError for what this version of the library cannot read.
    """
    application, version, tables = (
        connection.execute(query).fetchone()[0]
        for query in (
            "PRAGMA application_id",
            "PRAGMA user_version",
            "SELECT count(*) FROM sqlite_master",
        )
    )
    if not tables and not application:
        return None
    if application != APPLICATION:
        raise MismatchError(f"{path} is a database of another program; name another file.")
    if not 1 <= version <= VERSION:
        raise MismatchError(
            f"{path} holds events in version {version}; this is isthmus {__version__}, which reads "
            f"versions 1 to {VERSION}. Use the version of the library that wrote it."
        )
    return int(version)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite says of a file into words of what to do about it."""
    try:
        yield
    except sqlite3.Error as error:
        raise _error(path, error) from error


def _error(path: Path, error: sqlite3.Error) -> IsthmusError:
    code = getattr(error, "sqlite_errorcode", None) or 0
    if code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return IntegrityError(
            f"{path} is damaged: {error}. `isthmus events repair {path}` keeps what can be read."
        )
    return StorageError(
        f"{path} cannot be used: {error}. What was acknowledged before is intact. Make room on the "
        "disk (or make the file and its directory writable), and send the same events again."
    )
