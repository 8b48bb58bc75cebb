"""Users who were deleted: what training knew of them is used no more, restarts included.

Kept are hashes of their ids, beside the events: a file of lines, or a set in Redis.
"""

import hashlib
import os
from pathlib import Path
from typing import Any, Protocol

from isthmus.errors import IntegrityError
from isthmus.files import StorageError, sync_directory
from isthmus.service.events import sqlite_path

_HEX = 64


class Forgotten(Protocol):
    """Ids of deleted users, as hashes. Any thread may ask."""

    def add(self, user: str) -> None:
        """Forget a user; durable when it returns. Raises StorageError where it cannot be."""
        ...

    def __contains__(self, user: str) -> bool: ...


def open_forgotten(url: str | Path) -> Forgotten:
    """The forgotten users beside the event store at ``url``."""
    path = sqlite_path(url)
    if path is None:
        return _RedisForgotten(str(url))
    return _FileForgotten(path.with_name(f"{path.name}.forgotten"))


class _FileForgotten:
    """A line a user; a line that was cut off by a crash was never acknowledged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            text = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise StorageError(f"{path} cannot be read: {error.strerror}.") from None
        whole = text[: text.rfind(b"\n") + 1]
        self._hashes = set(whole.decode("ascii", "replace").split())
        if any(len(one) != _HEX for one in self._hashes):
            raise IntegrityError(f"{path} is damaged; expected {_HEX} hexadecimal digits a line")
        self._length = len(whole)

    def add(self, user: str) -> None:
        if user in self:
            return
        line = f"{_hash(user)}\n".encode()
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.ftruncate(file, self._length)  # what an earlier failure left
                os.pwrite(file, line, self._length)
                os.fsync(file)
            finally:
                os.close(file)
            sync_directory(self.path.parent)
        except OSError as error:
            raise StorageError(f"{self.path} cannot be written: {error.strerror}.") from None
        self._length += len(line)
        self._hashes.add(_hash(user))

    def __contains__(self, user: str) -> bool:
        return bool(self._hashes) and _hash(user) in self._hashes


class _RedisForgotten:
    """A set in the database of the events; other servers over it see what this one adds."""

    _KEY = "isthmus:forgotten"

    def __init__(self, url: str) -> None:
        from redis import RedisError

        from isthmus.service.events.redis_store import client

        self._error: Any = RedisError
        self._redis = client(url)

    def add(self, user: str) -> None:
        try:
            self._redis.sadd(self._KEY, _hash(user))
        except self._error as error:
            raise StorageError(f"the Redis server refused: {type(error).__name__}.") from None

    def __contains__(self, user: str) -> bool:
        try:
            return bool(self._redis.sismember(self._KEY, _hash(user)))
        except self._error as error:
            raise StorageError(f"the Redis server refused: {type(error).__name__}.") from None


def _hash(user: str) -> str:
    return hashlib.sha256(user.encode()).hexdigest()
