"""How fast AREAD trains, searches, scores and is fed, against a plain version of itself.

    python benchmarks/speed/aread.py [--rounds 5] [--quick]

Reads ``synth_ctr`` under ``ISTHMUS_DATA`` (default ``../shared/data``). One thread; times are process
CPU seconds of this process; both sides take turns in every round. Writes
``benchmarks/results/speed.json`` and ``docs/speed.md``.
"""

import argparse
import json
import os
import platform
import sys
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}  # before torch is loaded
ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import torch  # noqa: E402  the thread settings come first

from benchmarks.speed import cases, workload  # noqa: E402
from benchmarks.speed.clock import median, ratio  # noqa: E402
from benchmarks.speed.table import Line, markdown, text  # noqa: E402
from isthmus.models.hemp import STEPS_A_DOMAIN, SearchConfig  # noqa: E402

PLAIN_DOMAINS = [2, 14]  # ids of a large domain and of one with few rows
DOMAINS = 25


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5, help="rounds of the short cases")
    options.add_argument("--search-rounds", type=int, default=2)
    chosen = options.parse_args()
    torch.set_num_threads(1)
    rows = workload.read()
    lines, seconds = measure(rows, chosen.rounds, chosen.search_rounds)
    print(text(lines))
    write(lines, seconds)


def measure(
    rows: dict[str, workload.Impressions], rounds: int, search_rounds: int
) -> tuple[list[Line], dict[str, cases.Seconds]]:
    """All cases, and the lines of the table that follow from them."""
    seconds: dict[str, cases.Seconds] = {}
    train = rows["train"]
    seconds["training"] = cases.training(train, rounds)
    seconds["embedding"] = cases.embedding(train, rounds)
    seconds["domains"] = cases.domains(train, rounds)
    seconds["feeding"] = cases.feeding(rows, rounds)
    seconds["scoring"] = cases.scoring(rows["test"], rounds)
    for number in (9, 10):
        plain = PLAIN_DOMAINS if number == 9 else []
        seconds[f"search of {number}"] = cases.search(rows, search_rounds, number, plain)
    seconds["default search"] = cases.default_search(rows, search_rounds)
    return lines_of(seconds, rows), seconds


def lines_of(
    seconds: dict[str, cases.Seconds], rows: dict[str, workload.Impressions]
) -> list[Line]:
    """The table's lines: figure, target, plain side, and what was published."""
    step, table = seconds["training"], seconds["embedding"]
    spread, feed, score = seconds["domains"], seconds["feeding"]["ours"], seconds["scoring"]
    nine, ten = seconds["search of 9"], seconds["search of 10"]["ours"]
    plain_search = DOMAINS * sum(median(nine[f"plain {d}"]) for d in PLAIN_DOMAINS)
    plain_search /= len(PLAIN_DOMAINS)
    every = STEPS_A_DOMAIN * DOMAINS * median(step["ours 0.32M"])
    found = median(seconds["default search"]["ours"])
    rate = "{:,.0f}".format
    rounds, batch = "{:.2f}".format, cases.BATCH
    return [
        Line.rates(
            "masked training step, table of 0.32M, rows / CPU-s",
            batch,
            step,
            "0.32M",
            10_000,
            "1,600 to 1,740",
        ),
        Line.rates(
            "masked training step, table of 1.6M, rows / CPU-s", batch, step, "1.6M", 9_000, "490"
        ),
        Line(
            "step at 1.6M over 0.32M, time",
            rounds(ratio(step["ours 1.6M"], step["ours 0.32M"])),
            "<= 1.10",
            rounds(ratio(step["plain 1.6M"], step["plain 0.32M"])),
            "",
            "3.3",
        ),
        Line.times(
            "embedding update of 1024 x 14 ids, table of 0.32M, ms",
            1e3,
            table,
            "0.32M",
            "<= 10",
            "333",
        ),
        Line.times(
            "embedding update of 1024 x 14 ids, table of 1.6M, ms",
            1e3,
            table,
            "1.6M",
            "<= 10",
            "1,778",
        ),
        Line(
            "mask search, 25 domains x 9 candidates x (5 + 5) batches of 1024, CPU-s",
            f"{median(nine['ours']):.1f}",
            "<= 45",
            f"{plain_search:.0f}",
            f"{plain_search / median(nine['ours']):.0f}x",
            "967",
        ),
        Line("mask search, 10 candidates, CPU-s", f"{median(ten):.1f}", "<= 45", "", "", ""),
        Line(
            f"mask search at the default settings ({_settings()}), CPU-s",
            f"{found:.1f}",
            "",
            "",
            "",
            "",
        ),
        Line(
            f"its share of training time at the default schedule (every {STEPS_A_DOMAIN * DOMAINS} steps)",
            f"{found / (found + every):.1%}",
            "<= 20%",
            "",
            "",
            "44% to 45%",
        ),
        Line(
            "step at 60 domains over 6, AREAD, time",
            rounds(ratio(spread["aread 60"], spread["aread 6"])),
            "<= 1.30",
            "",
            "",
            "",
        ),
        Line(
            "step at 60 domains over 6, MMoE, time",
            rounds(ratio(spread["mmoe 60"], spread["mmoe 6"])),
            "<= 1.50",
            "",
            "",
            "10.7 (3 to 30, another library)",
        ),
        Line(
            "shuffled feed, rows / CPU-s",
            rate(len(rows["train"]) / median(feed)),
            ">= 2,000,000",
            "",
            "",
            "40,000 to 225,000 (loaders)",
        ),
        Line.scores("scoring, batches of 1024, rows / CPU-s", score, "ours 1024"),
        Line.scores("scoring, batches of 4096, rows / CPU-s", score, "ours 4096"),
    ]


def _settings() -> str:
    c = SearchConfig()
    return f"{c.candidates} candidates, {c.updates} + {c.scorings} batches of {c.batch_size}"


def write(lines: list[Line], seconds: dict[str, cases.Seconds]) -> None:
    machine = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    results = ROOT / "benchmarks" / "results"
    results.mkdir(exist_ok=True)
    stored = {"machine": machine, "lines": [vars(line) for line in lines], "seconds": seconds}
    (results / "speed.json").write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    page = markdown(lines, machine)
    (ROOT / "docs" / "speed.md").write_text(page, encoding="utf-8")


def processor() -> str:
    info = Path("/proc/cpuinfo")
    names = info.read_text().splitlines() if info.exists() else []
    found = [line.split(":", 1)[1].strip() for line in names if line.startswith("model name")]
    return found[0] if found else platform.processor()


if __name__ == "__main__":
    main()
