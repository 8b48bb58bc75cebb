"""SQLite's write-ahead log, looked at from outside: whether its end is what was last written.

SQLite itself replays the log up to the first frame whose checksum is wrong, and says nothing of
what comes after. Layout and checksum: "WAL-mode File Format", sqlite.org/walformat.html, 2 and 3.
"""

import shutil
import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from isthmus.files import explained, sync_directory, sync_file

_HEADER: Final = struct.Struct(">8I")  # magic, version, page size, checkpoint, salts, checksums
_FRAME: Final = struct.Struct(">6I")  # page, pages after a commit, salts, checksums
_MAGIC: Final = 0x377F0682  # its lowest bit says in which order the checksum takes bytes


@dataclass(frozen=True, slots=True)
class Tail:
    """Frames of the log that follow the last good one, though they were written after it."""

    good: int
    lost: int

    def __str__(self) -> str:
        return (
            f"its log is damaged after {self.good:,} pages: {self.lost:,} more cannot be used "
            "(after a power cut in the middle of a write these were never acknowledged)"
        )


def log_of(path: Path) -> Path:
    """The log of a SQLite file."""
    return path.with_name(path.name + "-wal")


def damaged_tail(path: Path) -> Tail | None:
    """What the log of the SQLite file ``path`` has beyond its last good frame; None if nothing."""
    try:
        log = log_of(path).read_bytes()
    except FileNotFoundError:
        return None
    if not log:
        return None
    frames = max(len(log) - _HEADER.size, 0) // (_FRAME.size + 1024)
    if len(log) < _HEADER.size:
        return Tail(0, 1)
    magic, _, page, _, *salts, one, two = _HEADER.unpack_from(log)
    order = ">" if magic & 1 else "<"
    if magic | 1 != _MAGIC | 1 or _sum(log[:24], (0, 0), order) != (one, two):
        return Tail(0, max(frames, 1))
    good, place, state = 0, _HEADER.size, (one, two)
    size = _FRAME.size + page
    while place + size <= len(log):
        *_, salt_one, salt_two, one, two = _FRAME.unpack_from(log, place)
        if [salt_one, salt_two] != salts:
            break
        state = _sum(log[place : place + 8], state, order)
        state = _sum(log[place + _FRAME.size : place + size], state, order)
        if state != (one, two):
            break
        good, place = good + 1, place + size
    lost = sum(_is_current(log, at, salts) for at in range(place, len(log), size))
    return Tail(good, lost) if lost else None


def keep_log(path: Path) -> Path:
    """Copy the log aside, for SQLite writes over what it cannot use; where the copy lies."""
    aside = aside_of(log_of(path))
    with explained(aside):
        shutil.copy2(log_of(path), aside)
        sync_file(aside)
        sync_directory(path.parent)
    return aside


def aside_of(path: Path) -> Path:
    """A name for the damaged state of a file, that no other has."""
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    return path.with_name(f"{path.name}.damaged-{stamp}")


def _is_current(log: bytes, place: int, salts: list[int]) -> bool:
    """Whether the frame at ``place``, whole or cut off, was written since the log last began anew."""
    salt = log[place + 8 : place + 16]
    return len(salt) == 8 and list(struct.unpack(">2I", salt)) == salts


def _sum(content: bytes, state: tuple[int, int], order: str) -> tuple[int, int]:
    one, two = state
    words = struct.unpack(f"{order}{len(content) // 4}I", content)
    for first, second in zip(words[::2], words[1::2], strict=True):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two
