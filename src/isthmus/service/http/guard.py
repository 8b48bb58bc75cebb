"""The gate: nothing reaches a route before its head is in order, and its body is there and bounded."""

import asyncio
import time
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from isthmus.service.http.errors import ApiError, log, refusal
from isthmus.service.http.settings import Settings
from isthmus.service.http.state import State

OPEN: Final = frozenset({"/", "/health/live", "/health/ready"})
"""Paths that need no key: the state of health, and the console's page, which asks for one."""
OPEN_FOLDER: Final = "/console/"
_DISCARD_SECONDS: Final = 2.0
Headers = dict[bytes, bytes]


class Guard:
    """ASGI middleware: name, key, type and size of a request; its latency; what goes wrong inside."""

    def __init__(self, app: ASGIApp, state: State) -> None:
        self._app, self._state, self._settings = app, state, state.settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state, start = self._state, time.perf_counter()
        watched = _Watched(send)
        state.in_flight += 1
        try:
            await self._answer(scope, receive, watched)
        finally:
            state.in_flight -= 1
            route = getattr(scope.get("route"), "path", "other")
            state.measures.answered(route, watched.status, time.perf_counter() - start)

    async def _answer(self, scope: Scope, receive: Receive, send: "_Watched") -> None:
        """Every request is answered, whatever happens."""
        headers: Headers = dict(scope["headers"])
        try:
            if self._state.in_flight > self._settings.limits.in_flight:
                raise ApiError("overloaded")
            check_head(scope, headers, self._settings)
            body = await self._body(receive, headers)
            if body is None:
                return
            await self._app(scope, _once(body, receive), send)
        except ApiError as error:
            await refusal(error.code, error.message, **error.more)(scope, receive, send)
            if error.code == "too_large" and b"expect" not in headers:
                await _discard(receive)  # so that the sender gets to read the refusal
        except Exception:
            log.exception("a request failed: %s %s", scope["method"], scope.get("route"))
            if not send.status:
                await refusal("internal")(scope, receive, send)

    async def _body(self, receive: Receive, headers: Headers) -> bytes | None:
        """The body; None if the sender went away."""
        most = self._settings.limits.body_bytes
        declared = headers.get(b"content-length", b"0")
        if not declared.isdigit() or int(declared[:20]) > most:
            raise ApiError("too_large", f"the body may have {most} bytes at most")
        parts, size = [], 0
        try:
            async with asyncio.timeout(self._settings.limits.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    part = message.get("body", b"")
                    size += len(part)
                    if size > most:
                        raise ApiError("too_large", f"the body may have {most} bytes at most")
                    parts.append(part)
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            raise ApiError("too_slow") from None


class _Watched:
    """Passes messages on, and keeps the status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = message.get("headers", [])
            said = {name for name, _ in own}
            message["headers"] = [*own, *(one for one in _SAFE if one[0] not in said)]
            if self.status in (408, 413):  # what is left of the body is no next request
                message["headers"].append((b"connection", b"close"))
        await self._send(message)


_SAFE: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


def check_head(scope: Scope, headers: Headers, settings: Settings) -> None:
    """Raises ApiError unless the request may be read on."""
    try:
        unquote_to_bytes(scope.get("raw_path", b"")).decode()
    except UnicodeDecodeError:
        raise ApiError("bad_path") from None
    if "\0" in scope["path"]:
        raise ApiError("bad_path", "the path holds a NUL character")
    if settings.hosts and _host(headers.get(b"host", b"")) not in settings.hosts:
        raise ApiError("bad_host")
    if settings.key is not None and not _is_open(scope["path"]):
        given = list(_keys(headers))
        if not given:
            raise ApiError("no_key")
        if not all(settings.key.fits(one) for one in given):
            raise ApiError("wrong_key")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise ApiError("unknown_encoding")
    if scope["method"] == "POST":
        kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        if kind != b"application/json":
            raise ApiError("unknown_type")


def _is_open(path: str) -> bool:
    return path in OPEN or path.startswith(OPEN_FOLDER)


def _keys(headers: Headers) -> Iterable[bytes]:
    """The keys that came along."""
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        yield token.strip()
    if b"x-api-key" in headers:
        yield headers[b"x-api-key"]


def _host(header: bytes) -> str:
    """The name in a Host header, without its port."""
    text = header.decode("latin-1").lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0]


def _once(body: bytes, receive: Receive) -> Receive:
    """The body in one message, then what comes after it."""
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _discard(receive: Receive) -> None:
    try:
        async with asyncio.timeout(_DISCARD_SECONDS):
            while (await receive()).get("more_body", False):
                pass
    except TimeoutError:
        pass
