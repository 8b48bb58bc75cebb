"""What a step of training costs two processes together, against one: time, rate, bytes sent.

    python benchmarks/speed/distributed.py [--rounds 7] [--steps 3]

Both run on this machine, joined by gloo, with one thread each. Rows are random, of eight id fields
and a history of five items, 322,000 ids in all, drawn evenly in the logarithm of their rank, over 25
domains. A batch is of both together. A round is so many steps of one process alone, while the other
waits, then as many of both: the figures are medians over rounds. CPU is added up over processes; the
clock is that of a machine which may do other things. Bytes are what a process hands to the other.
Writes ``benchmarks/results/distributed.csv``, and prints the table of ``docs/scale-out.md``.
"""

import argparse
import csv
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}  # before torch is loaded
ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import torch  # noqa: E402  the thread settings come first
import torch.distributed as dist  # noqa: E402
import torch.multiprocessing as mp  # noqa: E402

from benchmarks.speed import workload  # noqa: E402
from isthmus import distributed  # noqa: E402
from isthmus.batch import Impressions  # noqa: E402
from isthmus.meeting import group  # noqa: E402
from isthmus.optim import update  # noqa: E402
from isthmus.training.fit import TrainConfig, make_optimizer  # noqa: E402

PROCESSES = 2
CASES = [("aread", 1024), ("aread", 8192), ("mmoe", 1024), ("mmoe", 8192)]
KINDS = ("dense", "sparse", "statistics", "words")
HEAD = ["model", "batch", "processes", "cpu_ms_a_step", "rows_a_cpu_second", "rows_a_second"]
HEAD += [f"{kind}_bytes_a_step" for kind in KINDS]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--steps", type=int, default=3)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        meeting, answer = Path(folder, "meeting"), Path(folder, "answer")
        mp.spawn(_process, (str(meeting), str(answer), chosen), nprocs=PROCESSES)
        rows = [line.split(",") for line in answer.read_text().splitlines()]
    with (ROOT / "benchmarks" / "results" / "distributed.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([HEAD, *rows])
    print(
        "| model | batch | processes | CPU a step, ms | rows a CPU-second | rows a second |", end=""
    )
    print(
        " dense, kB | rows of tables, kB | statistics, kB |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|"
    )
    for model, batch, processes, *speed, dense, sparse, statistics, _ in rows:
        sent = (f"{int(value) / 1e3:,.0f}" for value in (dense, sparse, statistics))
        print(f"| {' | '.join([model, batch, processes, *speed, *sent])} |")


def _process(rank: int, meeting: str, answer: str, chosen: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    with group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=PROCESSES):
        lines = _lines(rank, chosen)
    if rank == 0:
        Path(answer).write_text("\n".join(lines) + "\n")


def _lines(rank: int, chosen: argparse.Namespace) -> list[str]:
    return [line for model, batch in CASES for line in _case(model, batch, rank, chosen)]


def _case(model: str, batch: int, rank: int, chosen: argparse.Namespace) -> list[str]:
    alone, both = (_Side(model, batch) for _ in range(2))
    found: dict[int, list[tuple[float, float]]] = {1: [], PROCESSES: []}
    for _ in range(chosen.rounds + 1):  # the first one warms up
        if rank == 0:
            with distributed.apart():
                found[1].append(alone.timed(chosen.steps))
        dist.barrier()
        distributed.sent.clear()
        cpu, clock = both.timed(chosen.steps)
        sent = {kind: distributed.sent[kind] // chosen.steps for kind in KINDS}
        found[PROCESSES].append((sum(distributed.everyones(cpu)), clock))
    lines = []
    for processes, times in found.items():
        if rank == 0:
            cpu, clock = (median(values) for values in zip(*times[1:], strict=True))
            cells: list[Any] = [model, batch, processes, f"{1000 * cpu:.1f}"]
            cells += [round(batch / cpu), round(batch / clock)]
            cells += [sent[kind] if processes > 1 else 0 for kind in KINDS]
            lines.append(",".join(map(str, cells)))
    return lines


class _Side:
    """A model in training, and the batches that it is given."""

    def __init__(self, name: str, batch: int) -> None:
        self.schema = workload.schema()
        self.model: Any = workload.model(name, self.schema).train()
        self.optimizer = make_optimizer(self.model, TrainConfig())
        self.batches = self._endless(batch)

    def timed(self, steps: int) -> tuple[float, float]:
        """CPU and clock seconds of a step."""
        batches = [next(self.batches) for _ in range(steps)]
        cpu, clock = time.process_time(), time.perf_counter()
        for batch in batches:
            update(self.optimizer, self.model.losses(batch[distributed.take(len(batch))]))
        return (time.process_time() - cpu) / steps, (time.perf_counter() - clock) / steps

    def _endless(self, batch: int) -> Iterator[Impressions]:
        rng = torch.Generator().manual_seed(0)
        sizes = torch.tensor([f.size for f in self.schema.features for _ in range(f.length)])
        while True:
            height = torch.rand(batch, len(sizes), generator=rng, dtype=torch.float64)
            features = ((height * (sizes - 1).log()).exp().long()).clamp(min=1)
            domain = torch.randint(1, self.schema.num_domains + 1, (batch,), generator=rng)
            yield Impressions(features, domain, torch.randint(2, (batch,), generator=rng).float())


if __name__ == "__main__":
    main()
