"""Time of the scorer without HTTP, on one core: ``python -m benchmarks.serve.scorer --out FILE.csv``.

Random weights of the default sizes; each request is of another known user with 50 events, of one
domain of 30, ranks 200 candidates and returns 10. Milliseconds of the thread's own CPU time, which a
busy machine lengthens least: the least, the median and the 99th percentile over requests.
"""

import argparse
import csv
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch

from benchmarks.serve.made import DOMAINS, USERS, pipeline
from isthmus.service import Event, Pipeline, Request

WARM = 20
"""Requests that are not counted."""


@dataclass(frozen=True)
class Line:
    """One size of the catalogue."""

    items: int
    least: float
    p50: float
    p99: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--retriever", default="syncrec")
    parser.add_argument("--ranker", default="aread")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    names = [field.name for field in fields(Line)]
    print(f"| {' | '.join(names)} |\n{'|---:' * len(names)}|")
    lines = []
    for items in asked.items:
        made = pipeline(items, retriever=asked.retriever, ranker=asked.ranker)
        made.warm_up()
        lines.append(asdict(measured(made, items, asked.requests)))
        print(f"| {' | '.join(f'{value:,}' for value in lines[-1].values())} |", flush=True)
    if asked.out is not None:
        with asked.out.open("w", newline="") as file:
            table = csv.DictWriter(file, names, lineterminator="\n")
            table.writeheader()
            table.writerows(lines)


def measured(made: Pipeline, items: int, number: int) -> Line:
    """A line of the table."""
    cpu = []
    for request in requests(items, WARM + number):
        start = time.thread_time_ns()
        made.recommend(request)
        cpu.append((time.thread_time_ns() - start) / 1e6)
    return Line(items, *np.percentile(cpu[WARM:], [0, 50, 99]).round(2).tolist())


def requests(items: int, number: int) -> Iterator[Request]:
    """Requests of users, domains and times at random."""
    draw = np.random.default_rng(1)
    for _ in range(number):
        yield Request(
            user=f"user {draw.integers(USERS)}",
            domains=(f"domain {draw.integers(DOMAINS)}",),
            context={"hour": int(draw.integers(24))},
            history=(Event(item=f"item {draw.integers(items)}"),),
        )


if __name__ == "__main__":
    main()
