"""The CSV files of a benchmark: committed, whole or absent, one line a finished piece of work."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from isthmus.files import write_atomically

Row = dict[str, str]

METRICS = ("auc", "domain_auc", "macro_auc", "major5", "minor10", "minor5", "worst_auc")
COLUMNS = (
    "data",
    "label",
    "model",
    "scope",
    "seed",
    *METRICS,
    "worst_domain",
    "logloss",
    "ece",
    "epochs",
    "best_epoch",
    "parameters",
    "cpu_seconds",
    "run",
)
TRIALS = (
    "data",
    "label",
    "study",
    "trial",
    "lr",
    "batch_size",
    "weight_decay",
    "embedding_l2",
    "metric",
    "valid",
    "epochs",
    "rows",
    "cpu_seconds",
    "note",
)
"""Of a trial: the settings tried; ``valid``, empty where training failed (``note`` says how)."""


def read_rows(file: Path) -> list[Row]:
    """All rows; none where there is no file."""
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def write_rows(file: Path, rows: Sequence[Row], columns: Sequence[str] = COLUMNS) -> None:
    """Write all rows, in place of what was there; a column that a row lacks stays empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(file, text.getvalue().encode())
