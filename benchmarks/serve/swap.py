"""Other runs under load: ``python -m benchmarks.serve.swap --out FILE.csv``.

``isthmus serve`` in a process of its own over two pairs of runs (random weights of the default sizes,
the same items and users); clients in this one, each with a connection of its own, that send their next
request when they have their reply. Meanwhile the pairs take turns; between two turns a damaged run and
one that is not there are refused, and now and then two roll backs lead there and back. Every reply must
be 200, name the version of one of the pairs, and hold that pair's offline items, with their scores to
1e-6. It exits with 1 where one does not.
"""

import argparse
import csv
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serve.made import DOMAINS, USERS, kept, stages
from benchmarks.serve.turns import PATIENCE, Client, Load, Swaps, damage, offline
from isthmus.store import Store


@dataclass(frozen=True)
class Line:
    """Latencies in milliseconds, of all replies while runs were swapped; RSS of the server in MiB,
    the medians of the second and of the last quarter of the swaps."""

    items: int
    clients: int
    seconds: float
    swaps: int
    rollbacks: int
    refused: int
    replies: int
    failures: int
    p50: float
    p99: float
    longest: float
    rss_early: float
    rss_late: float


def bodies(items: int, count: int = 60) -> list[str]:
    """Requests of known users, and of new ones with a history."""
    draw = np.random.default_rng(1)
    made = []
    for number in range(count):
        asked: dict[str, Any] = {"domains": [f"domain {draw.integers(DOMAINS)}"]}
        asked["history"] = [{"item": f"item {draw.integers(items)}", "time": 1000.0 + number}]
        asked["user"] = f"user {draw.integers(USERS)}" if number % 3 else f"new {number}"
        made.append(json.dumps(asked))
    return made


def made_pairs(root: Path, items: int) -> list[list[str]]:
    """Two pairs of runs in a folder; their names."""
    pairs = []
    for seed in (0, 1):
        names = [f"retriever-{seed}", f"ranker-{seed}"]
        for made, name in zip(stages(items, "syncrec", "aread", seed=seed), names, strict=True):
            kept(made, Store(root), name)
        pairs.append(names)
    return pairs


@contextmanager
def served(runs: Sequence[Path], place: Path, core: int) -> Iterator[tuple[int, int]]:
    """``isthmus serve`` on one core; its port and process id."""
    command = [sys.executable, "-m", "isthmus.cli", "serve", *map(str, runs), "--port", "0"]
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    child = subprocess.Popen(
        [*command, "--events", str(place / "events.sqlite")], stdout=subprocess.PIPE, text=True
    )
    os.sched_setaffinity(0, own)
    try:
        assert child.stdout is not None
        said = ""
        while (found := re.search(r"http://127\.0\.0\.1:(\d+)/", said)) is None:
            line = child.stdout.readline()
            assert line, f"the server did not start: {said}"
            said += line
        _until_ready(int(found[1]))
        yield int(found[1]), child.pid
    finally:
        child.terminate()
        child.wait()


def _until_ready(port: int) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        client = Client(port)
        try:
            if client.post("/v1/recommend", "{}")[0] == 200:
                return
        except OSError:
            pass
        finally:
            client.close()
        time.sleep(0.1)
    raise AssertionError(f"not ready within {PATIENCE:.0f} s")


def rss(pid: int) -> float:
    """MiB of a process in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def measured(root: Path, asked: argparse.Namespace, core: int) -> tuple[Line, list[str]]:
    """All of it; and what went wrong."""
    pairs = made_pairs(root, asked.items)
    damage(root / pairs[1][0], "damaged")
    paths = [[root / name for name in names] for names in pairs]
    answers = dict(offline(one, bodies(asked.items)) for one in paths)
    memory: dict[int, float] = {}
    with served(paths[0], root, core) as (port, pid):
        start = time.monotonic()

        def after(number: int) -> None:
            memory[number] = rss(pid)
            time.sleep(max(0.0, start + asked.seconds * number / asked.swaps - time.monotonic()))

        with Load(port, answers, asked.clients) as load:
            swaps = Swaps(pairs, list(answers), "damaged")
            backs = swaps.run(load, asked.swaps, after=after)
        seconds = time.monotonic() - start
    p50, p99, longest = np.percentile(load.took, [50, 99, 100]).tolist()
    numbers = (asked.items, asked.clients, seconds, len(memory), backs, 2 * len(memory))
    counts = (sum(load.versions.values()), len(load.failures), p50, p99, longest)
    quarters = np.array_split(list(memory.values()), 4)
    return Line(*numbers, *counts, *(float(np.median(quarters[n])) for n in (1, 3))), load.failures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--swaps", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60, help="At least; swaps come evenly.")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--place", help="Where runs and events lie meanwhile.")
    asked = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    with tempfile.TemporaryDirectory(dir=asked.place) as place:
        line, failures = measured(Path(place), asked, cores[0])
    values = {n: f"{v:.1f}" if isinstance(v, float) else v for n, v in asdict(line).items()}
    print(f"cores {cores}, load {os.getloadavg()[0]:.1f}")
    print("| " + " | ".join(values) + " |\n" + "|---:" * len(values) + "|")
    print("| " + " | ".join(map(str, values.values())) + " |")
    if asked.out is not None:
        with asked.out.open("w", newline="") as file:
            csv.writer(file).writerows([list(values), list(values.values())])
    for failure in failures[:5]:
        print(failure, file=sys.stderr)
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
