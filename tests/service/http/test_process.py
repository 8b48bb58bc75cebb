"""``isthmus serve`` as a process: it starts safely, ends in order, and survives kill -9."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading

import httpx
import pytest

from isthmus.service.events import check, open_events, sqlite_path
from tests.service.http.running import BEARER, KEY, PATIENCE, Process, until

CLIENTS = 4


def test_it_says_where_it_is_and_never_the_key(runs, tmp_path):
    with Process(runs, tmp_path, "--host", "0.0.0.0", key=KEY) as process:
        process.base = process.base.replace("0.0.0.0", "127.0.0.1")
        process.wait_until_ready()
        with process.client() as client:
            assert client.post("/v1/recommend", json={"user": "7"}).status_code == 401
            reply = client.post("/v1/recommend", json={"user": "7"}, headers=BEARER)
            assert reply.status_code == 200
            assert client.get(f"/v1/{KEY}", headers={"x-api-key": "wrong"}).status_code == 401
        code, said = process.kill(signal.SIGTERM)
    assert code == 0
    assert "an API key is needed" in said
    assert reply.json()["version"] in said
    assert KEY not in said


def starting(*options, key=""):
    """What a server says that does not start."""
    done = subprocess.run(
        [sys.executable, "-m", "isthmus.cli", "serve", *map(str, options)],
        env={**os.environ, "ISTHMUS_API_KEY": key, "COLUMNS": "300"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return done.stderr


def test_what_does_not_start(runs, tmp_path):
    events = ("--events", tmp_path / "e.sqlite")
    assert "no API key is set" in starting(*runs, *events, "--host", "0.0.0.0")
    assert "API key must be" in (said := starting(*runs, *events, key="tooshort"))
    assert "tooshort" not in said
    assert "is no run" in starting(tmp_path, *events, "--port", 0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"cannot serve on 127.0.0.1, port {port}" in starting(*runs, *events, "--port", port)
    with open_events(tmp_path / "e.sqlite"):
        assert "is being written to by process" in starting(*runs, *events, "--port", 0)


def test_what_is_under_way_is_answered_before_the_end(runs, tmp_path):
    """SIGTERM arrives while a body does; nothing new is taken, and the old one gets its reply."""
    with Process(runs, tmp_path) as process:
        process.wait_until_ready()
        address = ("127.0.0.1", int(process.base.rpartition(":")[2]))
        body = b'{"events": [{"id": "last", "user": "u", "item": "5", "domain": "s1", "time": 1}]}'
        with socket.create_connection(address) as slow:
            slow.settimeout(PATIENCE)
            slow.sendall(
                b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(body), body[:20])
            )
            with process.client() as client:
                until(lambda: "isthmus_in_flight 2.0" in client.get("/metrics").text)
            process.child.send_signal(signal.SIGTERM)
            until(lambda: not listens(address))
            slow.sendall(body[20:])
            reply = b""
            while part := slow.recv(65536):
                reply += part
        assert reply.startswith(b"HTTP/1.1 200 ")
        code, said = (
            process.kill(signal.SIGTERM) if process.child.poll() is None else finished(process)
        )
    assert code == 0
    assert "Traceback" not in said
    with open_events(tmp_path / "events.sqlite") as store:
        assert [event.id for _, event in store.since()] == ["last"]


def finished(process):
    rest, _ = process.child.communicate(timeout=PATIENCE)
    return process.child.returncode, rest


def listens(address):
    try:
        socket.create_connection(address).close()
    except OSError:
        return False
    return True


def ingest(process, name, acknowledged, enough):
    """Batches of one to five, every third one twice, until the server is gone."""
    count = 0
    with process.client() as client:
        while True:
            batch = [
                {"id": f"{name}-{count + i}", "user": name, "item": "5", "domain": "s1", "time": i}
                for i in range(1 + count % 5)
            ]
            try:
                for _ in range(1 + (count % 3 == 0)):
                    reply = client.post("/v1/events", json={"events": batch})
            except httpx.TransportError:
                return
            assert reply.status_code == 200, reply.text
            acknowledged += [one["id"] for one in reply.json()["verdicts"]]
            count += len(batch)
            enough.release()


def kill_rounds(runs, url, rounds):
    """After each kill all that was acknowledged is there, once; then the next server goes on."""
    draw, acknowledged = random.Random(rounds), []
    for number in range(rounds):
        enough = threading.Semaphore(0)
        with Process(runs, url) as process:
            until(lambda: listens(("127.0.0.1", int(process.base.rpartition(":")[2]))))
            clients = [
                threading.Thread(
                    target=ingest, args=(process, f"{number}-{n}", acknowledged, enough)
                )
                for n in range(CLIENTS)
            ]
            for client in clients:
                client.start()
            for _ in range(draw.randrange(1, 60)):
                assert enough.acquire(timeout=PATIENCE)
            assert process.kill()[0] == -9
            for client in clients:
                client.join()
        if (path := sqlite_path(url)) is not None:
            assert check(path).faults == ()
        with open_events(url) as store:
            kept = [event.id for _, event in store.since()]
        assert len(kept) == len(set(kept))
        assert set(acknowledged) <= set(kept)
    assert len(acknowledged) > rounds


def test_a_killed_server_loses_nothing_that_it_acknowledged(runs, url):
    kill_rounds(runs, url, 3 if sqlite_path(url) else 1)


@pytest.mark.slow
def test_a_server_killed_time_after_time_loses_nothing(runs, url):
    kill_rounds(runs, url, 20 if sqlite_path(url) else 5)
