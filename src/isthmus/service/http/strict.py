"""JSON bodies, read strictly: what two readers could understand differently is refused.

Refused beside what is no JSON: NaN and infinities, numbers beyond a double, half surrogate pairs,
NUL characters, keys that come twice, deep nesting, long texts.
"""

import json
import math
import re
from typing import Any, Final, TypeVar

import orjson
from pydantic import BaseModel

from isthmus.service.http.errors import ApiError

DEPTH: Final = 12
TEXT_BYTES: Final = 1024
"""Bytes of a text as it was sent, escapes included."""
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_LONG = re.compile(rb'"(?:[^"\\]|\\.){%d}' % (TEXT_BYTES + 1))
_NO_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|[^][{}"]+')
_INNERMOST = re.compile(rb"\[\]|\{\}")
Body = TypeVar("Body", bound=BaseModel)


def parsed(body: bytes, model: type[Body], *, texts: bool = True) -> Body:
    """The body as ``model``, of exactly its types. ``texts``: refuse NUL and long texts at once.

    Raises:
        ApiError: it is no strict JSON.
        pydantic.ValidationError: it is not of the model's types.
    """
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        raise _why_not(body) from None
    _check_depth(body)
    json.loads(body, object_pairs_hook=_once)
    if texts and b"\\u0000" in body and _NUL.search(body):
        raise ApiError("bad_text")
    if texts and len(body) > TEXT_BYTES and _LONG.search(body):
        raise ApiError("too_long", f"the body has a text of more than {TEXT_BYTES} bytes")
    return model.model_validate_json(body, strict=True)


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ApiError("duplicate_key")


def _check_depth(body: bytes) -> None:
    """Of valid JSON: take away the innermost brackets, level by level."""
    if body.count(b"[") + body.count(b"{") <= DEPTH:
        return
    brackets = _NO_BRACKETS.sub(b"", body)
    for _ in range(DEPTH):
        brackets = _INNERMOST.sub(b"", brackets)
        if not brackets:
            return
    raise ApiError("too_deep", f"the body is nested more than {DEPTH} levels deep")


def _why_not(body: bytes) -> ApiError:
    """What is wrong with a body that is no strict JSON: a lenient reader tells."""
    found: list[str] = []

    def number(text: str) -> float:
        if not math.isfinite(value := float(text)):
            found.append("bad_number")
        return value

    try:
        text = json.dumps(
            json.loads(body.decode(), parse_constant=number, parse_float=number, parse_int=number),
            ensure_ascii=False,
        )
    except RecursionError:
        return ApiError("too_deep")
    except ValueError:
        return ApiError("bad_json")
    try:
        text.encode()
    except UnicodeEncodeError:
        found.append("bad_text")
    return ApiError(found[0] if found else "bad_json")
