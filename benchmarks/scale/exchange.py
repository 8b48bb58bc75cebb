"""How quickly two processes of one machine exchange bytes: ``python -m benchmarks.scale.exchange``.

``all_to_all_single`` of gloo, as ``isthmus.nn.sharded`` uses it: each process sends half of its numbers
to the other. Writes ``benchmarks/results/exchange.csv``: bytes that one process sent, and those of a
second by the clock (median over rounds).
"""

import csv
import os
import socket
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from isthmus.meeting import group

RESULTS = Path(__file__).parents[1] / "results" / "exchange.csv"
SIZES = (1 << 16, 1 << 20, 1 << 23)
ROUNDS = 40


def _measure(rank: int, port: int) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    with group("gloo", rank=rank, world_size=2):
        rows = [(size, _rate(size)) for size in SIZES]
    if rank == 0:
        with RESULTS.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([("bytes", "bytes_a_second"), *rows])


def _rate(size: int) -> int:
    """Bytes a second, of so many that each process sends the other."""
    sent = torch.ones(2 * size // 4)  # half of it stays
    received = torch.empty_like(sent)
    took = []
    for _ in range(ROUNDS):
        dist.barrier()
        start = time.perf_counter()
        dist.all_to_all_single(received, sent)
        took.append(time.perf_counter() - start)
    return round(size / float(np.median(took)))


def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    mp.spawn(_measure, (port,), nprocs=2)
    print(RESULTS.read_text("utf-8"), end="")


if __name__ == "__main__":
    main()
