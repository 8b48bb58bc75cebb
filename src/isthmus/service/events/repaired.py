"""Putting a repaired file in the place of a damaged one, so that no moment has a bit of both."""

from pathlib import Path

from isthmus.files import explained, sync_directory

_LOGS = ("-wal", "-shm")


def repaired(path: Path) -> Path:
    """Where a whole new file waits until it takes the place of ``path``."""
    return path.with_name(f".{path.name}.repaired")


def finish_repair(path: Path) -> None:
    """Put the repaired file, if one waits, in its place. Hold the lock of ``path``.

    SQLite would replay the log of the damaged file into the new one, so the log goes first; a kill
    between the two steps is mended here when the store is opened the next time.
    """
    if not repaired(path).exists():
        return
    with explained(path):
        for ending in _LOGS:
            path.with_name(path.name + ending).unlink(missing_ok=True)
        sync_directory(path.parent)
        repaired(path).replace(path)
        sync_directory(path.parent)
