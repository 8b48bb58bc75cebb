"""What clumsy and hostile clients send: a 4xx with a stable code, never a 500, never a hang."""

import gzip
import itertools
import json
import socket
import zlib

import pytest

from isthmus.service.http.bodies import RecommendBody
from isthmus.service.http.errors import ApiError
from isthmus.service.http.settings import Limits, Settings
from isthmus.service.http.strict import DEPTH, TEXT_BYTES, parsed
from tests.service.http.running import PATIENCE, serving

JSON = {"content-type": "application/json"}
RECOMMEND, RANK, EVENTS = "/v1/recommend", "/v1/rank", "/v1/events"


def wrapped(inside, levels):
    return b'{"context":{"hour":' + b"[" * levels + inside + b"]" * levels + b"}}"


BODIES = [
    # what is no JSON
    (b"", 400, "bad_json"),
    (b"{", 400, "bad_json"),
    (b'{"k": 1,}', 400, "bad_json"),
    (b"{'k': 1}", 400, "bad_json"),
    (b'{"k": 01}', 400, "bad_json"),
    (b'{"k": 1} {"k": 2}', 400, "bad_json"),
    (b"\xff\xfe{}", 400, "bad_json"),
    (b"\xef\xbb\xbf{}", 400, "bad_json"),
    (b'{"user": "\xed\xa0\x80"}', 400, "bad_json"),
    (b'{"user": "a\x00b"}', 400, "bad_json"),
    ('{"user": "7"}'.encode("utf-16"), 400, "bad_json"),
    # numbers that are none
    (b'{"time": NaN}', 422, "bad_number"),
    (b'{"time": Infinity}', 422, "bad_number"),
    (b'{"time": -Infinity}', 422, "bad_number"),
    (b'{"time": 1e999}', 422, "bad_number"),
    (b'{"time": -1e999}', 422, "bad_number"),
    (b'{"user": ' + b"9" * 400 + b"}", 422, "bad_number"),
    (b'{"context": {"hour": 1e999}}', 422, "bad_number"),
    (b'{"history": [{"item": "5", "time": NaN}]}', 422, "bad_number"),
    (b'{"nothing": [{"of": NaN}]}', 422, "bad_number"),
    # texts that are none
    (b'{"user": "\\ud800"}', 422, "bad_text"),
    (b'{"user": "\\udc00\\ud800"}', 422, "bad_text"),
    (b'{"context": {"\\ud800": 1}}', 422, "bad_text"),
    (b'{"user": "a\\u0000b"}', 422, "bad_text"),
    (b'{"block": ["\\u0000"]}', 422, "bad_text"),
    (b'{"user": "' + b"u" * (TEXT_BYTES + 1) + b'"}', 422, "too_long"),
    # keys that come twice
    (b'{"user": "7", "user": "8"}', 422, "duplicate_key"),
    (b'{"context": {"hour": 1, "hour": 2}}', 422, "duplicate_key"),
    (b'{"user": "7", "\\u0075ser": "8"}', 422, "duplicate_key"),
    # depth
    (wrapped(b"1", DEPTH - 1), 400, "too_deep"),
    (wrapped(b"1", 900), 400, "too_deep"),
    (b"[" * 100_000, 400, "too_deep"),
    (b"[" * 100_000 + b"]" * 100_000, 400, "too_deep"),
    (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 400, "too_deep"),
    # other types, values and names
    (b"null", 422, "invalid"),
    (b"[]", 422, "invalid"),
    (b'"text"', 422, "invalid"),
    (b'{"k": 0}', 422, "invalid"),
    (b'{"k": -1}', 422, "invalid"),
    (b'{"k": 1001}', 422, "invalid"),
    (b'{"k": 1000000000}', 422, "invalid"),
    (b'{"k": 18446744073709551617}', 422, "invalid"),
    (b'{"k": "5"}', 422, "invalid"),
    (b'{"k": 5.0}', 422, "invalid"),
    (b'{"k": true}', 422, "invalid"),
    (b'{"k": null}', 422, "invalid"),
    (b'{"user": true}', 422, "invalid"),
    (b'{"user": ""}', 422, "invalid"),
    (b'{"user": 7.5}', 422, "invalid"),
    (b'{"user": {}}', 422, "invalid"),
    (b'{"explain": 1}', 422, "invalid"),
    (b'{"explain": "true"}', 422, "invalid"),
    (b'{"domains": "s1"}', 422, "invalid"),
    (b'{"domains": [1]}', 422, "invalid"),
    (b'{"history": [[]]}', 422, "invalid"),
    (b'{"history": [{"item": "5", "when": 1}]}', 422, "invalid"),
    (b'{"history": [{"item": "5", "time": "1"}]}', 422, "invalid"),
    (b'{"history": [{"item": "5", "time": 1e300}]}', 422, "invalid"),
    (b'{"time": 1e300}', 422, "invalid"),
    (b'{"context": {"hour": true}}', 422, "invalid"),
    (b'{"context": {"hour": null}}', 422, "invalid"),
    (b'{"offset": 9223372036854775808}', 422, "invalid"),
    (b'{"version": "x"}', 422, "invalid"),
    (b'{"history": [%s]}' % b",".join([b'{"item":"5"}'] * 1001), 422, "invalid"),
    (b'{"block": [%s]}' % b",".join([b'"5"'] * 10_001), 422, "invalid"),
]


