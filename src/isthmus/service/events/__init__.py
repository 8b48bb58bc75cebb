"""The durable event store: what it acknowledged, it keeps.

::

    with open_events("events.sqlite") as store:          # or redis://host:6379/0
        verdicts = store.append([{"id": "e1", "user": "u", "item": "i", "domain": "d", "time": t}])
        store.history("u", limit=50)                      # the newest, oldest first: list[Event]
        store.history("u", 50, before=(event.time, event.id))        # the page before that
        store.delete_user("u")                            # how many events went, for good
        for sequence, event in store.since(0): ...        # in the order in which they were kept
        store.counts()                                    # events, users, events by domain

``append`` gives one ``Verdict`` an event: ``accepted``, ``duplicate``, ``conflict`` (same id, other
content) or ``rejected`` with a code; when it returns, what is accepted is on the disk. ``submit``
and ``submit_delete`` give futures, for ``asyncio.wrap_future``; requests that wait together share
one commit. ``backlog`` says how many wait. A store that cannot write raises ``StorageError`` and
stays as it was; the same events can be sent again.

Beside it: ``dump`` and ``restore`` (JSON lines), ``export`` (Parquet that ``isthmus prepare``
reads), ``check`` and ``repair``. No HTTP and no torch here.
"""

from collections.abc import Callable
from pathlib import Path

from isthmus.errors import ConfigError
from isthmus.service.events.base import Counts, EventStore, Numbered, Position, system_clock
from isthmus.service.events.dump import Restored, dump, restore
from isthmus.service.events.event import Event, Limits, Verdict
from isthmus.service.events.export import export
from isthmus.service.events.health import Health, check, repair
from isthmus.service.events.sqlite_store import SqliteStore

__all__ = [
    "Counts",
    "Event",
    "EventStore",
    "Health",
    "Limits",
    "Numbered",
    "Position",
    "Restored",
    "Verdict",
    "check",
    "dump",
    "export",
    "open_events",
    "repair",
    "restore",
    "sqlite_path",
]

_REDIS = ("redis://", "rediss://", "unix://")
_SQLITE = "sqlite:///"


def open_events(
    url: str | Path,
    *,
    limits: Limits | None = None,
    clock: Callable[[], float] = system_clock,
    reading: bool = False,
) -> EventStore:
    """The event store that ``url`` names: a path, ``sqlite:///PATH`` or ``redis://HOST:PORT/DB``.

    A file is made if it is missing, and brought to this version. ``reading`` looks at a store that
    another process may be writing to, and changes nothing.

    Raises ConfigError for a URL of another kind, or where the client of Redis is not installed;
    LockedError if another process writes to the file; MismatchError, IntegrityError or StorageError
    as the store itself says.
    """
    path = sqlite_path(url)
    if path is not None:
        return SqliteStore(path, limits=limits, clock=clock, reading=reading)
    try:
        from isthmus.service.events.redis_store import RedisStore
    except ImportError:
        raise ConfigError(
            f"{url}: the client of Redis is not installed; pip install 'isthmus[redis]'"
        ) from None
    return RedisStore(str(url), limits=limits, clock=clock, reading=reading)


def sqlite_path(url: str | Path) -> Path | None:
    """The file that the URL of a store names; None if it names a Redis server.

    Raises ConfigError for a URL of another kind.
    """
    text = str(url)
    if text.startswith(_REDIS):
        return None
    if text.startswith(_SQLITE):
        return Path(text.removeprefix(_SQLITE))
    if "://" in text or not text:
        raise ConfigError(
            f"{text!r} is no event store; expected a path, {_SQLITE}PATH or redis://HOST:PORT/DB"
        )
    return Path(text)
