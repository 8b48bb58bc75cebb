"""Every refusal is JSON with a stable code: ``{"error": {"code": ..., "message": ...}}``."""

import logging
from collections.abc import Mapping
from typing import Any, Final

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from isthmus.files import StorageError

log = logging.getLogger("isthmus.service")

CODES: Final[dict[str, tuple[int, str]]] = {
    "bad_path": (400, "the path is no UTF-8 text"),
    "bad_json": (400, "the body is no JSON"),
    "too_deep": (400, "the body is nested too deeply"),
    "bad_host": (400, "the server is not called by that name"),
    "no_key": (401, "an API key is needed: Authorization: Bearer KEY, or X-API-Key: KEY"),
    "wrong_key": (401, "that is not the API key"),
    "outside_root": (403, "runs are loaded from the server's folder of runs only"),
    "unknown_route": (404, "there is no such route"),
    "unknown_method": (405, "the route does not know that method"),
    "too_slow": (408, "the body took too long to arrive"),
    "id_conflict": (409, "the event's id is kept with another content"),
    "load_in_progress": (409, "another run is being loaded"),
    "nothing_before": (409, "there is no earlier pipeline to roll back to"),
    "too_large": (413, "the body is too large"),
    "unknown_type": (415, "the body must be application/json"),
    "unknown_encoding": (415, "the body must not be compressed"),
    "invalid": (422, "the body is not what the route expects"),
    "duplicate_key": (422, "the body has a key twice"),
    "bad_number": (422, "the body has a number that is none: NaN, infinite, or beyond a double"),
    "bad_text": (422, "the body has a text that is none: half a surrogate pair, or a NUL"),
    "too_long": (422, "the body has a text that is too long"),
    "rejected": (422, "the event is no event"),
    "bad_run": (422, "the runs cannot be served"),
    "internal": (500, "something went wrong here; the server's log says what"),
    "overloaded": (503, "too many requests at once; send it again later"),
    "not_ready": (503, "the server is not ready yet; send it again later"),
    "storage": (503, "the events could not be written; nothing is lost, send them again"),
}
"""Code: status, and what it means."""
RETRY_SECONDS: Final = 1
_MOST: Final = 5
"""Things found wrong in a body that are told."""


class ApiError(Exception):
    """A refusal: its code, and more in words or values where there is more to say."""

    def __init__(self, code: str, message: str = "", **more: Any) -> None:
        super().__init__(code)
        self.code, self.message, self.more = code, message, more


def refusal(
    code: str, message: str = "", *, headers: Mapping[str, str] | None = None, **more: Any
) -> Response:
    """The reply that refuses a request."""
    status, meaning = CODES[code]
    found = {"code": code, "message": message or meaning, **more}
    sent = dict(headers or {})
    if status == 503:
        sent["retry-after"] = str(RETRY_SECONDS)
    if status == 401:
        sent["www-authenticate"] = "Bearer"
    body = orjson.dumps({"error": found})
    return Response(body, status, sent, media_type="application/json")


def findings(error: ValidationError | RequestValidationError) -> list[dict[str, str]]:
    """What pydantic found: where, what was expected, and its code; never what was sent."""
    return [
        {
            "where": ".".join(map(str, one["loc"])),
            "code": str(one["type"]),
            "message": str(one["msg"]),
        }
        for one in list(error.errors())[:_MOST]
    ]


def answer_errors(app: FastAPI) -> None:
    """Have the application answer all errors in this form."""

    @app.exception_handler(ApiError)
    async def refused(_: Request, error: ApiError) -> Response:
        return refusal(error.code, error.message, **error.more)

    @app.exception_handler(ValidationError)
    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: ValidationError) -> Response:
        return refusal("invalid", details=findings(error))

    @app.exception_handler(StorageError)
    async def storage(_: Request, error: StorageError) -> Response:
        log.error("events: %s", error)
        return refusal("storage")

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        code = {404: "unknown_route", 405: "unknown_method"}.get(error.status_code, "internal")
        return refusal(code, headers=error.headers)
