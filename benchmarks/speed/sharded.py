"""What a step of an embedding table costs two processes, by how they share it: time, bytes, memory.

    python benchmarks/speed/sharded.py [--rows 1000000] [--width 16] [--batch 1024] [--rounds 9]

Both processes run on this machine, joined by gloo. A step looks up 20 ids of each row of a process's
own batch, sums them to a loss, takes gradients and steps the optimiser. Ids are drawn evenly in the
logarithm of their rank: few are met often, most rarely. Three ways:

* replicated: each holds the whole table, gradients' rows are gathered from all, row-wise Adam;
* torch's own: ``nn.Embedding`` parallelised by ``RowwiseParallel``, fused Adam on the shard;
* exchange: ``isthmus.nn.sharded``, row-wise Adam on the shard.

Time is of CPU, a process's, the median over rounds in which the ways take turns, since a clock's on
a busy machine says little. Bytes are those that a process hands to the other in a step. Memory is
of weights, gradient and moments. Writes ``benchmarks/results/sharded.csv``, and prints the table of
``docs/sharded-embeddings.md``.
"""

import argparse
import csv
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}  # before torch is loaded
ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import torch  # noqa: E402  the thread settings come first
import torch.multiprocessing as mp  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.distributed.tensor import DTensor, Shard  # noqa: E402
from torch.distributed.tensor.parallel import RowwiseParallel, parallelize_module  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from benchmarks.speed.clock import interleaved, median, ratio  # noqa: E402
from isthmus import distributed  # noqa: E402
from isthmus.meeting import group  # noqa: E402
from isthmus.nn import EmbeddingTable  # noqa: E402
from isthmus.nn.embedding import own_rows  # noqa: E402
from isthmus.nn.sharded import all_processes, shard_tables  # noqa: E402
from isthmus.optim import RowAdam, update  # noqa: E402

PROCESSES, COLUMNS, STEPS = 2, 20, 3
WAYS = {"replicated": "replicated", "torch": "torch's own", "exchange": "exchange"}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--width", type=int, default=16)
    options.add_argument("--batch", type=int, default=1024)
    options.add_argument("--rounds", type=int, default=9)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        meeting, answer = Path(folder, "meeting"), Path(folder, "answer")
        mp.spawn(_process, (str(meeting), str(answer), chosen), nprocs=PROCESSES)
        lines = [line.split(",") for line in answer.read_text().splitlines()]
    head = ["way", "rows", "width", "batch", "cpu_ms_a_step", "ratio_to_replicated"]
    head += ["kb_sent_a_step", "mb_held"]
    with (ROOT / "benchmarks" / "results" / "sharded.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerows([head, *lines])
    print(
        "| way | CPU a step, ms | of replicated | sent a step, kB | held, MB |\n|---|--:|--:|--:|--:|"
    )
    for way, _, _, _, *figures in lines:
        print(f"| {way} | {' | '.join(figures)} |")


def _process(rank: int, meeting: str, answer: str, chosen: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    with group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=PROCESSES):
        lines = _lines(rank, chosen)
    if rank == 0:
        Path(answer).write_text("\n".join(lines) + "\n")


def _lines(rank: int, chosen: argparse.Namespace) -> list[str]:
    sides = {name: _Side(name, chosen, rank) for name in WAYS}
    sent = {name: _sent(side) for name, side in sides.items()}
    steps: dict[str, Callable[[], object]] = {n: side.step for n, side in sides.items()}
    seconds = interleaved(steps, rounds=chosen.rounds, repeat=dict.fromkeys(WAYS, STEPS))
    lines = []
    for name, called in WAYS.items():
        cells = [called, chosen.rows, chosen.width, chosen.batch]
        cells += [f"{1000 * median(seconds[name]):.2f}"]
        cells += [f"{ratio(seconds[name], seconds['replicated']):.2f}"]
        cells += [f"{sent[name] / 1e3:.0f}", f"{sides[name].held() / 1e6:.0f}"]
        lines.append(",".join(map(str, cells)))
    return lines


class _Side:
    """A table in one of the ways, and its steps."""

    def __init__(self, name: str, chosen: argparse.Namespace, rank: int) -> None:
        torch.manual_seed(0)
        self.chosen, self.mesh = chosen, all_processes()
        self.rng = torch.Generator().manual_seed(rank)
        model = nn.Module()
        model.table = (
            nn.Embedding(chosen.rows, chosen.width)
            if name == "torch"
            else EmbeddingTable(chosen.rows, chosen.width)
        )
        if name == "torch":
            plan = RowwiseParallel(input_layouts=Shard(0), output_layouts=Shard(0))
            parallelize_module(model, self.mesh, {"table": plan})
            self.optimizer: Any = torch.optim.Adam(model.parameters(), fused=True)
        else:
            if name == "exchange":
                shard_tables(model, self.mesh)
            self.optimizer = RowAdam(model.parameters())
        self.table, self.name = model.table, name

    def step(self) -> None:
        ids = self._ids()
        distributed.take(len(ids) * PROCESSES)  # this process's part of a whole batch is half
        rows = self.table(ids)
        losses = {"loss": rows.square().sum(-1).mean()}
        if self.name == "torch":  # whose gradients are summed by the embedding itself
            self.optimizer.zero_grad()
            (losses["loss"] / PROCESSES).backward()
            self.optimizer.step()
        else:
            update(self.optimizer, losses)

    def _ids(self) -> Tensor:
        height = torch.rand(self.chosen.batch, COLUMNS, generator=self.rng, dtype=torch.float64)
        return (height * math.log(self.chosen.rows)).exp().long() - 1

    def held(self) -> int:
        """Bytes of weights, gradient and moments."""
        weight = self.table.weight
        moments = [v for v in self.optimizer.state[weight].values() if v.dim()]
        dense = [own_rows(tensor)[0] for tensor in (weight, *moments)]
        grad = weight.grad
        if grad is not None and grad.is_sparse:
            grad = grad.coalesce()
            dense += [grad.indices(), grad.values()]
        elif grad is not None:
            dense.append(own_rows(grad)[0])
        return sum(tensor.numel() * tensor.element_size() for tensor in dense)


def _sent(side: _Side) -> int:
    """Bytes that this process hands over in a step."""
    side.step()  # the first one makes the moments
    before = sum(distributed.sent.values())
    with _Collectives() as seen:
        side.step()
    return seen.bytes if side.name == "torch" else sum(distributed.sent.values()) - before


class _Collectives(TorchDispatchMode):
    """Counts what torch's own collectives hand to others: of a DTensor's operations, once they are taken apart."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented
        if func.namespace == "_c10d_functional" and (
            "gather" in str(func) or "scatter" in str(func)
        ):
            size = args[0].numel() * args[0].element_size()
            gathers = "all_gather" in str(func)
            self.bytes += size if gathers else size * (PROCESSES - 1) // PROCESSES
        return func(*args, **(kwargs or {}))


if __name__ == "__main__":
    started = time.perf_counter()
    main()
    print(f"{time.perf_counter() - started:.0f} s", file=sys.stderr)
