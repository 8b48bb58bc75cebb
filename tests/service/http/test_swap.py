"""Other runs under load: no request fails, and each reply is of the version that it names."""

import json
import shutil
import threading

import pytest
from benchmarks.serve.turns import Load, Swaps, damage, offline

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


def swap_under_load(swapped, clients, swaps):
    client, state, pairs = swapped
    root = state.settings.runs_root
    bodies = [json.dumps(asked) for asked in ASKED]
    answers = dict(offline([root / name for name in names], bodies) for names in pairs)
    damage(root / pairs[1][0], "damaged")
    try:
        with Load(client.base_url.port, answers, clients) as load:
            backs = Swaps(pairs, list(answers), "damaged").run(load, swaps)
    finally:
        shutil.rmtree(root / "damaged")
    assert load.failures == []
    assert set(load.versions) == set(answers)
    assert sum(load.versions.values()) == len(load.took) >= clients * (swaps + backs)
    assert client.get("/v1/stats").json()["errors"].items() >= {"422": 2 * swaps}.items()


def test_swaps_under_load(swapped):
    swap_under_load(swapped, 3, 5)


@pytest.mark.slow
def test_twenty_swaps_under_the_load_of_eight(swapped):
    swap_under_load(swapped, 8, 20)


@pytest.mark.parametrize(
    "wrong", [lambda of: of[::-1], lambda of: [], lambda of: [(i, s + 2e-6) for i, s in of]]
)
def test_a_reply_that_is_not_its_versions_is_noticed(swapped, wrong):
    client, state, pairs = swapped
    bodies = [json.dumps(asked) for asked in ASKED]
    version, right = offline([state.settings.runs_root / name for name in pairs[0]], bodies)
    for answers in ({version: {body: wrong(of) for body, of in right.items()}}, {"other": right}):
        with Load(client.base_url.port, answers, 2) as load:
            load.pass_over()
        assert load.failures


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
