"""What it costs to leave training rows in their file: rate beside rows in memory, and flat memory.

    python benchmarks/speed/stream.py [--data prepared/complete_journey_ctr] [--rounds 3] [--rows 20000000]

One thread computes, one reads. Both sides take turns in every round; a round is as many rows as a row
group has, so that each side reads one group (or none) a round. Ratios are medians over rounds. For
memory a file of random rows is written once to ``--scratch``, and fed by a process of its own.
Writes ``benchmarks/results/stream.csv`` and prints the table of ``docs/larger-than-memory.md``.
"""

import argparse
import csv
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}  # before torch is loaded
ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import numpy as np  # noqa: E402  the thread settings come first
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
import torch  # noqa: E402

from isthmus.data.feed import Feed  # noqa: E402
from isthmus.data.prepared import Count, Manifest, Prepared  # noqa: E402
from isthmus.data.stream import Stream  # noqa: E402
from isthmus.models import get  # noqa: E402
from isthmus.optim import update  # noqa: E402
from isthmus.schema import Feature, Schema  # noqa: E402
from isthmus.training.fit import STREAM_WINDOW, TrainConfig, make_optimizer  # noqa: E402

GROUP, BATCH, SEARCHLESS = 2**18, 1024, {"search": {"enabled": False}}
Seconds = dict[str, list[tuple[float, float]]]
"""By side, of each round the seconds of CPU and of the clock."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, default=ROOT / "prepared" / "complete_journey_ctr")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--rows", type=int, default=20_000_000)
    options.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()) / "stream")
    options.add_argument("--watch", type=Path, help="only feed this file, and print memory")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    if chosen.watch:
        watch(chosen.watch, chosen.rows)
        return
    lines = rates(Prepared.open(chosen.data, verify=False), chosen.rounds)
    lines += memory(chosen.scratch, chosen.rows)
    with (ROOT / "benchmarks" / "results" / "stream.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["what", "in memory", "streamed", "ratio"])
        table.writerows(lines)
    print("| | in memory | streamed | streamed / in memory |\n|---|--:|--:|--:|")
    for line in lines:
        print(f"| {' | '.join(line)} |")


def rates(prepared: Prepared, rounds: int) -> list[list[str]]:
    """Lines of rows a second: of the feed alone, and of training."""
    kinds: dict[str, dict[str, object] | None] = {
        "feed alone": None,
        "mmoe": {},
        "aread": SEARCHLESS,
    }
    lines = []
    for name, settings in kinds.items():
        sides = {
            side: _taken(_steps(name, settings, prepared, side)) for side in ("memory", "stream")
        }
        seconds = _in_turns(sides, rounds if settings is not None else 3 * rounds)
        for place, unit in enumerate(("CPU-second", "second")):
            spent = {side: [pair[place] for pair in pairs] for side, pairs in seconds.items()}
            ratio = statistics.median(
                m / s for m, s in zip(spent["memory"], spent["stream"], strict=True)
            )
            rate = [f"{GROUP / statistics.median(spent[s]):,.0f}" for s in ("memory", "stream")]
            lines.append([f"{name}: rows a {unit}", *rate, f"{ratio:.3f}"])
            print(*lines[-1], sep="  ", flush=True)
    return lines


def _steps(
    name: str, settings: dict[str, object] | None, prepared: Prepared, side: str
) -> Iterator[None]:
    """Epoch after epoch, a batch at a time; without settings nothing is trained."""
    streams = side == "stream"
    rows = (
        Stream(prepared, "train", seed=0, window=GROUP)
        if streams
        else prepared.impressions("train")
    )
    feed = Feed(rows, batch_size=BATCH, seed=0, valid=prepared.impressions("valid"))
    batches = (batch for n in itertools.count() for batch in feed.epoch(n).shuffled())
    if settings is None:
        yield from (None for _ in batches)
    torch.manual_seed(0)
    cls = get(name)
    model = cls(cls.Config.model_validate(settings), prepared.schema)
    optimizer = make_optimizer(model, TrainConfig())
    for batch in batches:
        update(optimizer, model.losses(batch))
        yield


def _taken(steps: Iterator[None]) -> Callable[[int], object]:
    return lambda number: list(itertools.islice(steps, number))


def _in_turns(sides: dict[str, Callable[[int], object]], rounds: int) -> Seconds:
    seconds: Seconds = {name: [] for name in sides}
    for work in sides.values():
        work(8)
    for _ in range(rounds):
        for name, work in sides.items():
            cpu, wall = time.process_time(), time.perf_counter()
            work(GROUP // BATCH)
            seconds[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    return seconds


# --- memory


def memory(scratch: Path, rows: int) -> list[list[str]]:
    """Lines of the memory of a process that feeds so many rows, and of its rate."""
    if not (scratch / f"{rows}.done").exists():
        _write(scratch, rows)
    command = [sys.executable, __file__, "--watch", str(scratch), "--rows", str(rows)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    before, least, most, last, rate = told.split()
    schema = _schema()
    whole = rows * (8 * schema.num_columns + 12) / 2**20
    kind = f"feed of {rows:,} rows"
    return [
        [f"{kind}: MB of rows in memory", f"{whole:,.0f}", f"{_window(schema):,.0f}", ""],
        [f"{kind}: MB of the process before it, then least, most, at the end", "", f"{before}, then {least}, {most}, {last}", ""],
        [f"{kind}: rows a CPU-second", "", rate, ""],
    ]  # fmt: skip


def _window(schema: Schema) -> float:
    """MB of two windows."""
    return 2 * STREAM_WINDOW * (4 * schema.num_columns + 5) / 2**20


def watch(scratch: Path, rows: int) -> None:
    """Feed one epoch; print the resident MB before and after windows but the first; rows a CPU-second."""
    before = _resident()
    source = Stream(_prepared(scratch, rows), "train", seed=0, window=STREAM_WINDOW)
    started, fed, seen = time.process_time(), 0, []
    for number, batch in enumerate(source.batches(0, BATCH), 1):
        fed += len(batch)
        if number % (STREAM_WINDOW // BATCH) == 0:
            seen.append(_resident())
    assert fed == rows
    rate = rows / (time.process_time() - started)
    after = seen[1:]
    print(f"{before:,.0f} {min(after):,.0f} {max(after):,.0f} {after[-1]:,.0f} {rate:,.0f}")


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


def _schema() -> Schema:
    sizes = {"user": 10**6, "item": 10**5, "brand": 10**4, "city": 400, "price": 12, "hour": 24}
    ids = [Feature(name=name, size=size + 1) for name, size in sizes.items()]
    recent = Feature(name="recent", kind="history", size=10**5 + 1, table="item", length=5)
    return Schema(features=(*ids, recent), domains=tuple(map(str, range(30))))


def _prepared(scratch: Path, rows: int) -> Prepared:
    counts = {"train": {"0": Count(rows=rows, positives=0)}}
    return Prepared(scratch, Manifest.model_construct(data_schema=_schema(), splits=counts), "")


def _write(scratch: Path, rows: int) -> None:
    """Random rows, in row groups and of types as a preparation writes them."""
    scratch.mkdir(parents=True, exist_ok=True)
    schema, rng = _schema(), np.random.default_rng(0)
    writer = None
    for first in range(0, rows, GROUP):
        number = min(GROUP, rows - first)
        columns = {
            "domain": pa.array(rng.integers(1, 31, number), pa.int32()),
            "label": pa.array(rng.integers(0, 2, number), pa.int8()),
        }
        for feature in schema.features:
            ids = rng.integers(1, feature.size, number * feature.length, dtype=np.int32)
            flat = pa.array(ids)
            history = feature.kind == "history"
            columns[feature.name] = (
                pa.FixedSizeListArray.from_arrays(flat, feature.length) if history else flat
            )
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(
            scratch / "train.parquet", table.schema, compression="zstd", use_dictionary=False
        )
        writer.write_table(table, row_group_size=GROUP)
    assert writer is not None
    writer.close()
    (scratch / f"{rows}.done").touch()


if __name__ == "__main__":
    main()
