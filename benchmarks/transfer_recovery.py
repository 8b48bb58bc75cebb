"""How well a transfer map recovers what was planted: by budget, by way, over seeds.

Run: python benchmarks/transfer_recovery.py   (about four minutes of one core; prints docs/transfer.md's tables)
"""

import tempfile
import time
from pathlib import Path

import numpy as np

from isthmus.config import RunConfig, checked
from isthmus.data.prepare import prepare
from isthmus.data.sources import get
from isthmus.data.sources.synthetic import read_truth
from isthmus.evaluation.mantel import spearman
from isthmus.evaluation.transfer import TransferMap
from isthmus.store import Store
from isthmus.transfer import transfer_map

PLANTED = {
    "rows": 14_000, "domains": 6, "clusters": 2, "harmful_pairs": 2, "users": 60, "items": 60,
    "tail": 0.05, "strength": 4.0, "deviation": 0.1,
}  # fmt: skip
TRAIN = {"batch_size": 256, "max_epochs": 6, "patience": 2, "lr": 1e-2}
DEEPFM = {"hidden": [16], "embedding_dim": 8, "dropout": 0.0}
AREAD = {
    "embedding_dim": 8, "dropout": 0.0, "bottom_experts": 2, "bottom_hidden": [16, 8],
    "experts": [3, 6, 6], "expert_hidden": [[8], [8], [8]], "augment": None,
    "search": {"first": 60, "every": 60, "batch_size": 256, "candidates": 4, "updates": 2, "lr": 2e-3, "score_on": "train"},
}  # fmt: skip
BUDGETS = (14, 28)
SEEDS, WITH_MASKS = range(3), (0,)


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


def recovered(found: TransferMap, folder: Path) -> dict[str, float]:
    """Rank correlation of each way's map with what was planted."""
    truth = read_truth(folder / "raw").relation(found.names)
    return {way: spearman(one.values(), truth) for way, one in found.ways.items()}


def ceiling(folder: Path) -> float:
    """The highest correlation that figures without ties can have with planted -1, 0 and 1."""
    truth = read_truth(folder / "raw")
    planted_DD = truth.relation(truth.domains)
    jitter = np.random.default_rng(0).normal(scale=1e-6, size=planted_DD.shape)
    return spearman(planted_DD + jitter, planted_DD)


def by_budget(folder: Path, seed: int) -> None:
    """Leaving out, in AUC and in log loss, and gradients: how well each recovers the truth."""
    run, store = config(planted(folder, seed), "deepfm", seed), Store(folder / "runs")
    cells = [f"{ceiling(folder):.2f}"]
    for budget in BUDGETS:
        for metric in ("auc", "logloss"):
            made = transfer_map(run, store, budget=budget, metric=metric, ways=("left_out",))
            cells.append(f"{recovered(made, folder)['left_out']:.2f}")
            if metric == "auc":
                cells.append(f"{made.resolved:.3f}")
    gradients = transfer_map(run, store, ways=("gradients",))
    cells.append(f"{recovered(gradients, folder)['gradients']:.2f}")
    print(f"| {seed} | {' | '.join(cells)} |", flush=True)


def all_ways(folder: Path, seed: int) -> None:
    """The three ways of one model that has masks: against the truth, and against each other."""
    run, store = config(planted(folder, seed), "aread", seed), Store(folder / "runs")
    made = transfer_map(run, store, budget=BUDGETS[0])
    cells = [f"{value:.2f}" for value in recovered(made, folder).values()]
    for one in made.agreement:
        assert one.correlation is not None
        cells.append(f"{one.correlation.value:.2f} (p {one.p_value:.3f})")
    print(f"| {seed} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print both tables, and what they cost."""
    started = time.process_time()
    with tempfile.TemporaryDirectory() as root:
        titles = [f"{b} runs, {what}" for b in BUDGETS for what in ("AUC", "2 s.e.", "log loss")]
        print(f"| seed | highest possible | {' | '.join(titles)} | gradients |")
        for seed in SEEDS:
            by_budget(Path(root) / str(seed), seed)
        print("| seed | leaving out | gradients | masks | and so on: each two |")
        for seed in WITH_MASKS:
            all_ways(Path(root) / str(seed), seed)
    print(f"{time.process_time() - started:.0f} CPU seconds")


if __name__ == "__main__":
    main()
