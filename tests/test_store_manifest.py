"""In what two configurations or schemas differ, in words."""

from typing import Any

import pytest

from isthmus.store.manifest import differences


@pytest.mark.parametrize(
    ("there", "here", "text"),
    [
        ({"a": 1}, {"a": 1}, ""),
        ({"a": 1}, {"a": 1.0}, "a is 1 there, 1.0 here"),
        ({"a": True}, {"a": 1}, "a is True there, 1 here"),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, "a.1.b is 2 there, 3 here"),
        ({"a": None}, {}, "a is None there, absent here"),
        ({"a": {}}, {"a": []}, "a is {} there, a list of 0 here"),
        ({"a": "x" * 99}, {"a": 0}, f"a is '{'x' * 56}... there, 0 here"),
    ],
)
def test_differences_in_words(there: Any, here: Any, text: str) -> None:
    assert differences(there, here) == text


def test_many_differences_are_counted() -> None:
    text = differences({}, {str(i): i for i in range(9)}, most=2)
    assert text == "0 is absent there, 0 here; 1 is absent there, 1 here; and 7 more"
