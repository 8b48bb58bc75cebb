"""Files that are whole or absent: atomic writes, SHA-256, sealed manifests, locks.

Everything that Isthmus keeps is written aside in the same directory, fsynced, moved into place, and
the directory fsynced (the order that ext4, XFS and APFS need: Pillai et al., OSDI 2014). A power
cut, a ``kill -9`` or a full disk then leaves the old content or the new, and perhaps an orphan whose
name starts with a dot and ends in ``.tmp``, which the next writer sweeps away.
"""

import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from pydantic import NonNegativeInt

from isthmus.errors import IntegrityError, IsthmusError, LockedError
from isthmus.schema import Frozen

LOCK = ".lock"
_ORPHAN = ".tmp"
_ASIDE = ".old"
_SEAL = "sha256"
_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}
_FULL[errno.EFBIG] = "the file exceeds the largest size that is allowed here (see `ulimit -f`)"


class StorageError(IsthmusError):
    """A file could not be written: the disk is full, or the directory is not writable."""


# --- writing -------------------------------------------------------------------------------------


def sync_directory(directory: Path) -> None:
    """Make the names in ``directory`` survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make the content of ``path`` survive a power cut."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def make_directory(directory: Path) -> None:
    """Make ``directory`` and those above it where they are missing, fsyncing what names them."""
    if not directory.is_dir():
        make_directory(directory.parent)
        directory.mkdir(exist_ok=True)
        sync_directory(directory.parent)


def _aside(path: Path, ending: str = _ORPHAN) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{ending}")


@contextmanager
def explained(path: Path, *, only_full: bool = False) -> Iterator[None]:
    """Turn the system's errors on writing ``path`` into a StorageError that says what to do.

    ``only_full`` lets pass what might concern another file than ``path``.
    """
    try:
        yield
    except OSError as error:
        if only_full and error.errno not in _FULL:
            raise
        why = _FULL.get(error.errno or 0, error.strerror or str(error))
        raise StorageError(
            f"{path} cannot be written: {why}. What was there before is intact. "
            "Make room (or make the directory writable) and run the same command again."
        ) from error


@contextmanager
def atomically(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path to write to; on leaving without an error it becomes ``path``.

    For libraries that want a file name. The directory of ``path`` is made if it is missing.
    Raises StorageError, with the old ``path`` intact, where the system refuses to write.
    """
    path = Path(path)
    temporary = _aside(path)
    with explained(path):
        make_directory(path.parent)
    try:
        with explained(path, only_full=True):
            yield temporary
        with explained(path):
            sync_file(temporary)
            temporary.replace(path)
            sync_directory(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: Path | str, content: bytes | Callable[[BinaryIO], None]) -> None:
    """Write ``path`` so that it holds its old content or all of ``content``, whatever happens.

    ``content`` is the bytes, or a function that writes them to an open binary file.
    """
    with atomically(path) as temporary, explained(Path(path)), temporary.open("xb") as file:
        if callable(content):
            content(file)
        else:
            file.write(content)


def replace_directory(temporary: Path, final: Path) -> None:
    """Move a finished directory into place, instead of what ``final`` held.

    All its files are fsynced first. Both must lie in one directory. Where ``final`` exists, it is
    moved aside and deleted last; ``sweep`` puts it back if the machine died between the two moves.
    """
    assert temporary.parent == final.parent, "renames are atomic within one directory only"
    for place, _, names in os.walk(temporary):
        for name in names:
            sync_file(Path(place) / name)
        sync_directory(Path(place))
    old = _aside(final, _ASIDE) if final.exists() else None
    if old is not None:
        final.rename(old)
    temporary.rename(final)
    sync_directory(final.parent)
    if old is not None:
        remove(old)


@contextmanager
def directory_atomically(final: Path | str) -> Iterator[Path]:
    """Yield an empty temporary directory to fill; on leaving without an error it becomes ``final``."""
    final = Path(final)
    temporary = _aside(final)
    with explained(final):
        make_directory(final.parent)
        temporary.mkdir()
    try:
        with explained(final, only_full=True):
            yield temporary
        with explained(final):
            replace_directory(temporary, final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def remove(path: Path) -> None:
    """Delete a directory with all it holds; one that is half deleted never bears its name."""
    doomed = _aside(path)
    path.rename(doomed)
    shutil.rmtree(doomed)


def sweep(directory: Path) -> list[str]:
    """Delete what killed writers left in ``directory``; returns the names. Hold the lock meanwhile.

    A directory that ``replace_directory`` had moved aside comes back where nothing took its place.
    """
    swept = []
    for path in sorted(directory.glob(".*")) if directory.is_dir() else []:
        final = path.with_name(path.name[1:].rsplit(".", 2)[0])
        if path.suffix == _ASIDE and not final.exists():
            path.rename(final)
        elif path.suffix in (_ORPHAN, _ASIDE):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        else:
            continue
        swept.append(path.name)
    return swept


# --- checking ------------------------------------------------------------------------------------


class Digest(Frozen):
    """What a file is known by."""

    sha256: str
    bytes: NonNegativeInt


def digest_of(content: bytes) -> Digest:
    """Hash and size of bytes at hand."""
    return Digest(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))