@pytest.mark.parametrize(("body", "status", "code"), BODIES, ids=lambda v: str(v)[:40])
def test_bad_bodies(client, body, status, code):
    reply = client.post(RECOMMEND, content=body, headers=JSON)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert set(reply.json()["error"]) <= {"code", "message", "details"}
    assert reply.headers["content-type"] == "application/json"


GOOD = [
    b"{}",
    b'{"user": 7}',
    b'{"user": "\\ud83d\\ude00 \\\\u0000"}',
    b'{"time": 1, "k": 1000, "retrieved": 2000}',
    wrapped(b"", 1),
    b'{"context": {"hour": 123456789012345678901234567890}}',
    b'{"context": {"hour": -1e300, "age": "old", "": 1, "bought": ["5", 7]}}',
    b'{"history": [{"item": "5", "time": -0.0}, {"item": 5, "time": 1e15}, {"item": "5"}]}',
    b'{"allow": []}',
    b'{"allow": ["5", "5"], "block": ["5"]}',
    b'{"domains": ["", "s1", "s1", "mars"]}',
    b'{"block": [%s]}' % b",".join([b'"5"'] * 10_000),
    b' \n\t{"user": "7"}\r\n ',
]


@pytest.mark.parametrize("body", GOOD, ids=lambda v: str(v)[:40])
def test_odd_bodies_that_are_right(client, body):
    reply = client.post(RECOMMEND, content=body, headers=JSON)
    assert reply.status_code == 200, reply.text
    assert reply.json()["items"] or reply.json()["fewer"]


VALUES = ["", "7", "ключ", "\x7f", "a" * 300, 0, -1, 5, 2**63, -(2**70), 1.5, -0.0, 1e308, True]
VALUES += [None, [], {}, ["7"], [7], [[]], {"item": "5"}, [{"item": "5"}], {"hour": 3}, {"x": [1]}]
FIELDS = {
    RECOMMEND: [*RecommendBody.model_fields, "nothing"],
    RANK: ["candidates", "k", "user", "history", "context", "time", "trained", "explain"],
    EVENTS: ["events"],
}
PAIRS = [(path, field) for path, fields in FIELDS.items() for field in fields]


@pytest.mark.parametrize(("path", "field"), PAIRS)
def test_any_value_in_any_field(client, path, field):
    base = {"candidates": [{"item": "5"}]} if path == RANK and field != "candidates" else {}
    for value in VALUES:
        reply = client.post(path, json={**base, field: value})
        assert reply.status_code in (200, 422), (value, reply.text)
        if reply.status_code == 422:
            assert reply.json()["error"]["code"] in ("invalid", "too_long", "rejected")


