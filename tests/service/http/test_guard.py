"""Every route: without a key, with a wrong and with the right one; who may talk to a server."""

import pytest

from isthmus.errors import ConfigError
from isthmus.service.http.settings import LOOPBACK, Key, Settings, settings
from tests.service.http.running import BEARER, KEY, event, serving

EVENTS = {"events": [event(1)]}
ROUTES = [
    ("POST", "/v1/recommend", {"user": "7"}, 200),
    ("POST", "/v1/rank", {"candidates": [{"item": "5"}]}, 200),
    ("POST", "/v1/events", EVENTS, 200),
    ("GET", "/v1/users", None, 200),
    ("GET", "/v1/users/{user}", None, 200),
    ("DELETE", "/v1/users/{user}", None, 200),
    ("GET", "/v1/domains", None, 200),
    ("GET", "/v1/stats", None, 200),
    ("GET", "/v1/report", None, 404),
    ("GET", "/v1/admin/runs", None, 200),
    ("POST", "/v1/admin/load", {"runs": ["../.."]}, 403),
    ("POST", "/v1/admin/rollback", {}, 409),
    ("GET", "/metrics", None, 200),
    ("GET", "/v1/openapi.json", None, 200),
    ("GET", "/nowhere", None, 404),
]
"""With a body and the status when all is right."""
OPEN = [("GET", "/health/live"), ("GET", "/health/ready"), ("GET", "/")]
WRONG = [
    ({"authorization": f"Bearer {KEY}x"}, "wrong_key"),
    ({"authorization": f"Bearer {KEY[:-1]}"}, "wrong_key"),
    ({"x-api-key": "K" * 32}, "wrong_key"),
    ({"authorization": f"Bearer {KEY}", "x-api-key": "K"}, "wrong_key"),
    ({"authorization": f"Basic {KEY}"}, "no_key"),
    ({"cookie": KEY}, "no_key"),
    ({}, "no_key"),
]


@pytest.fixture(scope="module")
def locked(served, tmp_path_factory):
    """A server with a key."""
    with serving(served, tmp_path_factory.mktemp("locked"), Settings(Key(KEY), ())) as (client, _):
        yield client


@pytest.mark.parametrize(("method", "path", "body", "status"), ROUTES, ids=lambda v: str(v)[:20])
def test_a_key_is_needed(locked, method, path, body, status):
    for headers, code in WRONG:
        refused = locked.request(method, path, json=body, headers=headers)
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, code)
        assert refused.headers["www-authenticate"] == "Bearer"
        assert KEY not in refused.text
    for headers in (BEARER, {"X-API-Key": KEY}):
        assert locked.request(method, path, json=body, headers=headers).status_code == status


@pytest.mark.parametrize(("method", "path"), OPEN)
def test_health_and_the_page_need_none(locked, method, path):
    assert locked.request(method, path).status_code == 200


def test_the_table_has_every_route(locked):
    described = locked.get("/v1/openapi.json", headers=BEARER).json()
    found = {(method.upper(), path) for path, of in described["paths"].items() for method in of}
    listed = {(method, path) for method, path, *_ in [*ROUTES, *OPEN]}
    assert found == listed - {("GET", "/v1/openapi.json"), ("GET", "/nowhere"), ("GET", "/")}


def test_a_wrong_key_keeps_nothing(locked):
    """The refusal comes before the event."""
    locked.post("/v1/events", json={"events": [event(77, user="thief")]})
    assert locked.get("/v1/users/thief", headers=BEARER).json()["known"] is False


def test_without_a_key_the_server_answers_to_the_names_of_loopback_alone(client):
    assert client.get("/health/live", headers={"host": "evil.example"}).status_code == 400
    for host in ("localhost", "127.0.0.1:81", "[::1]:8000", "LOCALHOST:1"):
        assert client.get("/health/live", headers={"host": host}).status_code == 200


def test_others_may_reach_a_server_with_a_key_only():
    for host in ("0.0.0.0", "::", "10.0.0.7", "example.org"):
        with pytest.raises(ConfigError, match="no API key is set"):
            settings(host, None, runs_root=None)
        assert settings(host, KEY, runs_root=None).hosts == ()
    for host in LOOPBACK:
        assert settings(host, None, runs_root=None).key is None


@pytest.mark.parametrize(
    "key", ["short", "with a space in the middle", "ключ" * 8, "k" * 40 + "\n"]
)
def test_keys_that_are_none(key):
    with pytest.raises(ConfigError, match="API key must be"):
        Key(key)


def test_a_key_is_not_shown():
    assert KEY not in repr(Settings(Key(KEY)))
    assert KEY not in str(vars(Key(KEY)))
