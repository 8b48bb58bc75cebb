"""Events over HTTP, in either store: durable, once, judged one by one; users who go, and come back."""

import re
import threading
from collections import Counter

import pytest

from isthmus.files import StorageError
from isthmus.service.events import open_events
from tests.service.http.running import NOW, event, serving

WARNINGS = r'isthmus_event_warnings_total\{warning="(\w+)"\} (\d+)\.0'
COUNTS = ("accepted", "duplicate", "conflict", "rejected")


@pytest.fixture(params=["sqlite", "redis"])
def fresh(request, served):
    """A client of a server that keeps no event yet, and its state."""
    if request.param == "redis":
        found = request.getfixturevalue("over_redis")
        request.getfixturevalue("server").empty()
        yield found
        return
    with serving(served, request.getfixturevalue("place")) as found:
        yield found


def sent(client, *events):
    reply = client.post("/v1/events", json={"events": events})
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_a_batch_sent_again_counts_once(fresh):
    client, state = fresh
    batch = [event(n) for n in range(5)]
    first, again = sent(client, *batch), sent(client, *batch)
    assert [first[name] for name in COUNTS] == [5, 0, 0, 0]
    assert [again[name] for name in COUNTS] == [0, 5, 0, 0]
    assert state.store.counts().events == 5


def test_every_event_has_its_verdict_and_they_add_up(fresh):
    client, state = fresh
    sent(client, event(1))
    mixed = [
        event(1),
        event(1, item="6"),
        event(2),
        event(2, user="other"),
        event(3, time=NOW + 10_000),
        event(4, user="a\0b"),
        event(5, nothing=1),
        "no event",
        {},
        event(6),
        event(6),
    ]
    found = sent(client, *mixed)
    statuses = [one["status"] for one in found["verdicts"]]
    assert statuses == ["duplicate", "conflict", "accepted", "conflict", *["rejected"] * 5, "accepted", "duplicate"]  # fmt: skip
    assert [one["code"] for one in found["verdicts"][4:9]] == [
        "time_ahead",
        "bad_text",
        "unknown_field",
        "wrong_type",
        "missing_field",
    ]
    assert {name: found[name] for name in COUNTS} == {n: statuses.count(n) for n in COUNTS}
    assert {e.id for _, e in state.store.since()} == {"e1", "e2", "e6"}


def test_one_event_that_is_refused_makes_the_reply_a_refusal(fresh):
    client, _ = fresh
    sent(client, event(1))
    assert sent(client, event(1))["duplicate"] == 1
    conflict = client.post("/v1/events", json={"events": [event(1, item="6")]})
    assert (conflict.status_code, conflict.json()["error"]["code"]) == (409, "id_conflict")
    bad = client.post("/v1/events", json={"events": [event(2, time=NOW + 10_000)]})
    assert (bad.status_code, bad.json()["error"]["code"]) == (422, "rejected")
    assert bad.json()["error"]["details"][0]["code"] == "time_ahead"
    for events in ([], [event(n) for n in range(1001)], "x", None):
        assert client.post("/v1/events", json={"events": events}).status_code == 422


def test_numbers_are_kept_as_they_were_sent(fresh):
    client, state = fresh
    sent(client, event(1, value=0.1, context={"n": 2**53 - 1, "deep": {"x": [1.5, None, True]}}))
    ((_, kept),) = state.store.since()
    assert (kept.value, kept.context) == (0.1, {"n": 2**53 - 1, "deep": {"x": [1.5, None, True]}})


def test_no_reply_before_the_disk_has_confirmed(fresh, monkeypatch):
    """Hold the commit: nobody is told anything; let it go: all are."""
    client, state = fresh
    held, commit = threading.Event(), state.store._commit
    slow = lambda requests: (held.wait(60), commit(requests))[1]  # noqa: E731
    monkeypatch.setattr(state.store._group, "_commit", slow)
    replies = []
    senders = [
        threading.Thread(target=lambda n=n: replies.append(sent(client, event(n))))
        for n in range(3)
    ]
    for sender in senders:
        sender.start()
    assert client.get("/health/live").status_code == 200
    client.post("/v1/recommend", json={"user": "u0"})
    assert replies == []
    held.set()
    for sender in senders:
        sender.join()
    assert sum(one["accepted"] for one in replies) == 3


def test_a_store_that_refuses(fresh, monkeypatch):
    """503 without a word of where it lies; the service goes on, and so does the same batch later."""
    client, state = fresh

    def full(_):
        raise StorageError("/some/place cannot be written: no space left.")

    with monkeypatch.context() as now:
        now.setattr(state.store._group, "_commit", full)
        refused = client.post("/v1/events", json={"events": [event(1)]})
        assert client.post("/v1/recommend", json={"user": "7"}).status_code == 200
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "storage")
    assert "place" not in refused.text
    assert refused.headers["retry-after"]
    assert state.store.counts().events == 0
    assert sent(client, event(1))["accepted"] == 1


