"""Latency of the scorer without HTTP, on one core: ``python -m benchmarks.serve.scorer``.

Random weights of the default sizes; each request is of another known user with 50 events, of one
domain of 30, ranks 200 candidates and returns 10. Percentiles are of wall-clock time, the stages'
means too; CPU is the process's own.
"""

import argparse
import time

import numpy as np
import torch

from benchmarks.serve.made import DOMAINS, USERS, pipeline
from isthmus.service import Event, Pipeline, Request

STAGES = ("user", "retrieve", "rank", "reply")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--requests", type=int, default=600)
    parser.add_argument("--retriever", default="syncrec")
    parser.add_argument("--ranker", default="aread")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print("| items | p50 ms | p99 ms | CPU ms | " + " | ".join(STAGES) + " |")
    print("|---" * (4 + len(STAGES)) + "|")
    for items in asked.items:
        made = pipeline(items, retriever=asked.retriever, ranker=asked.ranker)
        made.warm_up()
        print(measured(made, items, asked.requests), flush=True)


def measured(made: Pipeline, items: int, requests: int) -> str:
    """One line of the table."""
    draw = np.random.default_rng(1)
    wall, stages = [], []
    cpu = time.process_time()
    for _ in range(requests):
        start = time.perf_counter()
        reply = made.recommend(
            Request(
                user=f"user {draw.integers(USERS)}",
                domains=(f"domain {draw.integers(DOMAINS)}",),
                context={"hour": int(draw.integers(24))},
                history=(Event(item=f"item {draw.integers(items)}"),),
            )
        )
        wall.append(1000 * (time.perf_counter() - start))
        stages.append([reply.milliseconds[name] for name in STAGES])
    cpu = 1000 * (time.process_time() - cpu) / requests
    middle, late = np.percentile(wall, [50, 99])
    means = " | ".join(f"{value:.2f}" for value in np.mean(stages, 0))
    return f"| {items:,} | {middle:.2f} | {late:.2f} | {cpu:.2f} | {means} |"


if __name__ == "__main__":
    main()
