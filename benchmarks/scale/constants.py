"""What was measured here, each from the committed rows of the benchmark that measured it."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "results"
_STEP = "masked training step, table of 1.6M, rows / CPU-s"
_SEARCH = "mask search at the default settings (10 candidates, 5 + 5 batches of 512), CPU-s"
_SEARCHED_DOMAINS = 25  # in that benchmark


@dataclass(frozen=True, slots=True)
class Constants:
    """Of one core; seconds are of CPU where it computes, of the clock where it sends."""

    train_rows_a_second: float
    search_seconds_a_domain: float
    prepare_seconds_a_row: float
    prepared_bytes_a_row: float
    exchange_bytes_a_second: float
    process_bytes: float


SOURCES = {
    "train_rows_a_second": (
        "rows of AREAD's training a CPU-second, table of 1.6M rows",
        1,
        0,
        "python benchmarks/speed/aread.py",
    ),
    "search_seconds_a_domain": (
        "CPU-seconds of a mask search a domain",
        1,
        2,
        "python benchmarks/speed/aread.py",
    ),
    "prepare_seconds_a_row": (
        "CPU-seconds to prepare a million rows",
        1e6,
        1,
        "python benchmarks/prepare/run.py --rows 100000000 --memory 4GB",
    ),
    "prepared_bytes_a_row": (
        "bytes of a prepared row on disk",
        1,
        0,
        "python benchmarks/prepare/run.py --rows 100000000 --memory 4GB",
    ),
    "exchange_bytes_a_second": (
        "MB a second that a process sends another on its machine",
        1e-6,
        0,
        "python -m benchmarks.scale.exchange",
    ),
    "process_bytes": (
        "GB of a training process beside its tables (streamed)",
        1e-9,
        2,
        "python benchmarks/speed/stream.py",
    ),
}
"""Of each constant: what it is, its unit on the page, digits, and the command that measures it."""


def measured() -> Constants:
    """From ``benchmarks/results``."""
    lines = json.loads((RESULTS / "speed.json").read_text("utf-8"))["lines"]
    speed = {line["what"]: float(line["ours"].replace(",", "").rstrip("%")) for line in lines}
    prepared = max(
        (row for row in _rows("prepare") if row["engine"] == "duckdb"),
        key=lambda row: int(row["rows"]),
    )
    sent = {int(row["bytes"]): float(row["bytes_a_second"]) for row in _rows("exchange")}
    return Constants(
        train_rows_a_second=speed[_STEP],
        search_seconds_a_domain=speed[_SEARCH] / _SEARCHED_DOMAINS,
        prepare_seconds_a_row=float(prepared["cpu_seconds_per_million"]) / 1e6,
        prepared_bytes_a_row=float(prepared["prepared_bytes_per_row"]),
        exchange_bytes_a_second=min(sent.values()),
        process_bytes=_streaming_megabytes() * 1e6,
    )


def _rows(name: str) -> list[dict[str, str]]:
    with (RESULTS / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _streaming_megabytes() -> float:
    """Of a process that streams 20 million rows, at the end."""
    found = next(row for row in _rows("stream") if "of the process" in row["what"])
    return float(found["streamed"].rsplit(", ", 1)[1])
