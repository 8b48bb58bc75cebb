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
ROUNDED = "{:.2f}".format


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
    return [
        *_steps(seconds["training"], seconds["embedding"]),
        *_searches(seconds),
        *_domains(seconds["domains"]),
        *_passes(len(rows["train"]), seconds["feeding"]["ours"], seconds["scoring"]),
    ]


def _steps(step: cases.Seconds, table: cases.Seconds) -> list[Line]:
    what, batch = "masked training step, table of {}, rows / CPU-s", cases.BATCH
    update = "embedding update of 1024 x 14 ids, table of {}, ms"
    grows = [ROUNDED(ratio(step[f"{s} 1.6M"], step[f"{s} 0.32M"])) for s in ("ours", "plain")]
    small, large = "0.32M", "1.6M"
    return [
        Line.rates(what.format(small), batch, step, small, 10_000, "1,600 to 1,740"),
        Line.rates(what.format(large), batch, step, large, 9_000, "490"),
        Line("step at 1.6M over 0.32M, time", grows[0], "<= 1.10", grows[1], published="3.3"),
        Line.times(update.format(small), 1e3, table, small, "<= 10", "333"),
        Line.times(update.format(large), 1e3, table, large, "<= 10", "1,778"),
    ]


def _searches(seconds: dict[str, cases.Seconds]) -> list[Line]:
    nine = seconds["search of 9"]
    ours, ten = median(nine["ours"]), median(seconds["search of 10"]["ours"])
    plain = DOMAINS * sum(median(nine[f"plain {d}"]) for d in PLAIN_DOMAINS) / len(PLAIN_DOMAINS)
    found = median(seconds["default search"]["ours"])
    every = STEPS_A_DOMAIN * DOMAINS
    share = found / (found + every * median(seconds["training"]["ours 0.32M"]))
    what = "mask search, 25 domains x 9 candidates x (5 + 5) batches of 1024, CPU-s"
    usual = f"mask search at the default settings ({_settings()}), CPU-s"
    part = f"its share of training time at the default schedule (every {every} steps)"
    return [
        Line(what, f"{ours:.1f}", "<= 45", f"{plain:.0f}", f"{plain / ours:.0f}x", "967"),
        Line("mask search, 10 candidates, CPU-s", f"{ten:.1f}", "<= 45"),
        Line(usual, f"{found:.1f}"),
        Line(part, f"{share:.1%}", "<= 20%", published="44% to 45%"),
    ]


def _domains(spread: cases.Seconds) -> list[Line]:
    aread, mmoe = (ROUNDED(ratio(spread[f"{n} 60"], spread[f"{n} 6"])) for n in ("aread", "mmoe"))
    known = "10.7 (3 to 30, another library)"
    return [
        Line("step at 60 domains over 6, AREAD, time", aread, "<= 1.30"),
        Line("step at 60 domains over 6, MMoE, time", mmoe, "<= 1.50", published=known),
    ]


def _passes(rows: int, feed: list[float], score: cases.Seconds) -> list[Line]:
    fed, known = f"{rows / median(feed):,.0f}", "40,000 to 225,000 (loaders)"
    return [
        Line("shuffled feed, rows / CPU-s", fed, ">= 2,000,000", published=known),
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
