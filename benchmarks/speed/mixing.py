"""What a streamed order costs in AUC: windows of few row groups beside rows that are shuffled whole.

    python benchmarks/speed/mixing.py [--data prepared/ci_small_cj_ctr] [--group 8192] [--seeds 3]

The data set is copied with row groups of ``--group`` rows, so that it has some twenty of them, ordered
by time as all prepared data is. Writes ``benchmarks/results/stream_mixing.csv`` and prints the table
of ``docs/larger-than-memory.md``.
"""

import argparse
import csv
import hashlib
import json
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}  # before torch is loaded
ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import pyarrow.parquet as pq  # noqa: E402  the thread settings come first

from isthmus.config import checked  # noqa: E402
from isthmus.experiment import run  # noqa: E402
from isthmus.store import Store  # noqa: E402

EPOCHS = 2


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, default=ROOT / "prepared" / "ci_small_cj_ctr")
    options.add_argument("--group", type=int, default=8192)
    options.add_argument("--seeds", type=int, default=3)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = _regrouped(chosen.data, Path(folder) / "data", chosen.group)
        groups = pq.ParquetFile(data / "train.parquet").metadata.num_row_groups
        lines = [
            _line(data, Path(folder) / "runs", number, chosen.group, range(chosen.seeds))
            for number in (groups, 4, 1, 0)
        ]
    head = ["order", "seeds", "DomainAUC", "least", "most", "log loss"]
    with (ROOT / "benchmarks" / "results" / "stream_mixing.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerows([head, *lines])
    print(f"| {' | '.join(head)} |\n|---|{'--:|' * (len(head) - 1)}")
    for line in lines:
        print(f"| {' | '.join(line)} |")


def _line(data: Path, runs: Path, groups: int, group: int, seeds: range) -> list[str]:
    """Of windows of so many row groups; of none: rows in memory."""
    found = []
    for seed in seeds:
        train = {"max_epochs": EPOCHS, "patience": EPOCHS}
        if groups:
            train |= {"stream": True, "stream_window": groups * group}
        config = checked(
            {"data": str(data), "model": "mlp", "train": train, "seed": seed}, "mixing"
        )
        found.append(run(config, Store(runs)).metrics["test"])
    aucs = [one.domain_auc for one in found]
    loss = statistics.mean(one.overall.logloss for one in found)
    what = f"streamed, {groups} row group{'s' * (groups > 1)} a window" if groups else "in memory"
    figures = [statistics.mean(aucs), min(aucs), max(aucs), loss]
    return [what, str(len(seeds)), *(f"{value:.4f}" for value in figures)]


def _regrouped(source: Path, out: Path, group: int) -> Path:
    """A copy with row groups of so many rows, and a manifest that knows it."""
    shutil.copytree(source, out)
    file, manifest = out / "train.parquet", json.loads((out / "manifest.json").read_text())
    pq.write_table(pq.read_table(file), file, row_group_size=group, use_dictionary=False)
    content = file.read_bytes()
    record = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    manifest["files"][file.name] = record
    (out / "manifest.json").write_text(json.dumps(manifest))
    return out


if __name__ == "__main__":
    main()