EVENT_FIELDS = ["id", "user", "item", "domain", "time", "kind", "value", "context", "nothing"]


@pytest.mark.parametrize("field", EVENT_FIELDS)
def test_any_value_in_any_field_of_an_event(worn, field):
    good = {"id": f"fuzz-{field}", "user": "f", "item": "5", "domain": "s1", "time": 1}
    events = [{**good, "id": f"{field}-{n}", field: value} for n, value in enumerate(VALUES)]
    reply = worn.post(EVENTS, json={"events": events})
    assert reply.status_code == 200, reply.text
    found = reply.json()
    counts = [found[name] for name in ("accepted", "duplicate", "conflict", "rejected")]
    assert sum(counts) == len(found["verdicts"]) == len(VALUES)
    worn.delete("/v1/users/f")


def test_ten_thousand_candidates(client):
    many = [{"item": str(n)} for n in range(10_000)]
    reply = client.post(RANK, json={"candidates": many, "k": 3})
    assert reply.status_code == 200
    assert len(reply.json()["items"]) == 3
    refused = client.post(RANK, json={"candidates": [*many, {"item": "5"}]})
    assert refused.json()["error"]["details"][0]["where"] == "candidates"
    assert client.post(RANK, json={"candidates": []}).status_code == 422


BIG = b'{"user": "' + b" " * (20 << 20) + b'"}'


def chunks():
    yield from (BIG[start : start + 65536] for start in range(0, len(BIG), 65536))


def test_a_large_body_is_refused_before_it_is_read(client):
    """Said to be large, found to be large, and grown large when it is unpacked."""
    for content, more in (
        (BIG, {}),
        (chunks(), {}),
        (BIG[: 2 << 20], {"expect": "100-continue"}),
    ):
        reply = client.post(RECOMMEND, content=content, headers={**JSON, **more})
        assert (reply.status_code, reply.json()["error"]["code"]) == (413, "too_large")
    bomb = gzip.compress(BIG)
    for packed, how in ((bomb, "gzip"), (zlib.compress(BIG), "deflate"), (b"{}", "br")):
        reply = client.post(RECOMMEND, content=packed, headers={**JSON, "content-encoding": how})
        assert (reply.status_code, reply.json()["error"]["code"]) == (415, "unknown_encoding")


@pytest.mark.parametrize("kind", ["text/plain", "", "application/x-www-form-urlencoded", "a/json"])
def test_bodies_of_another_type(client, kind):
    reply = client.post(RECOMMEND, content=b"{}", headers={"content-type": kind})
    assert (reply.status_code, reply.json()["error"]["code"]) == (415, "unknown_type")


def test_json_may_name_its_charset(client):
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert client.post(RECOMMEND, content=b"{}", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1", 404, "unknown_route"),
        ("GET", "/v1/recommend/", 404, "unknown_route"),
        ("GET", "/v2/domains", 404, "unknown_route"),
        ("GET", "/../../etc/passwd", 404, "unknown_route"),
        ("GET", "/docs", 404, "unknown_route"),
        ("GET", "/console/../../pyproject.toml", 404, "unknown_route"),
        ("GET", "/v1/recommend", 405, "unknown_method"),
        ("PUT", "/v1/events", 405, "unknown_method"),
        ("PATCH", "/v1/users/7", 405, "unknown_method"),
        ("TRACE", "/v1/domains", 405, "unknown_method"),
        ("GET", "/v1/users/a%00b", 400, "bad_path"),
        ("GET", "/v1/users/%ff", 400, "bad_path"),
        ("GET", "/v1/users/%ed%a0%80", 400, "bad_path"),
        ("GET", "/v1/users/7?limit=0", 422, "invalid"),
        ("GET", "/v1/users/7?limit=99999999999999999999", 422, "invalid"),
        ("GET", "/v1/users/7?limit=NaN", 422, "invalid"),
        ("GET", "/v1/users/" + "u" * 1025, 422, "invalid"),
    ],
)
def test_unknown_routes_and_bad_paths(client, method, path, status, code):
    reply = client.request(method, path)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize("user", ["a/b", "имя", "a b", "..", "%", "a?b#c", "😀", "\ufffd"])
