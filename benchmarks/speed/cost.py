"""The cost study's figures: ratios of what the rounds took, the rows that are kept, the limits."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.speed.clock import median, ratio
from isthmus.bench.rows import Row, read_rows, write_rows

DOMAINS = (5, 6, 10, 20, 40, 60)
FEW, MOST = 6, 60  # the limits are on the time at 60 domains over that at 6
LIMITS = {"star": 1.5, "ple": 1.5, "mmoe": 1.5, "pepnet": 1.5, "aread": 1.3}
ISOLATED = "isolated"  # one model a domain: counted, never timed
COLUMNS = (
    "model",
    "domains",
    "parameters",
    "cpu_s_per_1000_rows",
    "ratio_to_5",
    "ratio_to_6",
    "ratio_to_6_low",
    "ratio_to_6_high",
    "rounds",
)
"""Of a model and a number of domains. Ratios are of times: medians of the ratios of each round,
``low`` and ``high`` their ends. Times and ratios are empty where nothing was timed."""

Seconds = Mapping[int, Sequence[float]]
"""By number of domains: CPU seconds of 1,000 rows in each round."""


def rows_of(model: str, parameters: Mapping[int, int], seconds: Seconds) -> list[Row]:
    """The rows of one model."""
    rows = []
    for domains, number in parameters.items():
        row = {"model": model, "domains": str(domains), "parameters": str(number)}
        if times := list(seconds.get(domains, ())):
            row |= {"cpu_s_per_1000_rows": f"{median(times):.5f}", "rounds": str(len(times))}
            row |= _ratios(times, seconds)
        rows.append(row)
    return rows


def _ratios(times: list[float], seconds: Seconds) -> Row:
    found = {
        f"ratio_to_{base}": f"{ratio(times, list(seconds[base])):.3f}"
        for base in (5, FEW)
        if base in seconds
    }
    if FEW in seconds:
        each = [above / below for above, below in zip(times, seconds[FEW], strict=True)]
        found |= {"ratio_to_6_low": f"{min(each):.3f}", "ratio_to_6_high": f"{max(each):.3f}"}
    return found


def merged(old: Iterable[Row], new: Iterable[Row]) -> list[Row]:
    """The old rows, those of models measured anew replaced; by model, then number of domains."""
    fresh = list(new)
    again = {row["model"] for row in fresh}
    kept = [row for row in old if row["model"] not in again]
    return sorted(kept + fresh, key=lambda row: (row["model"], int(row["domains"])))


def over_limit(rows: Iterable[Row]) -> list[str]:
    """What is said of each model whose time at 60 domains over that at 6 exceeds its limit."""
    return [
        f"{row['model']}: {row['ratio_to_6']} times the time of {FEW} domains at {MOST}; "
        f"at most {LIMITS[row['model']]}"
        for row in rows
        if row["model"] in LIMITS
        and int(row["domains"]) == MOST
        and float(row["ratio_to_6"]) > LIMITS[row["model"]]
    ]


def read(file: Path) -> list[Row]:
    return read_rows(file)


def write(file: Path, rows: Sequence[Row]) -> None:
    write_rows(file, rows, COLUMNS)
