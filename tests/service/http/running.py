"""Real servers: one in a thread of the test, for speed; one in a process of its own, to be killed."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import httpx

from isthmus.service.events import open_events
from isthmus.service.http.forgotten import open_forgotten
from isthmus.service.http.server import server
from isthmus.service.http.settings import Settings
from isthmus.service.http.state import State

NOW = 1_800_000_000.0
KEY = "k" * 32
BEARER = {"authorization": f"Bearer {KEY}"}
PATIENCE = 60


def event(number, **changed):
    """An event; the number makes it another one."""
    values = {"id": f"e{number}", "user": f"u{number % 3}", "item": "4", "domain": "s1"}
    return {**values, "time": NOW - 1000 + number, **changed}


def events_at(place):
    """The URL of a store: itself, or that of the file in this folder."""
    return place if isinstance(place, str) else str(place / "events.sqlite")


@contextmanager
def serving(served, place, settings=None, *, wait=True):
    """A client of a server in a thread, and its state; events are kept at ``place``."""
    url = events_at(place)
    store = open_events(url, clock=lambda: NOW)
    state = State(served, store, open_forgotten(url), settings or Settings())
    running = server(state)
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
    thread.start()
    base = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        with httpx.Client(base_url=base, timeout=PATIENCE, trust_env=False) as client:
            if wait:
                until(lambda: client.get("/health/ready").status_code == 200)
            yield client, state
    finally:
        running.should_exit = True
        thread.join()
        listening.close()


def until(met):
    """Wait for something that is bound to come."""
    for _ in range(PATIENCE * 100):
        try:
            if met():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.01)
    raise AssertionError(f"not within {PATIENCE} s")


class Process:
    """``isthmus serve`` in a process of its own, which does not outlive its ``with``."""

    def __init__(self, runs, place, *options, key=None):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        environment.pop("ISTHMUS_API_KEY", None)
        if key is not None:
            environment["ISTHMUS_API_KEY"] = key
        command = [sys.executable, "-m", "isthmus.cli", "serve", *map(str, runs), "--port", "0"]
        self.child = subprocess.Popen(
            [*command, "--events", events_at(place), *map(str, options)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said = []
        for line in self.child.stdout:
            self.said.append(line)
            if line.startswith("http://"):
                self.base = line.split("/  ")[0]
                break
        else:
            raise AssertionError(f"the server did not start: {''.join(self.said)}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.child.poll() is None:
            self.kill()
        self.child.stdout.close()

    def client(self, **more):
        return httpx.Client(base_url=self.base, timeout=PATIENCE, trust_env=False, **more)

    def wait_until_ready(self):
        with self.client() as client:
            until(lambda: client.get("/health/ready").status_code == 200)

    def kill(self, by=signal.SIGKILL):
        """Its exit code, and all that it said."""
        self.child.send_signal(by)
        rest, _ = self.child.communicate(timeout=PATIENCE)
        return self.child.returncode, "".join(self.said) + rest
