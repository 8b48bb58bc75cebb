"""How many durable events a second: one by one, from callers at once, and in batches.

Run it as ``python benchmarks/serve/events.py`` on an idle machine, with ``--place`` on the disk that
is to be measured: every figure but the last column hangs on how long its fsync takes.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from isthmus.service.events import EventStore, open_events

HEAD = ("store", "what", "events/s", "p50 ms", "p99 ms", "CPU µs/event")
CALLERS = 8
"""As many requests wait at once."""


def event(name: str, number: int) -> dict[str, object]:
    """An event of the usual size."""
    return {
        "id": f"{name}-{number:08}",
        "user": f"household-{number % 5000}",
        "item": f"{number * 7919 % 100_000}",
        "domain": f"domain-{number % 30}",
        "time": 1_700_000_000 + number,
        "kind": "click",
        "context": {"page": "home", "slot": number % 10},
    }


def caller(
    store: EventStore, name: str, batches: int, size: int, until: float, took: list[float]
) -> None:
    """Append batch after batch, until there were so many or the time is over."""
    for first in range(0, batches * size, size):
        batch = [event(name, first + i) for i in range(size)]
        start = time.perf_counter()
        verdicts = store.append(batch)
        took.append(time.perf_counter() - start)
        assert all(v.status == "accepted" for v in verdicts)
        if time.perf_counter() > until:
            return


def measured(
    store: EventStore, kind: str, what: str, callers: int, size: int, seconds: float
) -> tuple[str, ...]:
    """A line of the table: ``callers`` at once append batches of ``size`` for so many seconds."""
    took: list[float] = []
    start, cpu = time.perf_counter(), time.process_time()
    threads = [
        threading.Thread(
            target=caller, args=(store, f"{what}-{c}", 10**6, size, start + seconds, took)
        )
        for c in range(callers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    events = len(took) * size
    p99 = statistics.quantiles(took, n=100)[98]
    times = (f"{1000 * statistics.median(took):.2f}", f"{1000 * p99:.2f}")
    return (kind, what, f"{events / wall:,.0f}", *times, f"{1e6 * cpu / events:.0f}")


def fsyncs(place: Path) -> tuple[str, ...]:
    """The disk itself: 4 KiB appended and synced, one after the other."""
    took = []
    with (place / "plain").open("ab", buffering=0) as file:
        for _ in range(300):
            start = time.perf_counter()
            file.write(b"x" * 4096)
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - start)
    p99 = statistics.quantiles(took, n=100)[98]
    times = (f"{1000 * statistics.median(took):.2f}", f"{1000 * p99:.2f}")
    return ("disk", "4 KiB, fdatasync", f"{300 / sum(took):,.0f}", *times, "")


@contextmanager
def redis_server(place: Path) -> Iterator[str]:
    """A server of our own with its log on the disk that is measured; its URL."""
    socket = place / "redis.sock"
    safe = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
    server = subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", socket, "--dir", place, *safe],
        stdout=subprocess.DEVNULL,
    )
    try:
        while not socket.exists():
            time.sleep(0.02)
        yield f"unix://{socket}"
    finally:
        server.terminate()
        server.wait()


def lines_of(url: str, kind: str, seconds: float) -> list[tuple[str, ...]]:
    """All measurements of one store."""
    with open_events(url) as store:
        lines = [
            measured(store, kind, "single, one caller", 1, 1, seconds),
            measured(store, kind, f"single, {CALLERS} callers", CALLERS, 1, seconds),
            measured(store, kind, f"single, {8 * CALLERS} callers", 8 * CALLERS, 1, seconds),
            measured(store, kind, "batches of 100, one caller", 1, 100, seconds),
            measured(store, kind, f"batches of 100, {CALLERS} callers", CALLERS, 100, seconds),
        ]
        lines.append(reading(store, kind))
    return lines


def reading(store: EventStore, kind: str) -> tuple[str, ...]:
    """Histories of 50 events, one after the other."""
    took, cpu = [], time.process_time()
    for number in range(2000):
        start = time.perf_counter()
        store.history(f"household-{number * 31 % 5000}", 50)
        took.append(time.perf_counter() - start)
    cpu = time.process_time() - cpu
    p99 = statistics.quantiles(took, n=100)[98]
    times = (f"{1000 * statistics.median(took):.2f}", f"{1000 * p99:.2f}")
    return (
        kind,
        "history (reads/s)",
        f"{2000 / sum(took):,.0f}",
        *times,
        f"{1e6 * cpu / 2000:.0f}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--place", type=Path, help="a directory on the disk to measure")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.place) as directory:
        place = Path(directory)
        lines = [fsyncs(place), *lines_of(str(place / "events.sqlite"), "SQLite", asked.seconds)]
        if shutil.which("redis-server"):
            with redis_server(place) as url:
                lines += lines_of(url, "Redis", asked.seconds)
        lines.append(fsyncs(place))
    table = Table(*HEAD[:2], box=None)
    for name in HEAD[2:]:
        table.add_column(name, justify="right")
    for line in lines:
        table.add_row(*line)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
