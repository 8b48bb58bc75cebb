"""The whole path over HTTP, on one core: ``python -m benchmarks.serve.load --out FILE.csv``.

A server in a process of its own (pinned to the first core this process may use) with random weights
of the default sizes; a generator in this one (pinned to the last). Requests to recommend come in an
open loop: at the times of a Poisson process, whether or not earlier ones are answered, and each
latency counts from the time at which its request was due; the generator never sleeps, for its timers
would be a millisecond late. Each request is of another known user with 50 events, of one domain of
30, ranks 200 candidates and returns 10. Events come in a closed loop.
"""

import argparse
import asyncio
import csv
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from urllib.request import urlopen

import numpy as np

from benchmarks.serve.made import DOMAINS, USERS, pipeline

HOST = "127.0.0.1"
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Line:
    """One measurement. Latencies in milliseconds; ``per_second`` are requests, or events, that were
    answered with 200; CPU in milliseconds of the server's for each of them; RSS in MiB at the end."""

    items: int
    what: str
    rate: float
    per_second: float
    p50: float
    p99: float
    refused: int
    cpu: float
    rss: float


class Server:
    """A server process over a made pipeline."""

    def __init__(self, items: int, place: str, core: int) -> None:
        command = [sys.executable, "-m", "benchmarks.serve.load", "--serve", str(items)]
        self._child = subprocess.Popen(
            [*command, "--place", place, "--core", str(core)], stdout=subprocess.PIPE, text=True
        )
        assert self._child.stdout is not None
        self.port = int(self._child.stdout.readline())
        while not self._ready():
            time.sleep(0.1)

    def _ready(self) -> bool:
        try:
            with urlopen(f"http://{HOST}:{self.port}/health/ready"):
                return True
        except OSError:
            return False

    def cpu(self) -> float:
        """Milliseconds that it computed so far."""
        stat = Path(f"/proc/{self._child.pid}/stat").read_text().rpartition(")")[2].split()
        return 1000 * (int(stat[11]) + int(stat[12])) / _TICKS

    def rss(self) -> float:
        """MiB in memory."""
        pages = int(Path(f"/proc/{self._child.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def stop(self) -> None:
        self._child.terminate()
        self._child.wait()


class Clients:
    """Kept connections: as many as there are requests at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(self, path: str, body: bytes) -> int:
        """Send, read the whole reply, return its status."""
        reader, writer = (
            self._idle.pop() if self._idle else await asyncio.open_connection(HOST, self._port)
        )
        head = f"POST {path} HTTP/1.1\r\nhost: {HOST}\r\ncontent-type: application/json\r\n"
        writer.write(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
        found = await reader.readuntil(b"\r\n\r\n")
        size = found.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
        await reader.readexactly(int(size))
        self._idle.append((reader, writer))
        return int(found[9:12])


def recommend(items: int, draw: np.random.Generator) -> bytes:
    """The body of a request."""
    asked = {
        "user": f"user {draw.integers(USERS)}",
        "domains": [f"domain {draw.integers(DOMAINS)}"],
        "context": {"hour": int(draw.integers(24))},
        "history": [{"item": f"item {draw.integers(items)}"}],
    }
    return json.dumps(asked).encode()


async def open_loop(port: int, items: int, rate: float, seconds: float) -> list[tuple[float, int]]:
    """Latency from when it was due, and status, of each request."""
    draw, clients, found = np.random.default_rng(int(rate)), Clients(port), []
    gaps = draw.exponential(1 / rate, max(1, int(rate * seconds)))
    bodies = [recommend(items, draw) for _ in gaps]
    start = time.perf_counter()

    async def one(due: float, body: bytes) -> None:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        status = await clients.post("/v1/recommend", body)
        found.append((1000 * (time.perf_counter() - due), status))

    dues = start + np.cumsum(gaps)
    awake = asyncio.create_task(_awake())
    await asyncio.gather(*(one(due, body) for due, body in zip(dues.tolist(), bodies, strict=True)))
    awake.cancel()
    return found


async def _awake() -> None:
    """Keep the loop from sleeping: it wakes up to a millisecond late."""
    while True:
        await asyncio.sleep(0)


async def closed_loop(
    port: int, callers: int, size: int, seconds: float
) -> list[tuple[float, int]]:
    """The same of batches of events; a caller sends its next one when it has its reply."""
    clients, found = Clients(port), []
    end, made = time.perf_counter() + seconds, time.time_ns()

    async def caller(name: int) -> None:
        number = 0
        while (due := time.perf_counter()) < end:
            number += 1
            events = [_event(f"{made}-{name}-{number}-{n}", name) for n in range(size)]
            status = await clients.post("/v1/events", json.dumps({"events": events}).encode())
            found.append((1000 * (time.perf_counter() - due), status))

    await asyncio.gather(*(caller(name) for name in range(callers)))
    return found


def _event(name: str, user: int) -> dict[str, object]:
    return {
        "id": name,
        "user": f"user {user}",
        "item": "item 5",
        "domain": "domain 0",
        "time": 1_700_000_000,
        "kind": "buy",
    }


def measured(
    server: Server, items: int, what: str, rate: float, size: int, run: Callable[[], object]
) -> Line:
    """Run a loop, and sum it up; every request counts for ``size``."""
    cpu, start = server.cpu(), time.perf_counter()
    found = asyncio.run(run())  # type: ignore[arg-type]
    wall = time.perf_counter() - start
    took = [latency for latency, status in found if status == 200]
    p50, p99 = np.percentile(took, [50, 99]).tolist() if took else (float("nan"),) * 2
    done = max(1, len(took) * size)
    refused = len(found) - len(took)
    used = (server.cpu() - cpu) / done
    return Line(items, what, rate, done / wall, p50, p99, refused, used, server.rss())


def lines(server: Server, items: int, rates: Sequence[float], seconds: float) -> list[Line]:
    """Everything, of one server."""
    loop = lambda rate, t=seconds: lambda: open_loop(server.port, items, rate, t)  # noqa: E731
    measured(server, items, "", 50, 1, loop(50, 1))  # the first connections
    found = [measured(server, items, "recommend", rate, 1, loop(rate)) for rate in rates]
    for what, callers, size in (("events, single", 64, 1), ("events, batches of 100", 8, 100)):
        keep = lambda c=callers, s=size: closed_loop(server.port, c, s, seconds)  # noqa: E731
        found.append(measured(server, items, what, 0, size, keep))
    return found


def serve(items: int, place: str, core: int) -> None:
    """The server's process; it prints its port."""
    os.sched_setaffinity(0, {core})
    import torch

    from isthmus.service.events import open_events
    from isthmus.service.http.forgotten import open_forgotten
    from isthmus.service.http.server import server
    from isthmus.service.http.settings import Settings
    from isthmus.service.http.state import Served, State

    torch.set_num_threads(1)
    made = pipeline(items)
    made.warm_up()
    url = f"{place}/events.sqlite"
    state = State(Served(made, ()), open_events(url), open_forgotten(url), Settings())
    listening = socket.create_server((HOST, 0), backlog=1024)
    print(listening.getsockname()[1], flush=True)
    server(state).run(sockets=[listening])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, nargs="*", default=[100_000])
    parser.add_argument("--rates", type=float, nargs="*", default=[50, 100, 150, 200, 300])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--place", default=tempfile.gettempdir(), help="Where events are kept.")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--core", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve is not None:
        serve(asked.serve, asked.place, asked.core)
        return
    cores = sorted(os.sched_getaffinity(0))
    first, last = cores[0], cores[-1]
    os.sched_setaffinity(0, {last})
    found: list[Line] = []
    print(f"cores {cores}, load {os.getloadavg()[0]:.1f}")
    for items in asked.items:
        with tempfile.TemporaryDirectory(dir=asked.place) as place:
            running = Server(items, place, first)
            try:
                found += lines(running, items, asked.rates, asked.seconds)
            finally:
                running.stop()
    names = [field.name for field in fields(Line)]
    print("| " + " | ".join(names) + " |\n" + "|---" * len(names) + "|")
    rows = [
        [f"{v:.2f}" if isinstance(v, float) else f"{v}" for v in asdict(o).values()] for o in found
    ]
    print("\n".join("| " + " | ".join(row) + " |" for row in rows))
    if asked.out is not None:
        with asked.out.open("w", newline="") as file:
            csv.writer(file).writerows([names, *rows])


if __name__ == "__main__":
    main()
