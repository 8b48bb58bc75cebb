"""Other runs under load: no request fails, and each reply is of the version that it names."""

import json
import shutil
import threading

import pytest

from isthmus.service import Pipeline, Request
from isthmus.service.http import state as state_module
from isthmus.service.http.bodies import RecommendBody
from isthmus.service.http.settings import Settings
from isthmus.service.http.state import Served
from tests.service.http.running import serving, until

ASKED = [{"user": u, "domains": [d], "k": 5} for u in ("7", "0", "nobody") for d in ("s0", "s1")]


@pytest.fixture
def swapped(served, runs, pair, tmp_path):
    """A server that may load all runs of the pair, and the two pairs of runs by name."""
    root = pair["aread"].path.parent
    other = [pair["syncrec"].path, pair["mlp"].path]
    with serving(served, tmp_path, Settings(runs_root=root)) as (client, state):
        yield client, state, [[path.name for path in paths] for paths in (runs, other)]


def loaded(client, names):
    return client.post("/v1/admin/load", json={"runs": names})


def answers(root, names):
    """What the runs say offline, by request; and their version."""
    pipeline = Pipeline.load([root / name for name in names])
    found = {}
    for asked in ASKED:
        reply = pipeline.recommend(Request.model_validate_json(json.dumps(asked)))
        found[json.dumps(asked)] = [(one.item, one.score) for one in reply.items]
    return pipeline.loaded.version, found


def swap_under_load(swapped, clients, enough):
    client, state, pairs = swapped
    offline = dict(answers(state.settings.runs_root, names) for names in pairs)
    stop, seen, failures = threading.Event(), {}, []

    def ask(number):
        turn = number
        while not stop.is_set():
            asked = ASKED[turn % len(ASKED)]
            turn += 1
            reply = client.post("/v1/recommend", json=asked)
            if reply.status_code != 200:
                failures.append(reply.text)
                return
            found = reply.json()
            seen[found["version"]] = seen.get(found["version"], 0) + 1
            wanted = offline[found["version"]][json.dumps(asked)]
            given = [(one["item"], one["score"]) for one in found["items"]]
            if [i for i, _ in given] != [i for i, _ in wanted] or any(
                abs(a - b) > 1e-6 for (_, a), (_, b) in zip(given, wanted, strict=True)
            ):
                failures.append((found["version"], asked))

    asking = [threading.Thread(target=ask, args=(n,)) for n in range(clients)]
    for thread in asking:
        thread.start()
    try:
        swaps = 0
        while not enough(swaps, seen):
            swaps += 1
            assert loaded(client, pairs[swaps % 2]).status_code == 200
            assert loaded(client, ["nowhere"]).status_code == 422
            assert client.post("/v1/admin/rollback", json={}).status_code == 200
            assert client.post("/v1/admin/rollback", json={}).status_code == 200
    finally:
        stop.set()
        for thread in asking:
            thread.join()
    assert failures == []
    assert set(seen) == set(offline)


def test_swaps_under_load(swapped):
    swap_under_load(swapped, 3, lambda swaps, seen: swaps >= 4 and len(seen) == 2)


@pytest.mark.slow
def test_twenty_swaps_under_the_load_of_eight(swapped):
    swap_under_load(swapped, 8, lambda swaps, seen: swaps >= 20 and len(seen) == 2)


def test_a_bad_run_is_refused_and_the_old_one_stays(swapped, tmp_path, pair):
    client, state, pairs = swapped
    before = client.get("/v1/admin/runs").json()
    root = state.settings.runs_root
    broken = root / "broken"
    shutil.copytree(root / pairs[1][0], broken)
    weights = bytearray((broken / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (broken / "model.safetensors").write_bytes(weights)
    try:
        for names in (["broken"], ["nowhere"], pairs[0] + ["x"], pairs[0][:1] * 2):
            refused = loaded(client, names)
            assert refused.status_code == 422, refused.text
            assert str(root) not in refused.text
        assert loaded(client, ["broken"]).json()["error"]["code"] == "bad_run"
    finally:
        shutil.rmtree(broken)
    for name in ("..", "../x", "/etc", f"{root}/../..", "."):
        assert loaded(client, [name]).status_code in (403, 422)
    assert loaded(client, ["../.."]).json()["error"]["code"] == "outside_root"
    (root / "link").symlink_to(tmp_path)
    try:
        assert loaded(client, ["link"]).json()["error"]["code"] == "outside_root"
    finally:
        (root / "link").unlink()
    assert client.get("/v1/admin/runs").json() == before


def test_what_is_served_and_was_before(swapped):
    client, _, pairs = swapped
    nothing = client.post("/v1/admin/rollback", json={})
    assert (nothing.status_code, nothing.json()["error"]["code"]) == (409, "nothing_before")
    first = client.get("/v1/admin/runs").json()
    assert first["previous"] is None
    assert {run["path"] for run in first["available"]} >= {name for pair in pairs for name in pair}
    second = loaded(client, pairs[1]).json()
    assert second["previous"] == first["current"] != second["current"]
    assert client.get("/v1/domains").json()["version"] == second["current"]["version"]
    back = client.post("/v1/admin/rollback", json={}).json()
    assert (back["current"], back["previous"]) == (first["current"], second["current"])


def test_no_root_no_loading(served, tmp_path):
    with serving(served, tmp_path) as (client, _):
        assert loaded(client, ["x"]).json()["error"]["code"] == "outside_root"
        assert client.get("/v1/admin/runs").json()["available"] == []


def test_the_next_pipeline_is_warmed_by_what_was_asked(swapped, monkeypatch):
    client, _, pairs = swapped
    warmed = []

    class Spy(Served):
        @classmethod
        def load(cls, runs):
            served = Served.load(runs)
            recommend = served.pipeline.recommend
            monkeypatch.setattr(
                served.pipeline,
                "recommend",
                lambda request, **more: (warmed.append(request), recommend(request, **more))[1],
            )
            return served

    monkeypatch.setattr(state_module, "Served", Spy)
    client.post("/v1/recommend", json={"user": "7", "k": 3})
    assert loaded(client, pairs[1]).status_code == 200
    assert warmed[0] == RecommendBody(user="7", k=3)
    assert {name for one in warmed[1:] for name in one.domains} >= {"s0", "s1", "s2"}


def test_ready_only_when_warm(served, tmp_path, monkeypatch):
    go = threading.Event()
    warm_up = served.pipeline.warm_up
    monkeypatch.setattr(served.pipeline, "warm_up", lambda *_: (go.wait(60), warm_up())[1])
    with serving(served, tmp_path, wait=False) as (client, _):
        until(lambda: client.get("/health/live").status_code == 200)
        refused = client.get("/health/ready")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "not_ready")
        assert client.post("/v1/recommend", json={}).status_code == 503
        go.set()
        until(lambda: client.get("/health/ready").status_code == 200)
        assert client.post("/v1/recommend", json={}).status_code == 200


def test_two_loads_at_once(swapped, monkeypatch):
    client, _, pairs = swapped
    begun, go = threading.Event(), threading.Event()
    load = Served.load

    def slow(runs):
        begun.set()
        go.wait(60)
        return load(runs)

    monkeypatch.setattr(Served, "load", slow)
    first = threading.Thread(target=loaded, args=(client, pairs[1]))
    first.start()
    begun.wait(60)
    for path, body in (("load", {"runs": pairs[0]}), ("rollback", {})):
        refused = client.post(f"/v1/admin/{path}", json=body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "load_in_progress")
    go.set()
    first.join()
    assert client.get("/v1/admin/runs").json()["previous"] is not None
