"""More than can be done: some are told to come later, those taken are answered, nothing piles up."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from isthmus.service.http.settings import Limits, Settings
from tests.service.http.running import event, serving, until

QUEUE = 3


@pytest.fixture
def held(served, tmp_path, monkeypatch):
    """A server whose one thread computes nothing until it is let go."""
    go = threading.Event()
    recommend = served.pipeline.recommend
    limits = Limits(queue=QUEUE, in_flight=QUEUE + 4, backlog=2)
    with serving(served, tmp_path, Settings(limits=limits)) as (client, state):
        held = lambda *a, **b: (go.wait(60), recommend(*a, **b))[1]  # noqa: E731
        monkeypatch.setattr(served.pipeline, "recommend", held)
        yield client, state, go
        go.set()


def test_a_full_queue_refuses_and_what_waits_is_answered(held):
    client, state, go = held
    before = state.measures.errors["503"]
    with ThreadPoolExecutor(8) as pool:
        taken = [
            pool.submit(client.post, "/v1/recommend", json={"user": "7"}) for _ in range(QUEUE + 1)
        ]
        until(lambda: state.waiting == QUEUE + 1)
        refused = client.post("/v1/recommend", json={"user": "7"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        assert client.get("/health/ready").status_code == 200
        assert client.post("/v1/events", json={"events": [event(1)]}).status_code == 200
        go.set()
        assert [one.result().status_code for one in taken] == [200] * (QUEUE + 1)
    assert (state.waiting, client.post("/v1/recommend", json={}).status_code) == (0, 200)
    assert client.get("/v1/stats").json()["errors"] == {"503": before + 1}


def test_too_many_requests_of_any_kind(held):
    client, state, _ = held
    state.in_flight += QUEUE + 4
    refused = client.get("/health/live")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
    state.in_flight -= QUEUE + 4
    assert client.get("/health/live").status_code == 200


def test_events_wait_for_the_disk_up_to_a_bound(held):
    client, state, _ = held
    begun, go, commit = threading.Event(), threading.Event(), state.store._group._commit

    def slow(requests):
        begun.set()
        go.wait(60)
        return commit(requests)

    state.store._group._commit = slow
    with ThreadPoolExecutor(8) as pool:
        send = lambda n: client.post("/v1/events", json={"events": [event(n)]})  # noqa: E731
        first = pool.submit(send, 0)
        assert begun.wait(60)  # the first is a group of its own, and the others wait behind it
        others = [pool.submit(send, n) for n in (1, 2)]
        until(lambda: state.store.backlog == 2)
        assert send(3).status_code == 503
        go.set()
        assert [one.result().status_code for one in (first, *others)] == [200] * 3
    assert state.store.counts().events == 3


def test_clients_at_once_get_what_each_gets_alone(client):
    """One thread computes, whoever asks."""
    asked = [{"user": u, "domains": ["s1"], "k": 5} for u in ("7", "0", "nobody", "9")] * 5
    ask = lambda body: client.post("/v1/recommend", json=body).json()["items"]  # noqa: E731
    alone = [ask(body) for body in asked[:4]] * 5
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, asked)) == alone


def test_what_is_measured(served, tmp_path):
    with serving(served, tmp_path) as (client, state):
        for _ in range(3):
            client.post("/v1/recommend", json={"user": "7", "domains": ["s1", "mars"], "k": 2})
        client.post("/v1/recommend", json={"user": "nobody"})
        client.post("/v1/recommend", content=b"{")
        client.get("/secret/path/of/somebody")
        client.post("/v1/events", json={"events": [event(1), event(2, domain="mars"), {}]})
        stats = client.get("/v1/stats").json()
        stats["errors"].pop("503", None)  # it was not ready yet
        assert stats["errors"] == {"415": 1, "404": 1}
        assert stats["requests"] >= 7
        assert 0 < stats["p50"] <= stats["p90"] <= stats["p99"]
        assert sum(second["requests"] for second in stats["seconds"]) == stats["requests"]
        domains = {one["name"]: one for one in client.get("/v1/domains").json()["domains"]}
        assert domains["s1"]["traffic"]["requests"] == 3
        assert domains["s1"]["traffic"]["recommended"] >= 6
        assert domains["s1"]["traffic"]["events"] == 1
        assert domains["s1"]["items"] == 20
        text = client.get("/metrics").text
        assert 'isthmus_requests_total{route="/v1/recommend",status="200"} 4.0' in text
        assert 'isthmus_requests_total{route="other",status="404"} 1.0' in text
        assert 'isthmus_events_total{verdict="accepted"} 2.0' in text
        assert 'isthmus_fallbacks_total{fallback="popularity"} 1.0' in text
        assert f'isthmus_loaded{{version="{state.current.pipeline.loaded.version}"}} 1.0' in text
        ranked = {"candidates": [{"item": "5", "domain": f"planet {n}"} for n in range(9)]}
        assert client.post("/v1/rank", json=ranked).status_code == 200
        assert set(state.measures._named) | set(state.measures._given) <= set(domains)
        assert "somebody" not in text
        assert "mars" not in text
