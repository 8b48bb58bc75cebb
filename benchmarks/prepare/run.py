"""Prepare synthetic rows in a child process: seconds, CPU seconds, peak memory and disk.

    python benchmarks/prepare/run.py --rows 100000000 --memory 4GB [--engine spark] [--folder DIR]

The rows are made once a folder, in parts of a million, in no order of time; making them is not
counted. Several engines (``--engine duckdb spark``) take turns, ``--repeats`` times. A line each
goes to ``benchmarks/results/prepare.csv`` with ``--save``.
"""

import argparse
import csv
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measure import Used, disk, measured

PART = 1_000_000
RESULTS = Path(__file__).parent.parent / "results" / "prepare.csv"
GIB = 2**30


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


def child(folder: Path, out: Path, engine: str, memory: str) -> None:
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
        engine=engine,
        memory=memory,
    )
    prepare(config, out, reporter=ConsoleReporter())


def one(asked: argparse.Namespace, folder: Path, engine: str) -> dict[str, object]:
    """A line of figures about one preparation."""
    out = Path(tempfile.mkdtemp(dir=folder, prefix=f"{engine}-"))
    command = [sys.executable, __file__, "--child", "--rows", str(asked.rows)]
    command += ["--memory", asked.memory, "--engine", engine]
    used = measured([*command, "--folder", str(folder), "--out", str(out / "prepared")], out)
    line = figures(asked, engine, used, folder, out)
    shutil.rmtree(out)
    print(", ".join(f"{name} {value}" for name, value in line.items()), flush=True)
    if used.code:
        sys.exit(used.code)
    return line


def figures(
    asked: argparse.Namespace, engine: str, used: Used, folder: Path, out: Path
) -> dict[str, object]:
    raw = sum(file.stat().st_size for file in folder.glob("part*.parquet"))
    left = disk(out)
    return {
        "engine": engine,
        "rows": asked.rows,
        "memory": asked.memory,
        "seconds": round(used.seconds),
        "cpu_seconds": round(used.cpu_seconds),
        "peak_gib": round(used.peak_memory / GIB, 2),
        "raw_gib": round(raw / GIB, 2),
        "peak_disk_gib": round(used.peak_disk / GIB, 2),
        "prepared_gib": round(left / GIB, 2),
        "cpu_seconds_per_million": round(used.cpu_seconds / asked.rows * 1e6, 2),
        "raw_bytes_per_row": round(raw / asked.rows, 1),
        "peak_disk_bytes_per_row": round(used.peak_disk / asked.rows, 1),
        "prepared_bytes_per_row": round(left / asked.rows, 1),
    }


def save(line: dict[str, object]) -> None:
    new = not RESULTS.exists()
    with RESULTS.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(line), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--memory", default="2GB")
    parser.add_argument("--engine", nargs="+", default=["duckdb"], choices=["duckdb", "spark"])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--save", action="store_true", help=f"add a line to {RESULTS.name}")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    folder = asked.folder or Path(tempfile.gettempdir()) / f"isthmus-prepare-{asked.rows}"
    if asked.child:
        child(folder, asked.out, asked.engine[0], asked.memory)
        return
    make(folder, asked.rows)
    for _ in range(asked.repeats):
        for engine in asked.engine:
            line = one(asked, folder, engine)
            if asked.save:
                save(line)


if __name__ == "__main__":
    main()
