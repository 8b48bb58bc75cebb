"""How well a transfer map recovers what was planted: way by way, seed by seed.

Run: python benchmarks/transfer_recovery.py            about a minute of one core
     python benchmarks/transfer_recovery.py --masks    AREAD's three ways, beside the committed rows
     python benchmarks/transfer_recovery.py --drawn    docs/transfer.md's tables from the committed rows

Settings were chosen on the seeds 10, 11 and 12, by what gradients recover there.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from isthmus.bench.rows import Row, read_rows, write_rows
from isthmus.config import RunConfig, checked
from isthmus.data.prepare import prepare
from isthmus.data.sources import get
from isthmus.data.sources.synthetic import read_truth
from isthmus.evaluation.mantel import spearman
from isthmus.evaluation.transfer import MEANING, TransferMap, Way
from isthmus.report.markdown import markdown_table
from isthmus.store import Store
from isthmus.transfer import transfer_map

PLANTED = {
    "rows": 14_000, "domains": 6, "clusters": 2, "harmful_pairs": 2, "users": 60, "items": 60,
    "tail": 0.05, "strength": 4.0, "deviation": 0.1,
}  # fmt: skip
TRAIN = {"batch_size": 256, "max_epochs": 6, "patience": 2, "lr": 2e-2}
DEEPFM = {"hidden": [16], "embedding_dim": 8, "dropout": 0.0}
AREAD = {
    "embedding_dim": 8, "dropout": 0.0, "bottom_experts": 2, "bottom_hidden": [16, 8],
    "experts": [3, 6, 6], "expert_hidden": [[8], [8], [8]], "augment": None,
    "search": {"first": 60, "every": 60, "batch_size": 256, "candidates": 4, "updates": 2, "lr": 2e-3, "score_on": "train"},
}  # fmt: skip
RUNS, RUNS_WITH_MASKS = 28, 14
SEEDS, SEED_WITH_MASKS = range(3), 0
RESULTS = Path(__file__).parent / "results" / "transfer_recovery.csv"
PAGE = Path(__file__).parent.parent / "docs" / "transfer.md"
COLUMNS = ("model", "seed", "way", "against", "metric", "runs", "correlation", "p_value", "resolved")  # fmt: skip
"""``correlation`` is Spearman's over ordered pairs of domains, ``p_value`` Mantel's."""
TRUTH = "truth"
_START, _END = "<!-- recovery -->", "<!-- /recovery -->"


def planted(folder: Path, seed: int) -> Path:
    """Prepared rows of six domains; truth.json lies in raw/ beside them."""
    if not (folder / "prepared").exists():
        prepare(get("synthetic")(folder / "raw", seed=seed, **PLANTED), folder / "prepared")
    return folder / "prepared"


def config(data: Path, model: str, seed: int) -> RunConfig:
    """A small model of these rows."""
    settings = {"deepfm": DEEPFM, "aread": AREAD}[model]
    values = {"data": str(data), "model": model, "settings": settings, "train": TRAIN, "seed": seed}
    return checked(values, "benchmark")


def recovered(found: TransferMap, folder: Path) -> dict[Way, float]:
    """Rank correlation of each way's map with what was planted."""
    truth = read_truth(folder / "raw").relation(found.names)
    return {way: spearman(one.values(), truth) for way, one in found.ways.items()}


def ceiling(folder: Path) -> float:
    """The highest correlation that figures without ties can have with planted -1, 0 and 1."""
    truth = read_truth(folder / "raw")
    planted_DD = truth.relation(truth.domains)
    jitter = np.random.default_rng(0).normal(scale=1e-6, size=planted_DD.shape)
    return spearman(planted_DD + jitter, planted_DD)


