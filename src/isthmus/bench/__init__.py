"""Benchmarks: settings searched with equal budget, models x seeds run, one row a finished run."""

from isthmus.bench.config import BenchConfig, Entry, Grid, TuneConfig, read
from isthmus.bench.measure import Choice, bench
from isthmus.bench.rows import COLUMNS, METRICS, beside, read_rows, write_rows
from isthmus.bench.tuning import best, tune

__all__ = [
    "COLUMNS",
    "METRICS",
    "BenchConfig",
    "Choice",
    "Entry",
    "Grid",
    "TuneConfig",
    "bench",
    "beside",
    "best",
    "read",
    "read_rows",
    "tune",
    "write_rows",
]
