"""Events in a Redis server: for several servers over one store.

Keys, all below ``isthmus:events:``::

    format              "isthmus-events 1"
    sequence            the last number given
    kept                hash: event id -> the event as canonical JSON
    order               sorted set: event id by number
    user:USER           sorted set: event id by time
    users, domains      hashes: how many events each has

Every request is one script, which Redis runs and logs as a whole.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from isthmus.errors import MismatchError
from isthmus.files import StorageError, canonical
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

_PREFIX: Final = "isthmus:events:"
_FORMAT: Final = b"isthmus-events 1"
_PAGE: Final = 1000
_PATIENCE: Final = 30.0
_STATUS: Final[tuple[Status, ...]] = ("accepted", "duplicate", "conflict")
_SAFE: Final = {"appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no"}

_APPEND = """
local p, found = KEYS[1], {}
for i = 1, #ARGV, 5 do
  local id, user, domain, time, event = unpack(ARGV, i, i + 4)
  local kept = redis.call('HGET', p .. 'kept', id)
  if kept then
    found[#found + 1] = kept == event and 1 or 2
  else
    redis.call('HSET', p .. 'kept', id, event)
    redis.call('ZADD', p .. 'order', redis.call('INCR', p .. 'sequence'), id)
    redis.call('ZADD', p .. 'user:' .. user, time, id)
    redis.call('HINCRBY', p .. 'users', user, 1)
    redis.call('HINCRBY', p .. 'domains', domain, 1)
    found[#found + 1] = 0
  end
end
return found
"""
_DELETE = """
local p, user = KEYS[1], ARGV[1]
local ids = redis.call('ZRANGE', p .. 'user:' .. user, 0, -1)
for _, id in ipairs(ids) do
  local domain = cjson.decode(redis.call('HGET', p .. 'kept', id)).domain
  if redis.call('HINCRBY', p .. 'domains', domain, -1) == 0 then
    redis.call('HDEL', p .. 'domains', domain)
  end
  redis.call('HDEL', p .. 'kept', id)
  redis.call('ZREM', p .. 'order', id)
end
redis.call('DEL', p .. 'user:' .. user)
redis.call('HDEL', p .. 'users', user)
return #ids
"""


def client(url: str) -> Any:
    """A client of this server. A connection that went stale is opened anew, once."""
    return redis.Redis.from_url(url, socket_timeout=_PATIENCE, retry=Retry(NoBackoff(), 1))


class RedisStore(EventStore):
    """Events in the database that ``url`` names. Any number of processes read and write.

    Raises StorageError where the server is not reached, or would not keep what it acknowledges;
    MismatchError where a newer version of the library wrote there.
    """

    def __init__(
        self,
        url: str,
        *,
        limits: Limits | None = None,
        clock: Callable[[], float] = system_clock,
        reading: bool = False,
    ) -> None:
        self._name = _without_password(url)
        self._redis = client(url)
        with self._explained():
            self._check_safe()
            if not reading:
                self._redis.set(f"{_PREFIX}format", _FORMAT, nx=True)
            found: Any = self._redis.get(f"{_PREFIX}format")
            if found not in (_FORMAT, None):
                raise MismatchError(
                    f"{self._name} holds events as {found.decode(errors='replace')!r}; expected "
                    f"{_FORMAT.decode()!r}. Use the version of isthmus that wrote them."
                )
        self._append = self._redis.register_script(_APPEND)
        self._delete = self._redis.register_script(_DELETE)
        self._to_rewrite = False
        super().__init__(self._name, limits=limits or Limits(), clock=clock, reading=reading)

    def _history(self, user: str, limit: int, before: Position | None) -> list[Event]:
        key, ids = f"{_PREFIX}user:{user}", []
        with self._explained():
            top = "+inf" if before is None else f"({before[0]!r}"
            if before is not None:  # of those at the very time, Redis orders by the bytes of the id
                tied = self._redis.zrevrangebyscore(key, before[0], before[0])
                ids = [name for name in tied if name < before[1].encode()]
            ids += self._redis.zrevrangebyscore(key, top, "-inf", start=0, num=limit)
            return [event for event in self._events(ids[:limit][::-1]) if event is not None]

    def since(self, sequence: int = 0) -> Iterator[Numbered]:
        while True:
            with self._explained():
                page = self._redis.zrangebyscore(
                    f"{_PREFIX}order", f"({sequence}", "+inf", start=0, num=_PAGE, withscores=True
                )
                events = self._events([name for name, _ in page])
            for (_, number), event in zip(page, events, strict=True):
                if event is not None:
                    yield Numbered(int(number), event)
            if len(page) < _PAGE:
                return
            sequence = int(page[-1][1])

    def counts(self) -> Counts:
        with self._explained():
            pipe = self._redis.pipeline(transaction=False)  # else refused when memory is full
            pipe.hlen(f"{_PREFIX}users").hgetall(f"{_PREFIX}domains")
            users, found = pipe.execute()
        domains = {name.decode(): int(found[name]) for name in sorted(found)}
        return Counts(sum(domains.values()), users, domains)

    def close(self) -> None:
        self._drain()
        self._redis.close()

    def _commit(self, requests: Sequence[Request]) -> list[tuple[Verdict, ...] | int]:
        with self._explained():
            pipe = self._redis.pipeline(transaction=False)  # one journey, and one fsync, for all
            for request in requests:
                if isinstance(request, Append):
                    arguments = [part for event in request.events for part in _arguments(event)]
                    self._append(keys=[_PREFIX], args=arguments, client=pipe)
                else:
                    self._delete(keys=[_PREFIX], args=[request.user], client=pipe)
                    self._to_rewrite = True
            answers = pipe.execute()
            if self._to_rewrite:
                self._rewrite()
        return [
            request.verdicts(_STATUS[code] for code in answer)
            if isinstance(request, Append)
            else answer
            for request, answer in zip(requests, answers, strict=True)
        ]

    def _rewrite(self) -> None:
        """Have the log written anew, without what was deleted; later, if that is going on already."""
        try:
            self._redis.bgrewriteaof()
            self._to_rewrite = False
        except redis.ResponseError as error:
            if "in progress" not in str(error):
                raise

    def _events(self, ids: list[bytes]) -> list[Event | None]:
        found = self._redis.hmget(f"{_PREFIX}kept", ids) if ids else []
        return [None if text is None else Event(**json.loads(text)) for text in found]

    def _check_safe(self) -> None:
        found = self._redis.config_get(*_SAFE, "maxmemory", "maxmemory-policy")
        wrong = [
            f"{name} {found.get(name)}" for name, value in _SAFE.items() if found.get(name) != value
        ]
        if found.get("maxmemory") != "0" and found.get("maxmemory-policy") != "noeviction":
            wrong.append(f"maxmemory-policy {found.get('maxmemory-policy')}")
        if wrong:
            wanted = ", ".join(f"{name} {value}" for name, value in _SAFE.items())
            raise StorageError(
                f"{self._name} has {', '.join(wrong)}: it would lose events that it acknowledged. "
                f"Set {wanted}, maxmemory-policy noeviction in its configuration."
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what the server says, or that it says nothing, into words of what to do about it."""
        try:
            yield
        except redis.RedisError as error:
            raise StorageError(
                f"{self._name} cannot be used: {' '.join(str(error).split()).rstrip('.')}. What was acknowledged "
                "before is intact. Mend the server, and send the same events again."
            ) from error


def _arguments(event: Event) -> tuple[str | bytes, ...]:
    return event.id, event.user, event.domain, repr(event.time), canonical(event.as_json())


def _without_password(url: str) -> str:
    """The URL as it may be shown and logged."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