def sha256(path: Path | str) -> str:
    """The SHA-256 of a file's content, in hexadecimal; reads it piecewise."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(path: Path | str) -> Digest:
    """Hash and size of one file."""
    path = Path(path)
    return Digest(sha256=sha256(path), bytes=path.stat().st_size)


def digests(directory: Path, names: Iterable[str]) -> dict[str, Digest]:
    """Hash and size of each of the files, by their path relative to ``directory``, sorted."""
    return {name: digest(directory / name) for name in sorted(names)}


def read_verified(directory: Path, name: str, expected: Digest, mend: str) -> bytes:
    """The content of a file that is what it was said to be; IntegrityError otherwise.

    What is returned is what was hashed: the file is read once. ``mend`` says what the user can do.
    """
    _refuse_outside(directory, name)
    try:
        content = (directory / name).read_bytes()
    except OSError as error:
        raise _broken(directory / name, error.strerror or str(error), mend) from None
    _compare(directory / name, digest_of(content), expected, mend)
    return content


def verify(directory: Path, files: Mapping[str, Digest], mend: str) -> None:
    """Check that every file is there and has the size and hash that the manifest gives.

    Raises IntegrityError that names the first one that differs. Other files are not looked at.
    """
    for name, expected in files.items():
        _refuse_outside(directory, name)
        path = directory / name
        try:
            size = path.stat().st_size
            found = Digest(sha256=sha256(path) if size == expected.bytes else "", bytes=size)
        except OSError as error:
            raise _broken(path, error.strerror or str(error), mend) from None
        _compare(path, found, expected, mend)


def _compare(path: Path, found: Digest, expected: Digest, mend: str) -> None:
    if found.bytes != expected.bytes:
        why = f"it has {found.bytes:,} bytes where its manifest says {expected.bytes:,}"
        raise _broken(path, why, mend)
    if found.sha256 != expected.sha256:
        why = f"its SHA-256 is {found.sha256[:12]}… where its manifest says {expected.sha256[:12]}…"
        raise _broken(path, why, mend)


def _refuse_outside(directory: Path, name: str) -> None:
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or not parts.parts:
        raise IntegrityError(
            f"the manifest of {directory} names {name!r}, which lies outside it; "
            "expected paths below the directory. Do not use this directory."
        )


def _broken(path: Path, why: str, mend: str) -> IntegrityError:
    return IntegrityError(f"{path} is damaged: {why}. {mend}")


# --- sealed JSON ---------------------------------------------------------------------------------


def canonical(value: object) -> bytes:
    """The one JSON text of a value: sorted keys, no spaces. NaN is refused (ValueError)."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def sealed(values: Mapping[str, Any]) -> bytes:
    """A manifest as JSON text that ends with its own SHA-256."""
    values = json.loads(canonical(values))  # tuples are lists from here on, keys are strings
    values = {**values, _SEAL: digest_of(canonical(values)).sha256}
    return (json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write_sealed(path: Path | str, values: Mapping[str, Any]) -> None:
    """Write a manifest together with its own SHA-256, atomically."""
    write_atomically(path, sealed(values))


def read_sealed(path: Path | str, mend: str) -> dict[str, Any]:
    """Read what ``sealed`` made; IntegrityError if a byte of it has changed meanwhile."""
    path = Path(path)
    try:
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise _broken(path, error.strerror or str(error), mend) from None
    except (ValueError, RecursionError):
        raise _broken(path, "it is not JSON", mend) from None
    seal = values.pop(_SEAL, None) if isinstance(values, dict) else None
    try:
        whole = seal == digest_of(canonical(values)).sha256
    except (ValueError, RecursionError):  # NaN, or half a surrogate pair
        whole = False
    if not whole:
        raise _broken(path, "its content does not have the SHA-256 that it states", mend)
    return values


# --- locking -------------------------------------------------------------------------------------


@contextmanager
def locked(directory: Path | str, file: str | None = None) -> Iterator[None]:
    """Be the only writer of ``directory``; LockedError, saying who it is, where another one is.

    With ``file``, of that file in it alone. The kernel holds the lock (``flock``) and frees it when
    its process ends, however that ends, so a lock file that is left behind means nothing. It is
    never deleted: a third process could hold the deleted file's lock while a fourth locks a new one.
    """
    directory = Path(directory)
    lock = directory / (f".{file}{LOCK}" if file else LOCK)
    with explained(lock):
        make_directory(directory)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held = _held_by(directory / (file or ""), os.pread(descriptor, 4096, 0))
            raise LockedError(held) from None
        with explained(lock):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, canonical(_me()) + b"\n", 0)
        yield
    finally:
        os.close(descriptor)


def _me() -> dict[str, object]:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": since}


def _held_by(path: Path, note: bytes) -> str:
    try:
        owner = json.loads(note)
        who = f"process {owner['pid']} on {owner['host']}, since {owner['since']}"
    except (ValueError, KeyError, TypeError):  # it has the lock, and has not said so yet
        who = "another process"
    return (
        f"{path} is being written to by {who}; expected to be its only writer. "
        "Wait until that process ends (or end it), or use another one."
    )
