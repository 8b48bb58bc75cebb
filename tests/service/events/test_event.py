"""What is an event and what is none: each refusal by its code."""

import pytest

from isthmus.service.events import Event, Limits
from isthmus.service.events.event import judged
from tests.service.events.sample import NOW, event

DEEP = {"a": {"b": {"c": {"d": {"e": {"f": {}}}}}}}
REFUSED = [
    (None, "wrong_type"),
    ([], "wrong_type"),
    ({}, "missing_field"),
    ({**event(), "item": None}, "missing_field"),
    ({**event(), "price": 3}, "unknown_field"),
    (event(user=5), "wrong_type"),
    (event(user=True), "wrong_type"),
    (event(id=""), "empty_text"),
    (event(id="\ud800"), "bad_text"),
    (event(item="a\0b"), "bad_text"),
    (event(domain="é" * 129), "too_long"),
    (event(kind="k" * 65), "too_long"),
    (event(time=True), "wrong_type"),
    (event(time=[]), "wrong_type"),
    (event(time="yesterday"), "bad_time"),
    (event(time="2026-01-31T12:00:00"), "bad_time"),
    (event(time=-1), "bad_time"),
    (event(time=(NOW - 5) * 1000), "bad_time"),
    (event(time=float("nan")), "bad_number"),
    (event(time=10**400), "bad_number"),
    (event(time=NOW + 300.002), "time_ahead"),
    (event(value="1"), "wrong_type"),
    (event(value=float("inf")), "bad_number"),
    (event(value=2**53), "bad_number"),
    (event(context=[]), "wrong_type"),
    (event(context={1: 2}), "wrong_type"),
    (event(context={"a": float("nan")}), "bad_number"),
    (event(context={"a": [2**53]}), "bad_number"),
    (event(context={"a": {1, 2}}), "bad_number"),
    (event(context={"a": "\udfff"}), "bad_text"),
    (event(context={"\udfff": 1}), "bad_text"),
    (event(context={"a": "x" * 4090}), "too_long"),
    (event(context=DEEP), "too_deep"),
]


@pytest.mark.parametrize(("raw", "code"), REFUSED)
def test_what_is_no_event_is_rejected_with_a_code(raw, code):
    verdict = judged(raw, now=NOW, limits=Limits())
    assert (verdict.status, verdict.code) == ("rejected", code)
    verdict.reason.encode()  # it can be sent
    (verdict.id or "").encode()


def test_a_nested_bomb_is_refused_before_it_is_walked():
    bomb = []
    for _ in range(100_000):
        bomb = [bomb]
    assert judged(event(context={"a": bomb}), now=NOW, limits=Limits()).code == "too_deep"


def test_a_verdict_names_the_event_where_it_has_a_name():
    assert judged(event(7, item=""), now=NOW, limits=Limits()).id == "e7"
    assert judged(event(id="\ud800"), now=NOW, limits=Limits()).id is None


def test_what_just_fits_is_an_event():
    raw = event(id="é" * 128, time=NOW + 300, kind="k" * 64, value=-0.0, context={"a": "x" * 4088})
    found = judged(raw, now=NOW, limits=Limits())
    assert isinstance(found, Event)
    assert found.id == raw["id"]
    assert repr(found.value) == "0.0"
    assert judged(event(context=DEEP["a"]), now=NOW, limits=Limits()).context == DEEP["a"]


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (1, 1.0),
        (1.23449, 1.234),
        ("1970-01-01T00:00:01Z", 1.0),
        ("1970-01-01T02:00:01.5+02:00", 1.5),
        (-0.0, 0.0),
    ],
)
def test_times_are_seconds_or_iso_texts_with_an_offset(given, seconds):
    found = judged(event(time=given), now=NOW, limits=Limits())
    assert repr(found.time) == repr(seconds)


def test_an_event_is_checked_like_a_mapping():
    whole = judged(event(context={"a": 1}, value=2), now=NOW, limits=Limits())
    assert judged(whole, now=NOW, limits=Limits()) == whole
    broken = Event("", "u", "i", "d", 1.0)
    assert judged(broken, now=NOW, limits=Limits()).code == "empty_text"


def test_the_context_is_the_stores_own():
    context = {"a": [1]}
    found = judged(event(context=context), now=NOW, limits=Limits())
    context["a"].append(2)
    assert found.context == {"a": [1]}