def of_seed(folder: Path, seed: int) -> list[Row]:
    """Gradients, and leaving out in AUC and in log loss: how well each recovers the truth."""
    run, store = config(planted(folder, seed), "deepfm", seed), Store(folder / "runs")
    rows = _rows(run, transfer_map(run, store, ways=("gradients",)), folder)
    for metric in ("auc", "logloss"):
        made = transfer_map(run, store, budget=RUNS, metric=metric, ways=("left_out",))
        rows += _rows(run, made, folder)
    return rows


def with_masks(folder: Path, seed: int) -> list[Row]:
    """The three ways of one model that has masks: against the truth, and against each other."""
    run, store = config(planted(folder, seed), "aread", seed), Store(folder / "runs")
    made = transfer_map(run, store, budget=RUNS_WITH_MASKS)
    rows = _rows(run, made, folder)
    for one in made.agreement:
        assert one.correlation is not None
        row = _row(run, made, one.ways[0], one.correlation.value)
        rows.append(row | {"against": one.ways[1], "p_value": f"{one.p_value:.4f}"})
    return rows


def _rows(run: RunConfig, found: TransferMap, folder: Path) -> list[Row]:
    return [_row(run, found, way, value) for way, value in recovered(found, folder).items()]


def _row(run: RunConfig, found: TransferMap, way: Way, correlation: float) -> Row:
    left_out = way == "left_out"
    return {
        "model": run.model,
        "seed": str(run.seed),
        "way": way,
        "against": TRUTH,
        "metric": found.metric if left_out else "",
        "runs": str(found.runs) if left_out else "1",
        "correlation": f"{correlation:.4f}",
        "resolved": f"{found.resolved:.4f}" if left_out and found.resolved is not None else "",
    }


def tables(rows: Sequence[Row]) -> str:
    """As they stand between the marks of the page: against the truth, and way against way."""
    seeds = sorted({row["seed"] for row in rows})
    of: dict[tuple[str, ...], dict[str, str]] = {}
    for row in rows:
        if row["against"] == TRUTH:
            what = MEANING[row["way"]] + (f", {row['metric']}" if row["metric"] else "")
            line = of.setdefault((row["model"], what, row["runs"]), {})
            line[row["seed"]] = f"{float(row['correlation']):.2f}"
    lines = [[*key, *(found.get(seed, "") for seed in seeds)] for key, found in of.items()]
    titles = ["model", "way", "trainings", *(f"seed {seed}" for seed in seeds)]
    agree = [
        [
            f"{MEANING[row['way']]} and {MEANING[row['against']]}",
            f"{float(row['correlation']):.2f}",
            f"{float(row['p_value']):.3f}",
        ]
        for row in rows
        if row["against"] != TRUTH
    ]
    found = [markdown_table(titles, [False, False, *[True] * (1 + len(seeds))], lines)]
    if agree:
        of_two = ["two ways of AREAD", "rank correlation", "p"]
        found.append(markdown_table(of_two, [False, True, True], agree))
    return "\n\n".join(found)


def write_page(rows: Sequence[Row]) -> None:
    """Put the tables in their place in ``docs/transfer.md``."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(_START)
    after = rest.partition(_END)[2]
    PAGE.write_text(f"{before}{_START}\n{tables(rows)}\n{_END}{after}", encoding="utf-8")


def main() -> None:
    """Train (or read) the rows, and put the tables into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--drawn", action="store_true", help="train nothing")
    parser.add_argument("--masks", action="store_true", help="train AREAD alone")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        if asked.masks:
            kept = [row for row in read_rows(RESULTS) if row["model"] != "aread"]
            folder = Path(root) / str(SEED_WITH_MASKS)
            write_rows(RESULTS, kept + with_masks(folder, SEED_WITH_MASKS), COLUMNS)
        elif not asked.drawn:
            rows: list[Row] = []
            for seed in SEEDS:
                rows += of_seed(Path(root) / str(seed), seed)
            write_rows(RESULTS, rows, COLUMNS)
    write_page(read_rows(RESULTS))


if __name__ == "__main__":
    main()
