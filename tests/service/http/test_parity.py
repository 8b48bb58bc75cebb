"""Library, command and HTTP say the same."""

import json

import pytest
from typer.testing import CliRunner

from isthmus.cli import app
from isthmus.service import Event, RankRequest, Request
from isthmus.service.http.bodies import RankBody, RecommendBody

ASKED = [
    {"user": "7", "domains": ["s1"], "k": 5},
    {"user": 7, "k": 30, "exclude_seen": True, "context": {"hour": 3}},
    {"user": "nobody", "domains": ["s2", "s0"]},
    {"user": "0", "domains": ["s0"], "history": [{"item": 5, "time": 310.0}, {"item": "17"}]},
    {"domains": ["mars"], "k": 3, "retrieved": 20},
    {"user": "7", "allow": ["5", "8", "none"], "block": ["8"], "explain": True},
    {"user": "7", "domains": ["s1"], "k": 500},
    {"user": "7", "domains": ["s1"], "trained": False},
    {"user": "7", "history": [{"item": "5", "domain": "s1"}, {"item": "4", "domain": "s1"}]},
]


def scores(reply):
    return [
        (one["item"], one["domain"], one["score"], one["retrieval_score"], one["retrieval_rank"])
        for one in reply["items"]
    ]


@pytest.mark.parametrize("number", range(len(ASKED)))
def test_the_same_request_has_the_same_reply(client, served, runs, tmp_path, number):
    asked = ASKED[number]
    reply = client.post("/v1/recommend", json=asked).json()
    own = served.pipeline.recommend(Request.model_validate_json(json.dumps(asked)))
    (tmp_path / "asked.jsonl").write_text(json.dumps(asked))
    words = ["recommend", *map(str, runs), "--users", str(tmp_path / "asked.jsonl")]
    told = json.loads(CliRunner().invoke(app, words).stdout)
    assert len(reply["items"]) == len(own.items) == len(told["items"]) > 0
    for found, one, line in zip(scores(reply), own.items, scores(told), strict=True):
        plain = (one.item, one.domain, one.score, one.retrieval_score, one.retrieval_rank)
        for other in (plain, line):
            assert found[:2] == other[:2]
            assert found[2:] == pytest.approx(other[2:], abs=1e-6)
    for name in ("version", "fewer", "flags"):
        assert reply[name] == told[name]
    assert set(reply["milliseconds"]) == set(own.milliseconds)
    if asked.get("explain"):
        assert [one["why"] for one in reply["items"]] == [one["why"] for one in told["items"]]
        assert any(one["why"]["events"] for one in reply["items"])


def test_given_candidates(client, served):
    asked = {"user": "7", "candidates": [{"item": n} for n in (5, 17, "62", "none")], "k": 3}
    reply = client.post("/v1/rank", json=asked).json()
    own = served.pipeline.rank(RankRequest.model_validate_json(json.dumps(asked)))
    assert [one["item"] for one in reply["items"]] == [one.item for one in own.items]
    assert [one["score"] for one in reply["items"]] == pytest.approx([one.score for one in own.items], abs=1e-6)  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "flag"),
    [
        ({"user": "nobody"}, {"unknown_user": True, "fallback": "popularity"}),
        ({"user": "7", "domains": ["mars"]}, {"unknown_domains": ["mars"]}),
        ({"user": "7", "history": [{"item": "never"}]}, {"unknown_items": ["never"]}),
        (
            {"history": [{"item": "5", "domain": "s1"}]},
            {"misplaced_items": ["5"], "fallback": "popularity"},
        ),
        ({"user": "7", "context": {"moon": "full"}}, {"unknown_context": ["moon"]}),
    ],
)
def test_what_is_unknown_is_answered_and_told(client, asked, flag):
    reply = client.post("/v1/recommend", json=asked)
    assert reply.status_code == 200
    assert reply.json()["items"]
    assert reply.json()["flags"].items() >= flag.items()


def test_there_is_never_nothing_without_a_reason(client):
    reply = client.post("/v1/recommend", json={"user": "7", "allow": ["none"]}).json()
    assert reply["items"] == []
    assert reply["fewer"]


def test_bodies_have_the_fields_and_defaults_of_the_library():
    for body, request in ((RecommendBody, Request), (RankBody, RankRequest)):
        assert set(body.model_fields) == set(request.model_fields)
        for name, field in request.model_fields.items():
            assert body.model_fields[name].default == field.default
    assert Event("5") == RecommendBody.model_validate_json('{"history":[{"item":5}]}').history[0]
