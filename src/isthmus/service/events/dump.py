"""Events as JSON lines: a header, an event a line in canonical JSON, a trailer with the SHA-256.

The lines are in the order in which the events were kept, without their numbers: a dump of what was
restored into an empty store has the same bytes, whichever kind of store it was.
"""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

from isthmus.errors import DataError, IntegrityError, MismatchError
from isthmus.files import canonical, write_atomically
from isthmus.progress import Reporter, quiet
from isthmus.service.events.base import EventStore
from isthmus.service.events.event import STATUSES

_HEADER: Final = {"format": "isthmus-events", "version": 1}
_MEND: Final = "Take another copy of the dump; nothing was restored."
_BATCH: Final = 1000


@dataclass(frozen=True, slots=True)
class Restored:
    """What became of the events of a dump; see ``Verdict``."""

    accepted: int
    duplicate: int
    conflict: int
    rejected: int


def dump(store: EventStore, path: Path | str, *, reporter: Reporter = quiet) -> int:
    """Write all events of the store to ``path``, which is whole or absent; how many there are.

    Raises StorageError, with the old ``path`` intact, where it cannot be written.
    """
    written = 0

    def write(file: BinaryIO) -> None:
        nonlocal written
        digest = hashlib.sha256()

        def line(content: bytes) -> None:
            digest.update(content + b"\n")
            file.write(content + b"\n")

        line(canonical(_HEADER))
        with reporter.task("events", store.counts().events) as advance:
            for _, event in store.since(0):
                line(canonical(event.as_json()))
                written += 1
                if written % _BATCH == 0:
                    advance(_BATCH)
        file.write(canonical({"events": written, "sha256": digest.hexdigest()}) + b"\n")

    write_atomically(path, write)
    return written


def restore(store: EventStore, path: Path | str, *, reporter: Reporter = quiet) -> Restored:
    """Keep all events of a dump, in its order, after all of it was checked.

    A store that has events already is added to: what it has stays, by event id. A restore that was
    cut off is finished by running it again. Raises IntegrityError for a dump with a changed,
    missing or added byte, MismatchError for one of another version, DataError where there is none.
    """
    path = Path(path)
    found: Counter[str] = Counter()
    try:
        with path.open("rb") as file:
            count = _checked(file, path)
            file.seek(0)
            lines = islice(file, 1, count + 1)
            with reporter.task("events", count) as advance:
                while batch := [json.loads(line) for line in islice(lines, _BATCH)]:
                    verdicts = store.append(batch, any_time=True)
                    found.update(verdict.status for verdict in verdicts)
                    advance(len(batch))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    return Restored(**{name: found[name] for name in STATUSES})


def _checked(file: BinaryIO, path: Path) -> int:
    """How many events the dump holds, all of whose bytes are what its trailer says."""
    _check_header(file.readline(), path)
    file.seek(0)
    digest, number, last = hashlib.sha256(), -1, b""
    for line in file:
        digest.update(last)
        last = line
        number += 1
    expected = canonical({"events": number - 1, "sha256": digest.hexdigest()}) + b"\n"
    if last != expected:
        raise IntegrityError(
            f"{path} is damaged or cut off: its last line does not have the count and SHA-256 of "
            f"the {number:,} lines before it. {_MEND}"
        )
    return number - 1


def _check_header(line: bytes, path: Path) -> None:
    try:
        header = json.loads(line)
        kind, version = header["format"], header["version"]
    except (ValueError, TypeError, KeyError):
        kind = version = None
    if kind != _HEADER["format"]:
        raise IntegrityError(
            f"{path} is no dump of events: its first line does not say so. {_MEND}"
        )
    if version != _HEADER["version"]:
        raise MismatchError(
            f"{path} is a dump in version {version}; expected {_HEADER['version']}. Use the version "
            "of isthmus that wrote it."
        )
