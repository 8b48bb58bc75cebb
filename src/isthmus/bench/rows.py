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
    "valid_auc",
    "valid_domain_auc",
    "valid_logloss",
    "epochs",
    "best_epoch",
    "parameters",
    "lr",
    "batch_size",
    "weight_decay",
    "embedding_l2",
    "trials",
    "train_rows",
    "cpu_seconds",
    "train_rows_per_cpu_s",
    "run",
)
"""Of a run: figures of the test split (``valid_``: of the validation split), its cost, and the
training settings used, found in so many ``trials`` (0: not tuned).

``cpu_seconds`` is training and scoring. ``train_rows_per_cpu_s`` counts each row once an epoch;
empty where what is logged are no epochs over all rows.
"""
RANKED = (
    "ndcg@10",
    "hr@10",
    "mrr",
    "macro_ndcg@10",
    "repeat_ndcg@10",
    "new_ndcg@10",
    "all_ndcg@10",
    "sampled_ndcg@10",
)
_OF_SCORES = {
    *METRICS,
    "worst_domain",
    "logloss",
    "ece",
    "valid_auc",
    "valid_domain_auc",
    "valid_logloss",
}
_AFTER_SEED = COLUMNS.index("seed") + 1
RANK_COLUMNS = (
    *COLUMNS[:_AFTER_SEED],
    *RANKED,
    "cold",
    "valid_ndcg@10",
    *(name for name in COLUMNS[_AFTER_SEED:] if name not in _OF_SCORES),
)
"""Of a retriever's run, where a row in ``COLUMNS`` has AUCs: figures among the items of the item's
domain (``macro_``: mean of domains; ``repeat_``, ``new_``: items that the user had before, or had
not), among all items, and among the sampled ones. ``cold``: test rows of unknown items."""
RANK_DOMAINS = ("data", "label", "seed", "domain", "rows", "cold", "hr@10", "ndcg@10")
"""As ``DOMAINS``, of a retriever's run; empty where there are no rows."""
DOMAINS = ("data", "label", "seed", "domain", "rows", "positives", "auc")
"""Of a run and a domain, on the test split; ``auc`` is empty where it is undefined."""
PAIRS = ("data", "metric", "label", "best", "seeds", "difference", "low", "high", "p", "p_holm")
"""Of a metric and an entry: its difference from the best entry, tested."""
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


def beside(results: Path, what: str) -> Path:
    """The file of the same benchmark that holds something else: NAME.csv, NAME.domains.csv."""
    return results.with_name(f"{results.stem}.{what}.csv")


def by_entry(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each label, in their order."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["label"], []).append(row)
    return found


def read_rows(file: Path) -> list[Row]:
    """All rows; none where there is no file."""
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def of_items(rows: Sequence[Row]) -> bool:
    """Whether these rows are of retrievers."""
    return any(RANKED[0] in row for row in rows)


def write_rows(file: Path, rows: Sequence[Row], columns: Sequence[str] | None = None) -> None:
    """Write all rows, in place of what was there; a column that a row lacks stays empty."""
    if columns is None:
        columns = RANK_COLUMNS if of_items(rows) else COLUMNS
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(file, text.getvalue().encode())
