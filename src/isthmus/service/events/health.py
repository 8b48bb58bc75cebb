"""Looking at a store's file row by row, and making a whole one of what can be read."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from isthmus.errors import DataError, MismatchError
from isthmus.files import explained as writing
from isthmus.files import locked, sync_directory, sync_file
from isthmus.progress import Reporter, quiet
from isthmus.service.events.repaired import finish_repair, repaired
from isthmus.service.events.sqlite_schema import (
    COUNTED,
    INSERT,
    ROW,
    VERSION,
    connect,
    prepare,
    sum_of,
    version_of,
)
from isthmus.service.events.wal import aside_of, damaged_tail, keep_log, log_of

_PROBES: Final = 1_000_000
_SMALLEST: Final = 32  # bytes that a row takes, in the table and two indexes, at least
Gap = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Health:
    """How a file is: the events that can be read, and every fault found. No fault: it is whole.

    ``aside``, of a repair: where the damaged file lies now.
    """

    events: int
    faults: tuple[str, ...]
    aside: Path | None = None


def check(path: Path | str, *, reporter: Reporter = quiet) -> Health:
    """Read all of the file and say what is wrong with it; nothing is changed.

    Raises DataError if there is no such file, MismatchError if it is of another program or version.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such event store")
    faults: list[str] = []
    if (tail := damaged_tail(path)) is not None:
        faults.append(str(tail))
    gaps: list[Gap] = []
    counted = None
    with closing(connect(path, writing=False)) as connection:
        try:
            version = version_of(connection, path)
            if version != VERSION:
                faults.append(f"it is of version {version or 0}; repair makes it {VERSION}")
                return Health(0, tuple(faults))
            told = connection.execute("PRAGMA integrity_check(20)").fetchall()
            faults += [text for (text,) in told if text != "ok"]
            counted = connection.execute(COUNTED).fetchone()[0]
        except sqlite3.DatabaseError as error:
            faults.append(str(error))
        good = _count(connection, gaps, reporter)
    faults += [_words(gap) for gap in _joined(gaps)]
    if counted is not None and counted != good:
        faults.append(f"its domains count {counted:,} events, and {good:,} can be read")
    return Health(good, tuple(dict.fromkeys(faults)))


def repair(path: Path | str, *, reporter: Reporter = quiet) -> Health:
    """Make a whole file of all events that can be read; one that is whole stays as it is.

    What the damaged file and its log were lies beside it afterwards (``aside``). A file of an older
    version is brought to this one. Raises LockedError while a server has the store, StorageError,
    with nothing changed, where there is no room for the copies.
    """
    path = Path(path)
    with locked(path.parent, path.name):
        finish_repair(path)
        health = check(path, reporter=reporter)
        if not health.faults:
            return health
        log = keep_log(path) if damaged_tail(path) else None
        if _migrated(path):
            return Health(check(path, reporter=reporter).events, health.faults, log)
        aside = _copied_aside(path)
        events = _salvage(path, reporter)
        finish_repair(path)
    return Health(events, health.faults, aside)


def _migrated(path: Path) -> bool:
    """Bring a sound file of an older version to this one; False for any other."""
    with closing(connect(path, writing=True)) as connection:
        try:
            if version_of(connection, path) == VERSION:
                return False
            prepare(connection, path)
        except (sqlite3.DatabaseError, MismatchError):
            return False
    return True


def _copied_aside(path: Path) -> Path:
    aside = aside_of(path)
    with writing(aside):
        for source, target in ((path, aside), (log_of(path), log_of(aside))):
            if source.exists():
                shutil.copy2(source, target)
                sync_file(target)
        sync_directory(path.parent)
    return aside


def _salvage(path: Path, reporter: Reporter) -> int:
    """Write the readable rows to a new file that waits to take the place of ``path``."""
    unfinished = path.with_name(f".{path.name}.salvage.tmp")
    unfinished.unlink(missing_ok=True)
    events = 0
    with (
        writing(path),
        closing(connect(path, writing=False)) as source,
        closing(connect(unfinished, writing=True)) as target,
    ):
        prepare(target, path)
        target.execute("BEGIN")
        with reporter.task("events", None) as advance:
            for row in _rows(source, []):
                events += target.execute(INSERT, (*row, sum_of(row[1:]))).rowcount
                advance(1)
        target.execute("INSERT INTO domains SELECT domain, count(*) FROM events GROUP BY domain")
        target.execute("DELETE FROM sqlite_sequence")
        target.execute("INSERT INTO sqlite_sequence VALUES ('events', ?)", (_last(source),))
        target.execute("COMMIT")
        target.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with writing(path):
        sync_file(unfinished)
        unfinished.replace(repaired(path))
        sync_directory(path.parent)
    return events


def _count(connection: sqlite3.Connection, gaps: list[Gap], reporter: Reporter) -> int:
    good = 0
    with reporter.task("events", None) as advance:
        for _ in _rows(connection, gaps):
            good += 1
            advance(1)
    return good


def _rows(connection: sqlite3.Connection, gaps: list[Gap]) -> Iterator[tuple[object, ...]]:
    """Every row that can be read and has the checksum that it states; the numbers of others in ``gaps``.

    Where reading stops, what was not read yet is halved until the unreadable part stands alone.
    """
    query = f"SELECT {ROW}, crc FROM events WHERE sequence BETWEEN ? AND ? ORDER BY sequence"
    ranges, probes = [(1, _last(connection))], 0
    while ranges:
        first, last = ranges.pop()
        try:
            for *row, crc in connection.execute(query, (first, last)):
                if sum_of(row[1:]) == crc:
                    yield tuple(row)
                else:
                    gaps.append((row[0], row[0]))
                first = row[0] + 1
        except sqlite3.DatabaseError:
            probes += 1
            if first >= last or probes > _PROBES:
                gaps.append((first, max(first, last)))
                continue
            middle = (first + last) // 2
            ranges += [(middle + 1, last), (first, middle)]


def _last(connection: sqlite3.Connection) -> int:
    """The highest number that a row can have, as far as that can still be read."""
    connection.execute("PRAGMA writable_schema = ON")  # so that a file cut short is read at all
    for query in (
        "SELECT seq FROM sqlite_sequence WHERE name = 'events'",
        "SELECT max(sequence) FROM events",
    ):
        try:
            if (found := connection.execute(query).fetchone()) and isinstance(found[0], int):
                return found[0]
        except sqlite3.DatabaseError:
            continue
    name = connection.execute("PRAGMA database_list").fetchone()[2]
    return Path(name).stat().st_size // _SMALLEST


def _joined(gaps: list[Gap]) -> list[Gap]:
    """Gaps that touch, as one."""
    found: list[Gap] = []
    for first, last in sorted(gaps):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found


def _words(gap: Gap) -> str:
    first, last = gap
    if first == last:
        return f"event number {first:,} cannot be read"
    return f"events number {first:,} to {last:,} cannot be read (at most {last - first + 1:,})"
