"""What all sorts of clients ask of a server over made data, for as long as one likes.

Most are recommendations for known users and for new ones, then events (single and in batches, some
sent twice, some of unknown items or in a wrong domain), users looked up and deleted, figures, the page
and its parts, and what is no good request. Names of new users, events and wrong routes never come
twice: whatever a server keeps by name would grow.
"""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np

from benchmarks.serve.made import DOMAINS, USERS

HOST = "127.0.0.1"
_IDLE = 15.0
"""Seconds after which a connection is not used again; the server closes it after 30."""
_DELETED = 50
"""Known users who are deleted, again and again: a server keeps a hash of each for good."""
_NEWEST = 2_000
"""New users who may come back."""


@dataclass(frozen=True)
class Asked:
    """A request; ``what`` for people; ``expected`` are the statuses that are right."""

    what: str
    method: str
    path: str
    body: bytes = b""
    expected: tuple[int, ...] = (200,)


class Traffic:
    """Requests one after another, by chance; the same ones for the same seed."""

    def __init__(self, items: int, seed: int = 0) -> None:
        self.draw = np.random.default_rng(seed)
        self._items, self._run, self._number, self._new = items, time.time_ns(), 0, 0
        kinds: dict[Callable[[], Asked], float] = {
            self._known: 0.55,
            self._newcomer: 0.16,
            self._rank: 0.02,
            self._events: 0.15,
            self._user: 0.03,
            self._delete: 0.02,
            self._figures: 0.02,
            self._page: 0.02,
            self._wrong: 0.03,
        }
        self._kinds, self._shares = list(kinds), np.cumsum(list(kinds.values()))

    def next(self) -> Asked:
        """The next request."""
        self._number += 1
        place = np.searchsorted(self._shares, self.draw.random() * self._shares[-1], side="right")
        return self._kinds[int(place)]()

    def _one(self, count: int) -> int:
        return int(self.draw.integers(count))

    def _person(self) -> str:
        """Somebody new of late; every third time somebody whom nobody knows yet."""
        if self._one(3) == 0:
            self._new += 1
        return f"new {self._run} {max(0, self._new - self._one(_NEWEST))}"

    def _item(self) -> str:
        return f"item {self._one(self._items)}"

    def _known(self) -> Asked:
        user = f"user {_DELETED + self._one(USERS - _DELETED)}"
        return self._recommend(user, {"history": [{"item": self._item()}]})

    def _newcomer(self) -> Asked:
        return self._recommend(self._person(), {"explain": self._one(10) == 0})

    def _recommend(self, user: str, more: dict[str, Any]) -> Asked:
        domains = [f"domain {self._one(DOMAINS)}"]
        if self._one(20) == 0:
            domains.append(f"domain of {self._number}")  # which nobody knows
        body = {"user": user, "domains": domains, "context": {"hour": self._one(24)}, **more}
        return _posted("recommend", body)

    def _rank(self) -> Asked:
        items = [{"item": self._item()} for _ in range(20)]
        strange = {"item": f"item of {self._number}", "domain": f"domain of {self._number}"}
        return _posted("rank", {"user": self._person(), "candidates": [*items, strange]})

    def _events(self) -> Asked:
        size = 1 if self._one(2) else 20
        events = [
            {
                "id": f"{self._run} {self._number} {n}",
                "user": self._person(),
                "item": self._item() if self._one(20) else f"item of {self._number}",
                "domain": f"domain {self._one(DOMAINS)}",
                "time": 1_700_000_000 + self._number,
                "kind": "click",
            }
            for n in range(size)
        ]
        return _posted("events", {"events": events + events[: self._one(2)]})

    def _user(self) -> Asked:
        return Asked("GET a user", "GET", f"/v1/users/{quote(self._person())}")

    def _delete(self) -> Asked:
        user = f"user {self._one(_DELETED)}" if self._one(2) else self._person_kept()
        return Asked("DELETE a user", "DELETE", f"/v1/users/{quote(user)}")

    def _person_kept(self) -> str:
        """One of fifty new users, for the same reason."""
        return f"new {self._run} {self._one(_DELETED)}"

    def _figures(self) -> Asked:
        path = ("/metrics", "/v1/stats", "/v1/domains", "/health/ready")[self._one(4)]
        return Asked(f"GET {path}", "GET", path)

    def _page(self) -> Asked:
        return Asked("GET the page", "GET", "/" if self._one(2) else "/v1/openapi.json")

    def _wrong(self) -> Asked:
        wrong = (
            Asked("an unknown route", "GET", f"/nowhere/{self._number}", b"", (404,)),
            _posted("recommend", {"user": f"{self._number}", "k": 0}, 422),
            _posted("recommend", {f"key {self._number}": 1}, 422),
            _posted("events", {"events": [{"id": f"{self._number}"}]}, 422),
        )
        return wrong[self._one(len(wrong))]


def _posted(what: str, body: dict[str, Any], status: int = 200) -> Asked:
    return Asked(f"POST {what}", "POST", f"/v1/{what}", json.dumps(body).encode(), (status,))


class Connections:
    """Kept connections: as many as there are requests at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, method: str, path: str, body: bytes = b"") -> int:
        """Send, read the whole reply, return its status; 0 where there is none."""
        try:
            reader, writer = await self._connection()
            writer.write(
                f"{method} {path} HTTP/1.1\r\nhost: {HOST}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\n\r\n".encode()
                + body
            )
            head = await reader.readuntil(b"\r\n\r\n")
            size = head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
            await reader.readexactly(int(size))
        except (OSError, asyncio.IncompleteReadError):
            return 0
        self._idle.append((time.monotonic(), reader, writer))
        return int(head[9:12])

    def close(self) -> None:
        for _, _, writer in self._idle:
            writer.close()

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            since, reader, writer = self._idle.pop()
            if time.monotonic() < since + _IDLE and not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection(HOST, self._port)
