"""Events in one SQLite file: the store that needs no server."""

import json
import logging
import sqlite3
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from isthmus.errors import DataError, IntegrityError, MismatchError
from isthmus.files import locked, sync_directory
from isthmus.service.events.base import (
    Append,
    Counts,
    EventStore,
    Numbered,
    Position,
    Request,
    system_clock,
)
from isthmus.service.events.event import Event, Limits, Status, Verdict
from isthmus.service.events.repaired import finish_repair
from isthmus.service.events.sqlite_schema import (
    COLUMNS,
    INSERT,
    ROW,
    VERSION,
    connect,
    explained,
    prepare,
    sum_of,
    version_of,
)
from isthmus.service.events.wal import damaged_tail, keep_log

Row = tuple[str, str, str, str, float, str | None, float | None, str | None]
_log = logging.getLogger(__name__)
_PAGE = 1000
_SAME = f"SELECT {COLUMNS} FROM events WHERE id = ?"
_COUNT = (
    "INSERT INTO domains VALUES (?, ?) "
    "ON CONFLICT (domain) DO UPDATE SET events = events + excluded.events"
)


class SqliteStore(EventStore):
    """Events in the file ``path``, made if it is missing. One process writes, any number read.

    Raises LockedError if another process writes to it, MismatchError for a file of another program
    or a newer version, IntegrityError if it is damaged, StorageError if it cannot be written.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        limits: Limits | None = None,
        clock: Callable[[], float] = system_clock,
        reading: bool = False,
    ) -> None:
        self.path = Path(path)
        self._idle: deque[sqlite3.Connection] = deque()
        self._held = ExitStack()
        with self._held as held:
            if reading:
                self._check_readable()
            else:
                held.enter_context(locked(self.path.parent, self.path.name))
                finish_repair(self.path)
                self._keep_tail()
                with explained(self.path):
                    self._writer = connect(self.path, writing=True)
                    held.callback(self._writer.close)
                    prepare(self._writer, self.path)
                sync_directory(self.path.parent)
                self._to_wipe = False
            self._held = held.pop_all()
        super().__init__(str(path), limits=limits or Limits(), clock=clock, reading=reading)

    def _history(self, user: str, limit: int, before: Position | None) -> list[Event]:
        place = "" if before is None else "AND (time, id) < (?, ?)"
        query = (
            f"SELECT {COLUMNS} FROM events WHERE user = ? {place} "
            "ORDER BY time DESC, id DESC LIMIT ?"
        )
        with self._reader() as reader:
            rows = reader.execute(query, (user, *(before or ()), limit)).fetchall()
        return [event_of(row) for row in reversed(rows)]

    def since(self, sequence: int = 0) -> Iterator[Numbered]:
        query = f"SELECT {ROW} FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?"
        while True:
            with self._reader() as reader:  # page by page: no snapshot keeps the log from shrinking
                rows = reader.execute(query, (sequence, _PAGE)).fetchall()
            for number, *row in rows:
                yield Numbered(number, event_of(row))
            if len(rows) < _PAGE:
                return
            sequence = rows[-1][0]

    def counts(self) -> Counts:
        with self._reader() as reader:
            reader.execute("BEGIN")  # one state for both answers
            users = reader.execute("SELECT count(DISTINCT user) FROM events").fetchone()[0]
            domains = dict(reader.execute("SELECT domain, events FROM domains ORDER BY domain"))
            reader.execute("COMMIT")
        return Counts(sum(domains.values()), users, domains)

    def close(self) -> None:
        self._drain()
        while self._idle:
            self._idle.pop().close()
        self._held.close()

    def _commit(self, requests: Sequence[Request]) -> list[tuple[Verdict, ...] | int]:
        results: list[tuple[Verdict, ...] | int] = []
        with explained(self.path):
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                for request in requests:
                    if isinstance(request, Append):
                        results.append(request.verdicts(self._insert(request.events)))
                    else:
                        results.append(self._delete(request.user))
                        self._to_wipe = True
                self._writer.execute("COMMIT")  # returns after the log is fsynced
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise
            if self._to_wipe:  # the log still has the rows; a reader that is at it puts that off
                query = "PRAGMA wal_checkpoint(TRUNCATE)"
                self._to_wipe = bool(self._writer.execute(query).fetchone()[0])
        return results

    def _insert(self, events: list[Event]) -> list[Status]:
        statuses: list[Status] = []
        new: Counter[str] = Counter()
        for event in events:
            row = row_of(event)
            if self._writer.execute(INSERT, (None, *row, sum_of(row))).rowcount:
                statuses.append("accepted")
                new[event.domain] += 1
            else:
                same = self._writer.execute(_SAME, (event.id,)).fetchone() == row
                statuses.append("duplicate" if same else "conflict")
        self._writer.executemany(_COUNT, new.items())
        return statuses

    def _delete(self, user: str) -> int:
        write = self._writer.execute
        by_domain = "SELECT domain, -count(*) FROM events WHERE user = ? GROUP BY domain"
        self._writer.executemany(_COUNT, write(by_domain, (user,)).fetchall())
        write("DELETE FROM domains WHERE events = 0")
        return write("DELETE FROM events WHERE user = ?", (user,)).rowcount

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        """A connection of nobody else's; it goes back to those that wait for work."""
        with explained(self.path):
            try:
                reader = self._idle.pop()
            except IndexError:
                reader = connect(self.path, writing=False)
            try:
                yield reader
            except BaseException:
                reader.close()
                raise
            self._idle.append(reader)

    def _keep_tail(self) -> None:
        tail = damaged_tail(self.path)
        if tail is not None:
            aside = keep_log(self.path)
            _log.warning("%s: %s; the log as it was lies at %s", self.path, tail, aside)

    def _check_readable(self) -> None:
        if not self.path.is_file():
            raise DataError(f"{self.path}: no such event store")
        with self._reader() as reader:
            if version_of(reader, self.path) != VERSION:
                raise MismatchError(
                    f"{self.path} is of an older version, or empty; "
                    f"`isthmus events repair {self.path}` brings it up to date."
                )


def row_of(event: Event) -> Row:
    """The event as its columns."""
    return (
        event.id,
        event.user,
        event.item,
        event.domain,
        event.time,
        event.kind,
        event.value,
        event.context_text(),
    )


def event_of(row: Sequence[Any]) -> Event:
    """The event in its columns. Raises IntegrityError if its context is not what was written."""
    id, user, item, domain, time, kind, value, text = row
    try:
        context = None if text is None else json.loads(text)
    except (TypeError, ValueError):
        raise IntegrityError(
            f"the context of event {id!r} is damaged; `isthmus events check` says more."
        ) from None
    return Event(id, user, item, domain, time, kind, value, context)
