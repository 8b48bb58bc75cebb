"""Prepare synthetic rows in a child process: seconds, CPU seconds and peak memory.

    python benchmarks/prepare/run.py --rows 20000000 --memory 2GB [--folder DIR]

The rows are made once a folder, in parts of a million, in no order of time.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

PART = 1_000_000


def part(number: int, rows: int, of: int) -> pa.Table:
    """Rows of users and items with long tails; a number, six more ids, and 30 domains."""
    draw = np.random.default_rng([7, number])
    item = (draw.pareto(0.8, rows) * 40).astype(np.int64) % 200_000
    return pa.table(
        {
            "user": (draw.pareto(0.9, rows) * 5_000).astype(np.int64) % (of // 10),
            "item": item,
            "domain": pa.array([f"shop {d}" for d in range(30)]).take(pa.array(item % 30)),
            "label": (draw.random(rows) < 0.1 + 0.2 * (item % 7 == 0)).astype(np.int8),
            "time": 1_600_000_000 + draw.integers(0, 180 * 86_400, rows),
            "brand": item % 6_007,
            "category": item % 307,
            "city": draw.integers(0, 400, rows),
            "device": draw.integers(0, 12, rows),
            "hour": draw.integers(0, 24, rows),
            "slot": draw.integers(0, 5, rows),
            "price": np.round(draw.lognormal(3, 1, rows), 2),
        }
    )


def make(folder: Path, rows: int) -> None:
    """The raw files, unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(-(-rows // PART)):
        file = folder / f"part{number:03}.parquet"
        if not file.exists():
            pq.write_table(part(number, min(PART, rows - number * PART), rows), file)


def child(folder: Path, memory: str) -> None:
    """The preparation itself."""
    from isthmus.data.config import Columns, FeatureConfig, PrepareConfig
    from isthmus.data.prepare import prepare
    from isthmus.progress import ConsoleReporter

    ids = ("brand", "category", "city", "device", "hour", "slot")
    config = PrepareConfig(
        name="bench",
        files=(str(folder / "part*.parquet"),),
        columns=Columns(user="user", item="item", domain="domain", label="label", time="time"),
        features=(
            FeatureConfig(name="user_id", column="user", role="user"),
            FeatureConfig(name="item_id", column="item", role="item", min_count=2),
            *(FeatureConfig(name=name) for name in ids),
            FeatureConfig(name="price", kind="number", bins=10, role="item"),
            FeatureConfig(name="history", kind="history", of="item_id", length=5, role="user"),
        ),
        memory=memory,
    )
    prepare(config, folder / "prepared", reporter=ConsoleReporter())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--memory", default="2GB")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--child", action="store_true")
    asked = parser.parse_args()
    folder = asked.folder or Path(tempfile.gettempdir()) / f"isthmus-prepare-{asked.rows}"
    if asked.child:
        child(folder, asked.memory)
        return
    make(folder, asked.rows)
    start = time.perf_counter()
    command = [sys.executable, __file__, "--child", "--memory", asked.memory, "--folder", folder]
    done = subprocess.run(command, check=False, env=os.environ)
    seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"{asked.rows:,} rows, memory = {asked.memory}: {seconds:.0f} s, "
        f"{used.ru_utime + used.ru_stime:.0f} CPU s, peak {used.ru_maxrss / 2**20:.2f} GiB, "
        f"exit {done.returncode}"
    )
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
