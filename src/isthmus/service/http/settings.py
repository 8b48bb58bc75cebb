"""What a server is told when it starts; every bound has a default that is safe."""

import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from isthmus.errors import ConfigError

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_KEY_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what one request, and all of them together, may cost.

    Attributes:
        body_bytes: of a body; more is refused before it is read.
        body_seconds: for a body to arrive; ``head_seconds`` for what comes before it.
        queue: requests that wait for a thread to compute them.
        in_flight: requests of any kind at a time.
        backlog: requests that wait for the disk.
        drain_seconds: for requests that are under way when the server is told to stop.
    """

    body_bytes: int = 1 << 20
    body_seconds: float = 10.0
    head_seconds: float = 10.0
    queue: int = 64
    in_flight: int = 512
    backlog: int = 2048
    drain_seconds: float = 10.0


class Key:
    """An API key, of which only the hash is kept: it cannot be logged by mistake."""

    def __init__(self, text: str) -> None:
        """Raises ConfigError if it is too short to be a secret, or cannot be sent in a header."""
        if len(text) < _KEY_BYTES or not text.isascii() or not text.isprintable() or " " in text:
            raise ConfigError(
                f"the API key must be at least {_KEY_BYTES} printable ASCII characters without "
                "spaces; make one with: openssl rand -hex 32"
            )
        self._hash = _hash(text.encode())

    def fits(self, given: bytes) -> bool:
        """Whether this is the key; it takes as long for a near miss as for a far one."""
        return hmac.compare_digest(self._hash, _hash(given))


@dataclass(frozen=True, slots=True)
class Settings:
    """How to serve.

    Attributes:
        hosts: names under which the server may be addressed; any, where it is empty. A server
            without a key has some, lest web pages of others talk to it (DNS rebinding).
        runs_root: where runs that are loaded later must lie; None: none may be.
        threads: that compute; one request is computed by one of them.
    """

    key: Key | None = None
    hosts: tuple[str, ...] = LOOPBACK
    runs_root: Path | None = None
    threads: int = 1
    limits: Limits = Limits()


def settings(host: str, key: str | None, *, runs_root: Path | None, threads: int = 1) -> Settings:
    """Settings for a server at this address.

    Raises:
        ConfigError: others could reach the server and there is no key, or the key is weak.
    """
    if key is None and host not in LOOPBACK:
        raise ConfigError(
            f"{host} can be reached by others, and no API key is set; set the environment variable "
            "that --api-key-env names (ISTHMUS_API_KEY), or serve on 127.0.0.1"
        )
    hosts = LOOPBACK if key is None else ()
    return Settings(Key(key) if key is not None else None, hosts, runs_root, threads)


def _hash(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()