def test_users_of_any_name(worn, user):
    made = {"id": f"name-{user}", "user": user, "item": "5", "domain": "s1", "time": 1}
    assert worn.post(EVENTS, json={"events": [made]}).status_code == 200
    path = "/v1/users/" + "".join(f"%{byte:02x}" for byte in user.encode())
    assert worn.get(path).json()["user"] == user
    assert worn.delete(path).json() == {"user": user, "events": 1}


def test_errors_tell_nothing_of_the_server(client, plain, monkeypatch, caplog):
    """Not even those that nobody thought of; the log has them."""

    def broken(*_, **__):
        raise RuntimeError("/secret/path is broken")

    monkeypatch.setattr(plain[1].current, "pipeline", None)
    monkeypatch.setattr(type(plain[1]), "rank", broken)
    reply = client.post(RANK, json={"candidates": [{"item": "5"}]})
    assert reply.status_code == 500
    assert reply.json()["error"]["code"] == "internal"
    assert "secret" not in reply.text
    assert "/secret/path is broken" in caplog.text


def heads(address, sent):
    """What a server answers to these bytes; it must close by itself."""
    with socket.create_connection(address) as connection:
        connection.settimeout(PATIENCE)
        connection.sendall(sent)
        found = b""
        while part := connection.recv(65536):
            found += part
        return found


def test_slow_heads_and_bodies_are_cut_off(served, tmp_path):
    limits = Limits(head_seconds=1.0, body_seconds=1.0)
    with serving(served, tmp_path, Settings(limits=limits)) as (client, _):
        address = (client.base_url.host, client.base_url.port)
        assert heads(address, b"") == b""
        assert heads(address, b"GET /health/live HTTP/1.1\r\nHost: local") == b""
        head = (
            b"POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        )
        late = heads(address, head + b"Content-Length: 9\r\n\r\n{")
        assert late.startswith(b"HTTP/1.1 408 ")
        assert b'"too_slow"' in late
        assert heads(
            address, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 70_000
        ).startswith(b"HTTP/1.1 400 ")
        assert client.get("/health/live").status_code == 200


def test_what_is_no_http(client):
    address = (client.base_url.host, client.base_url.port)
    reply = heads(address, b"\x16\x03\x01 hello\r\n\r\n")
    assert reply.startswith(b"HTTP/1.1 400 ")
    assert json.loads(reply.partition(b"\r\n\r\n")[2])["error"]["code"] == "bad_request"
    twice = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n"
    assert heads(address, twice + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n").startswith(
        b"HTTP/1.1 400 "
    )


def depth_of(value):
    """The plain way to count levels."""
    if not isinstance(value, dict | list):
        return 0
    return 1 + max((depth_of(one) for one in (value.values() if isinstance(value, dict) else value)), default=0)  # fmt: skip


def test_depth_is_counted_as_a_walk_counts_it():
    inner = ["[]", "{}", '"]["', '"\\"[["', "1", '{"a":[]}', "[[],{}]"]
    for levels, core, wrap in itertools.product(range(DEPTH + 2), inner, ("[%s]", '{"[":%s}')):
        text = core
        for _ in range(levels):
            text = wrap % text
        text = f'{{"context":[{text},"}}{{"]}}'
        code = "invalid"
        try:
            parsed(text.encode(), RecommendBody)
        except ApiError as error:
            code = error.code
        except ValueError:
            pass
        assert (code == "too_deep") == (depth_of(json.loads(text)) > DEPTH), text
