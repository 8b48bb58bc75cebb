"""What an event is, and what is no event: every field bounded, every refusal with a stable code."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final, Literal, get_args

from isthmus.files import canonical

Status = Literal["accepted", "duplicate", "conflict", "rejected"]
STATUSES: Final[tuple[Status, ...]] = get_args(Status)

LATEST: Final = 7_258_118_400.0
"""The year 2200: a later time is a slip, such as milliseconds given as seconds."""
_EXACT: Final = 2**53 - 1  # whole numbers beyond this are not the same in every JSON reader
_TEXTS: Final = ("id", "user", "item", "domain")


@dataclass(frozen=True, slots=True)
class Limits:
    """How large an event may be, and how far ahead of this machine's clock (seconds)."""

    text_bytes: int = 256
    kind_bytes: int = 64
    context_bytes: int = 4096
    context_depth: int = 6
    ahead: float = 300.0


@dataclass(frozen=True, slots=True)
class Event:
    """A user took an item of a domain at a time (seconds since 1970 UTC, to the millisecond).

    ``id`` is the caller's own, and the same however often the event is sent. ``kind`` is a word
    such as ``click``; ``value`` a number, of which 0 means "shown, and not taken"; ``context`` a
    JSON object.
    """

    id: str
    user: str
    item: str
    domain: str
    time: float
    kind: str | None = None
    value: float | None = None
    context: Mapping[str, Any] | None = None

    def context_text(self) -> str | None:
        """The context as its one JSON text; None without one."""
        return None if self.context is None else canonical(self.context).decode()

    def as_json(self) -> dict[str, Any]:
        """The event as a JSON object, without the fields that it lacks."""
        values = {name: getattr(self, name) for name in _FIELDS}
        return {name: value for name, value in values.items() if value is not None}


_FIELDS: Final = tuple(field.name for field in fields(Event))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one event of a request.

    ``accepted``: it is kept. ``duplicate``: it was kept before, nothing changed. ``conflict``: the
    id is kept with another content, which stays. ``rejected``: it is no event; ``code`` says why to
    programs, ``reason`` to people. ``id`` is None where the event had none that can be repeated.
    ``warning``: of an event that is kept, the code of what speaks against it; a store knows no
    catalogue, a server does.
    """

    id: str | None
    status: Status
    code: str = ""
    reason: str = ""
    warning: str = ""


class Refused(ValueError):
    """An event that is none: the code, and the reason in words."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def judged(raw: object, *, now: float, limits: Limits) -> Event | Verdict:
    """The event that ``raw`` (an Event, or a mapping of its fields) is; else the verdict on it."""
    values = raw.as_json() if isinstance(raw, Event) else raw
    try:
        return parsed(values, now=now, limits=limits)
    except Refused as refusal:
        found = values.get("id") if isinstance(values, Mapping) else None
        try:
            name = text_of(found, "id", limits.text_bytes)
        except Refused:
            name = None
        return Verdict(name, "rejected", refusal.code, str(refusal))


def parsed(values: object, *, now: float, limits: Limits) -> Event:
    """The event in a mapping, all of it checked.

    ``time`` is a number of seconds since 1970, or an ISO 8601 text with its offset. Raises Refused.
    """
    if not isinstance(values, Mapping):
        raise Refused("wrong_type", "an event is a JSON object")
    if not all(name in _FIELDS for name in values):
        raise Refused("unknown_field", f"an event has the fields {', '.join(_FIELDS)} only")
    for name in (*_TEXTS, "time"):
        if values.get(name) is None:
            raise Refused("missing_field", f"{name} is missing")
    kind, value, context = (values.get(name) for name in ("kind", "value", "context"))
    id, user, item, domain = (text_of(values[name], name, limits.text_bytes) for name in _TEXTS)
    return Event(
        id=id,
        user=user,
        item=item,
        domain=domain,
        time=_time(values["time"], now + limits.ahead),
        kind=None if kind is None else text_of(kind, "kind", limits.kind_bytes),
        value=None if value is None else _number(value, "value"),
        context=None if context is None else _context(context, limits),
    )


def text_of(value: object, name: str, most: int) -> str:
    """A text that every store, log and reply can hold as it is. Raises Refused."""
    if not isinstance(value, str):
        raise Refused("wrong_type", f"{name} must be text")
    if not value:
        raise Refused("empty_text", f"{name} is empty")
    if not is_text(value):
        raise Refused("bad_text", f"{name} holds half a surrogate pair: it is no text")
    if (size := len(value.encode())) > most:
        raise Refused("too_long", f"{name} has {size} bytes; at most {most} are allowed")
    if "\0" in value:
        raise Refused("bad_text", f"{name} holds a NUL character")
    return value


def is_text(value: str) -> bool:
    """Whether there is no half of a surrogate pair in it."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused("wrong_type", f"{name} must be a number")
    if not abs(value) <= (_EXACT if isinstance(value, int) else 1e300):  # so that NaN fails too
        raise Refused("bad_number", f"{name} must be finite, and a whole one below 2^53")
    return float(value) + 0.0  # there is one zero


def _time(value: object, latest: float) -> float:
    if isinstance(value, str):
        try:
            date = datetime.fromisoformat(value)
        except ValueError:
            raise Refused("bad_time", "time is no ISO 8601 text") from None
        if date.tzinfo is None:
            raise Refused("bad_time", "time has no offset; write 2026-01-31T12:00:00Z") from None
        value = date.timestamp()
    seconds = round(_number(value, "time"), 3) + 0.0
    if not 0 <= seconds <= LATEST:
        raise Refused("bad_time", "time must be seconds since 1970, at most of the year 2200")
    if seconds > latest:
        ahead = math.ceil(seconds - latest)
        raise Refused("time_ahead", f"time is {ahead} s further ahead of the clock than allowed")
    return seconds


def _context(value: object, limits: Limits) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Refused("wrong_type", "context must be a JSON object")
    _check_json(value, limits.context_depth)
    try:
        text = canonical(value)
    except UnicodeEncodeError:
        raise Refused("bad_text", "context holds half a surrogate pair: it is no text") from None
    except (ValueError, TypeError):
        raise Refused("bad_number", "context holds what JSON has no name for") from None
    if len(text) > limits.context_bytes:
        most = limits.context_bytes
        raise Refused("too_long", f"context has {len(text)} bytes as JSON; at most {most}")
    kept: Mapping[str, Any] = json.loads(text)  # the caller's own can change under us
    return kept


def _check_json(value: object, depth: int) -> None:
    """Refuse what other JSON readers would read otherwise, or not at all."""
    if isinstance(value, Mapping | list | tuple) and not depth:
        raise Refused("too_deep", "context is nested too deeply")
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise Refused("wrong_type", "context has a key that is no text")
        inner = list(value.values())
    else:
        inner = list(value) if isinstance(value, list | tuple) else []
    if isinstance(value, int) and abs(value) > _EXACT:
        raise Refused("bad_number", "context holds a whole number beyond 2^53")
    for each in inner:
        _check_json(each, depth - 1)
