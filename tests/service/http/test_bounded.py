"""What a server holds in memory does not grow with what it is sent."""

import gc
from collections import deque
from sqlite3 import Connection
from types import FunctionType, ModuleType

import pytest

from tests.service.http.running import event, serving

ROUND = 100
"""Requests of each kind: more than are remembered for warming up."""
_APART = (type, ModuleType, FunctionType, Connection)
"""The last lists its cursors, and every 200 times looks which of them are still there."""
_WITH_ENTRIES = (dict, set, frozenset, list, deque)
"""Texts that are the keys of a dictionary are not told by the garbage collector."""
_MOST = ROUND // 2
"""Objects that may be more by chance, such as those of another second: one a request would be more."""


def held(*roots):
    """How many objects and entries are reached from these."""
    seen, waiting = {}, list(roots)
    while waiting:
        one = waiting.pop()
        if id(one) not in seen and not isinstance(one, _APART):
            seen[id(one)] = one
            waiting += gc.get_referents(one)
    return len(seen) + sum(len(one) for one in seen.values() if isinstance(one, _WITH_ENTRIES))


def everything(client, name):
    """Requests of every kind, each with names of its own."""
    for number in range(ROUND):
        new, known = f"{name} {number}", {"user": f"{number % 40}"}
        yield client.post("/v1/recommend", json={"user": new, "domains": [new], "k": 2})
        yield client.post("/v1/recommend", json={**known, "history": [{"item": new}]})
        candidates = [{"item": "5", "domain": new}, {"item": new}]
        yield client.post("/v1/rank", json={"candidates": candidates, "context": {new: 1}})
        odd, third = number % 2, number % 3
        mine = event(
            number, id=new, user=new, item=new if odd else "5", domain=new if third else "s2"
        )
        yield client.post("/v1/events", json={"events": [mine, mine, {}]})
        yield client.get(f"/v1/users/{new}")
        yield client.get(f"/{new}")
        yield client.post("/v1/recommend", json={new: 1})
        yield client.delete(f"/v1/users/{number % 9}")


@pytest.mark.parametrize("kept_in", ["sqlite", "redis"])
def test_nothing_is_kept_of_requests_but_events(request, served, place, kept_in):
    at = request.getfixturevalue("server").url if kept_in == "redis" else place
    with serving(served, at) as (client, state):
        counts = []
        for name in ("first", "second"):
            answered = [reply.status_code for reply in everything(client, name)]
            assert set(answered) == {200, 404, 422}
            client.get("/metrics")
            gc.collect()
            state.measures.ring._bins.clear()  # of some seconds, more or fewer
            counts.append(held(state))
        assert counts[1] - counts[0] < _MOST


def test_what_grows_would_be_noticed(served, place):
    with serving(served, place) as (_, state):
        before = held(state)
        for number in range(ROUND):
            state.measures._given.update([f"domain {number}"])
        assert held(state) - before >= _MOST
