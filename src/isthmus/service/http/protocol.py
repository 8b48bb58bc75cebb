"""HTTP as uvicorn speaks it, for senders that are slow on purpose, or send no HTTP."""

import asyncio
from typing import Any

import orjson
from uvicorn.protocols.http.auto import AutoHTTPProtocol

_HEAD_BYTES = 1 << 16
_Base: Any = AutoHTTPProtocol
_BODY = orjson.dumps({"error": {"code": "bad_request", "message": "that is no HTTP request"}})
_REFUSAL = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)


def protocol(head_seconds: float) -> type[asyncio.Protocol]:
    """A protocol that closes a connection whose next head is too late, or too long."""

    class Bounded(_Base):  # type: ignore[misc]
        _end: asyncio.TimerHandle | None = None
        _size = 0

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self._end = self.loop.call_later(head_seconds, transport.close)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._stop()
                return
            self._size += len(data)
            if self._end is None:
                self._end = self.loop.call_later(head_seconds, self.transport.close)
            if self._size > _HEAD_BYTES:
                self.send_400_response("")

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop()
            super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            self.transport.write(_REFUSAL)
            self.transport.close()

        def _stop(self) -> None:
            """The head is there."""
            self._size = 0
            if self._end is not None:
                self._end.cancel()
                self._end = None

    return Bounded
