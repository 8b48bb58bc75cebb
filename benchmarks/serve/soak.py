"""A server for a long time: ``python -m benchmarks.serve.soak --minutes 30 --rate 50 --out FILE.csv``.

A server in a process of its own, pinned to the first core, over random weights of the default sizes;
mixed traffic (``benchmarks.serve.traffic``) in an open loop from this process, pinned to the last:
latencies count from when a request was due. Every five seconds: memory of the server, requests, what
was not answered as it should be, latencies of ``/v1/recommend``. After the warm-up, memory is fitted by
a line, and it exits with 1 unless the upper end of the 95 % interval of its slope is within the bound
(and nothing failed).

The bound is 8 MiB an hour: at 50 requests a second 47 bytes a request, less than what Python needs for
a text or an entry of a set, so that a structure that grows by one small thing a request is noticed.
``--table FILE.csv`` prints the table of an earlier run.
"""

import argparse
import asyncio
import csv
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np
from scipy.stats import linregress
from scipy.stats import t as student

from benchmarks.serve.load import Server
from benchmarks.serve.traffic import Connections, Traffic

EVERY = 5.0
"""Seconds between samples."""
BLOCKS = 10
"""Parts of the time whose means the slope is of."""
BOUND = 8.0
PARTS = 5
"""Lines of the table after the warm-up."""


@dataclass(frozen=True)
class Sample:
    """The last seconds: ``at`` their end, since the start. Latencies in milliseconds, of recommend;
    NaN without any. RSS in MiB."""

    at: float
    warm: bool
    rss: float
    requests: int
    errors: int
    p50: float
    p99: float


@dataclass
class Window:
    """What was answered since the last sample."""

    took: list[float] = field(default_factory=list)
    requests: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    def sample(self, at: float, warm: bool, rss: float) -> Sample:
        p50, p99 = np.percentile(self.took, [50, 99]).tolist() if self.took else (np.nan, np.nan)
        return Sample(at, warm, rss, self.requests, self.errors.total(), p50, p99)


@dataclass(frozen=True)
class Plan:
    """How long (seconds, of which the first are no part of the slope), and requests a second."""

    seconds: float
    warm: float
    rate: float


async def soaked(
    port: int, traffic: Traffic, plan: Plan, memory: Callable[[], float]
) -> tuple[list[Sample], Counter[str]]:
    """Send traffic, and take samples; and what failed, by request and status."""
    window, found, failed = Window(), list[Sample](), Counter[str]()
    connections, running = Connections(port), set[asyncio.Task[None]]()
    start = due = taken = time.perf_counter()

    async def one(due: float) -> None:
        asked = traffic.next()
        status = await connections.ask(asked.method, asked.path, asked.body)
        if asked.path == "/v1/recommend" and status == 200:
            window.took.append(1000 * (time.perf_counter() - due))
        window.requests += 1
        if status not in asked.expected:
            window.errors[f"{asked.what}: {status}"] += 1

    while due < start + plan.seconds:
        due += traffic.draw.exponential(1 / plan.rate)
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        task = asyncio.create_task(one(due))
        running.add(task)
        task.add_done_callback(running.discard)
        if (now := time.perf_counter()) >= taken + EVERY:
            found.append(window.sample(now - start, now >= start + plan.warm, memory()))
            failed += window.errors
            window, taken = Window(), now
    await asyncio.gather(*running)
    connections.close()
    return found, failed + window.errors


def slope(hours: Sequence[float], mib: Sequence[float]) -> tuple[float, float, float]:
    """Of the line of least squares, in MiB an hour, with its 95 % interval.

    Memory grows in steps, so that neighbours err alike: the line is that through the means of
    ``BLOCKS`` equal parts of the time, which hardly do (batch means: Law, Simulation Modeling and
    Analysis, section 9.5.3). NaN of fewer than three samples.
    """
    if len(hours) < 3:
        return (float("nan"),) * 3
    blocks = min(BLOCKS, len(hours))
    x, y = (np.array([part.mean() for part in np.array_split(v, blocks)]) for v in (hours, mib))
    line = linregress(x, y)
    half = float(student.ppf(0.975, blocks - 2) * line.stderr)
    return float(line.slope), float(line.slope) - half, float(line.slope) + half


