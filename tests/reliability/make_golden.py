"""Write a run of the present format into ``golden/``; once for each version of the format.

    python -m tests.reliability.make_golden

A golden run is never written anew: it stands for those that users have. When a format changes, its
version rises, this makes ``golden/NAME-vN`` beside the older ones, and all are loaded by a test.
"""

from pathlib import Path

import numpy as np
import torch

from isthmus.evaluation.predictions import Predictions
from isthmus.evaluation.types import DomainMetrics, Interval, Metrics
from isthmus.schema import Feature, Schema
from isthmus.store import DataRef, Store
from isthmus.store.manifest import VERSION
from isthmus.training import checkpoint
from isthmus.training.state import TrainingState

GOLDEN = Path(__file__).parent / "golden"

SCHEMA = Schema(
    features=(
        Feature(name="user", size=4, role="user"),
        Feature(name="price", kind="number", size=5, role="item"),
        Feature(name="recent", kind="history", size=6, length=3, table="item"),
    ),
    domains=("books", "jouets, été"),
    items=6,
)
DATA = DataRef(name="shop", digest="0123456789abcdef" * 4)
CONFIG = {"model": "mlp", "settings": {"sizes": [8, 4], "dropout": 0.1}, "seed": 3}
PREDICTIONS = Predictions(
    row=np.arange(4),
    domain=np.array([1, 1, 2, 0]),
    user=np.array([5, 5, 6, 7]),
    label=np.array([0, 1, 1, 0]),
    score=np.array([0.125, 0.875, 0.5, 0.3]),
    domains=SCHEMA.domains,
)
METRICS = {
    "test": Metrics(
        overall=DomainMetrics(rows=4, positives=2, auc=Interval(value=0.75, low=0.5, high=1.0)),
        by_domain={"books": DomainMetrics(rows=2, positives=1, reason="too few rows")},
        undefined={"minor10": "too few domains"},
    )
}
STATE = TrainingState(
    scores=[0.5, 0.75, 0.625],
    losses=[{"logloss": 0.75}, {"logloss": 0.5}, {"logloss": 0.25}],
    model={"weight": torch.arange(6.0).view(2, 3), "mask": torch.tensor([True, False])},
    optimizer={
        "state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.arange(6.0).view(3, 2).t()}},
        "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999), "fused": None, "params": [0]}],
    },
    best={"weight": -torch.arange(6.0).view(2, 3), "mask": torch.tensor([False, True])},
)


def main() -> None:
    name = f"run-v{VERSION}"
    assert not (GOLDEN / name).exists(), "a golden run is never written anew"
    run = Store(GOLDEN).create(name, CONFIG, SCHEMA, DATA)
    with run.lock():
        run.save_predictions("test", PREDICTIONS)
        run.finish(STATE, METRICS)
        checkpoint.save(STATE, GOLDEN / f"checkpoints-v{checkpoint.VERSION}")
    (run.path / ".lock").unlink()


if __name__ == "__main__":
    main()