def test_a_new_user_is_served_from_the_event_on(fresh):
    client, _ = fresh
    asked = {"user": "newcomer", "domains": ["s1"], "k": 3}
    before = client.post("/v1/recommend", json=asked).json()
    assert before["flags"]["unknown_user"] is True
    assert before["flags"]["fallback"] == "popularity"
    sent(client, event(1, user="newcomer", item="4"), event(2, user="newcomer", item="16"))
    after = client.post("/v1/recommend", json=asked).json()
    assert after["flags"]["unknown_user"] is False
    assert after["flags"]["fallback"] == ""
    told = {"domains": ["s1"], "k": 3, "history": [{"item": "4"}, {"item": "16"}]}
    same = client.post("/v1/recommend", json=told).json()
    assert [one["retrieval_score"] for one in after["items"]] == pytest.approx(
        [one["retrieval_score"] for one in same["items"]], abs=1e-6
    )


def warnings(client):
    """How many events were kept with each warning."""
    lines = re.findall(WARNINGS, client.get("/metrics").text)
    return Counter({code: int(count) for code, count in lines})


def test_an_event_of_a_wrong_domain_is_kept_and_told(fresh):
    """Item 5 is of s2. It may be of s1 too by the next model: nothing is lost meanwhile."""
    client, state = fresh
    before = warnings(client)
    batch = [event(1), event(2, item="5"), event(3, item="5", domain="s2"), event(4, item="never")]
    found = [sent(client, *batch, {})["verdicts"] for _ in range(2)]
    for status, verdicts in zip(("accepted", "duplicate"), found, strict=True):
        assert [one["status"] for one in verdicts] == [status] * 4 + ["rejected"]
        told = [one["warning"] for one in verdicts]
        assert told == ["", "misplaced_item", "", "unknown_item", ""]
        assert "in s2, not in" in verdicts[1]["reason"]
        assert [bool(one["reason"]) for one in verdicts] == [False, True, False, True, True]
        assert [bool(one["code"]) for one in verdicts] == [False] * 4 + [True]
    assert [e.item for _, e in state.store.since()] == ["4", "5", "5", "never"]
    assert sent(client, event(5, item="5", user="one"))["verdicts"][0]["warning"]
    for path, body in (("recommend", {}), ("rank", {"candidates": [{"item": "4"}]})):
        flags = client.post(f"/v1/{path}", json={"user": "one", **body}).json()["flags"]
        assert flags["misplaced_items"] == ["5"]
    assert warnings(client) - before == {"misplaced_item": 3, "unknown_item": 2}


def test_late_and_future_events(fresh):
    """Late ones are taken, and stand where their time puts them; those far ahead are refused."""
    client, _ = fresh
    sent(client, event(1, user="a", time=NOW), event(2, user="a", time=5), event(3, user="a", time=NOW - 1))  # fmt: skip
    assert client.post("/v1/events", json={"events": [event(4, time=NOW + 301)]}).status_code == 422
    times = [one["time"] for one in client.get("/v1/users/a").json()["domains"]["s1"]]
    assert times == [5, NOW - 1, NOW]


def test_the_newest_events_by_domain(fresh):
    client, _ = fresh
    sent(client, *(event(n, user="7", domain=f"s{n % 2}") for n in range(6)))
    found = client.get("/v1/users/7", params={"limit": 4}).json()
    times = {
        name: [one["time"] - NOW + 1000 for one in of] for name, of in found["domains"].items()
    }
    assert times == {"s0": [2, 4], "s1": [3, 5]}
    everything = client.get("/v1/users/7", params={"limit": 1000}).json()["domains"]
    sources = {one["source"] for of in everything.values() for one in of}
    assert sources == {"data", "events"}


def test_a_user_who_is_deleted_is_gone_after_a_restart_too(served, url):
    asked = {"user": "7", "domains": ["s1"]}
    with serving(served, url) as (client, state):
        plain = client.post("/v1/recommend", json={"domains": ["s1"]}).json()
        known = client.post("/v1/recommend", json=asked).json()
        sent(client, event(1, user="7"), event(2, user="8"))
        assert client.delete("/v1/users/7").json() == {"user": "7", "events": 1}
        assert client.delete("/v1/users/7").json()["events"] == 0
        assert all(request.user != "7" for request in state._recent)
        assert [e.user for _, e in state.store.since()] == ["8"]
    for _ in range(2):
        with serving(served, url) as (client, _):
            gone = client.get("/v1/users/7").json()
            assert (gone["known"], gone["forgotten"], gone["domains"]) == (False, True, {})
            reply = client.post("/v1/recommend", json=asked).json()
            assert reply["items"] == plain["items"] != known["items"]
            assert reply["flags"]["unknown_user"] is True
            assert "7" not in client.get("/v1/users", params={"limit": 100}).json()["users"]


def test_who_comes_back_is_known_by_what_comes_then(served, url):
    with serving(served, url) as (client, _):
        client.delete("/v1/users/7")
        sent(client, event(1, user="7"))
        reply = client.post("/v1/recommend", json={"user": "7", "domains": ["s1"]}).json()
        told = {"history": [{"item": "4"}], "domains": ["s1"]}
        same = client.post("/v1/recommend", json=told).json()
        assert [i["item"] for i in reply["items"]] == [i["item"] for i in same["items"]]
        assert reply["flags"]["unknown_user"] is False


def test_a_server_finds_what_another_one_kept(served, url):
    with serving(served, url) as (client, _):
        sent(client, event(1), event(2))
    with open_events(url) as store:
        assert store.counts().events == 2
    with serving(served, url) as (client, _):
        assert sent(client, event(1), event(2))["duplicate"] == 2