def growth(samples: Sequence[Sample]) -> tuple[float, float, float]:
    """``slope`` of the memory after the warm-up."""
    warm = [one for one in samples if one.warm]
    return slope([one.at / 3600 for one in warm], [one.rss for one in warm])


def table(samples: Sequence[Sample]) -> str:
    """In Markdown: part by part of the time, and the line of memory."""
    cold, warm = ([one for one in samples if one.warm is of] for of in (False, True))
    parts = [cold, *(list(part) for part in np.array_split(np.array(warm, object), PARTS))]
    head = "minutes", "requests", "errors", "p50 ms", "p99 ms", "worst p99 ms", "RSS MiB"
    lines = [" | ".join(head), " | ".join(["---:"] * len(head))]
    lines += [" | ".join(_cells(part)) for part in parts if part]
    middle, low, high = growth(samples)
    first, last = (np.median([one.rss for one in of]) for of in (warm[:12], warm[-12:]))
    return "\n".join(
        [
            *(f"| {line} |" for line in lines),
            "",
            f"After the warm-up (the first line) memory goes from {first:,.1f} to {last:,.1f} MiB, "
            f"by {middle:+.1f} MiB an hour (95 % interval {low:+.1f} to {high:+.1f}).",
        ]
    )


def _cells(part: Sequence[Sample]) -> list[str]:
    """A line: medians over samples, and the largest p99 of one."""
    p50, p99, rss = (np.array([getattr(one, n) for one in part]) for n in ("p50", "p99", "rss"))
    minutes = f"{(part[0].at - EVERY) / 60:.1f} to {part[-1].at / 60:.1f}"
    counts = (f"{sum(getattr(one, n) for one in part):,}" for n in ("requests", "errors"))
    times = (np.nanmedian(p50), np.nanmedian(p99), np.nanmax(p99))
    return [minutes, *counts, *(f"{v:.1f}" for v in times), f"{np.median(rss):,.1f}"]


def write(samples: Sequence[Sample], out: Path) -> None:
    with out.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow([one.name for one in fields(Sample)])
        for sample in samples:
            lines.writerow(
                [f"{v:.3f}" if isinstance(v, float) else int(v) for v in asdict(sample).values()]
            )


def read(path: Path) -> list[Sample]:
    with path.open(newline="") as file:
        return [
            Sample(
                at=float(row["at"]),
                warm=row["warm"] == "1",
                rss=float(row["rss"]),
                requests=int(row["requests"]),
                errors=int(row["errors"]),
                p50=float(row["p50"]),
                p99=float(row["p99"]),
            )
            for row in csv.DictReader(file)
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--warm", type=float, help="Minutes of it; a fifth, and six at most.")
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--bound", type=float, default=BOUND, help="MiB an hour.")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path, help="Of this file, and nothing else.")
    parser.add_argument("--place", default=tempfile.gettempdir(), help="Where events are kept.")
    asked = parser.parse_args()
    if asked.table is not None:
        print(table(read(asked.table)))
        return
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    warm = min(6.0, asked.minutes / 5) if asked.warm is None else asked.warm
    plan = Plan(60 * asked.minutes, 60 * warm, asked.rate)
    with tempfile.TemporaryDirectory(dir=asked.place) as place:
        running = Server(asked.items, place, cores[0])
        try:
            traffic = Traffic(asked.items)
            samples, failed = asyncio.run(soaked(running.port, traffic, plan, running.rss))
        finally:
            running.stop()
    if asked.out is not None:
        write(samples, asked.out)
    print(f"cores {cores}, load {os.getloadavg()[0]:.1f}\n{table(samples)}")
    for what, count in failed.most_common(10):
        print(f"{count:,} times {what}", file=sys.stderr)
    upper = growth(samples)[2]
    within = upper <= asked.bound
    if not within:
        print(f"{upper:+.1f} MiB an hour: more than {asked.bound:.1f}", file=sys.stderr)
    sys.exit(bool(failed) or not within)


if __name__ == "__main__":
    main()
