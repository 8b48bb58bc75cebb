"""A small, real training loop on a store, that can be killed at any moment; and its naive rival."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from isthmus.evaluation.predictions import Predictions
from isthmus.evaluation.types import DomainMetrics, Metrics
from isthmus.schema import Feature, Schema
from isthmus.store import DataRef, Run, Store
from isthmus.training import checkpoint
from isthmus.training.state import TrainingState

EPOCHS = 6
ROWS, BATCH = 256, 32
SCHEMA = Schema(features=(Feature(name="item", size=500),), domains=("one", "two"))
DATA = DataRef(name="planted", digest="0" * 64)
CONFIG = {"seed": 7, "epochs": EPOCHS}

Save = Callable[[TrainingState, Path], object]
Latest = Callable[[Path], TrainingState | None]
Mark = Callable[[str], None]


def naive_save(state: TrainingState, directory: Path) -> None:
    """What most training scripts do: write to the final path, in place."""
    directory.mkdir(exist_ok=True)
    torch.save(vars(state), directory / "last.pt")


def naive_latest(directory: Path) -> TrainingState | None:
    path = directory / "last.pt"
    return TrainingState(**torch.load(path)) if path.exists() else None


WRITERS: dict[str, tuple[Save, Latest]] = {
    "ours": (checkpoint.save, checkpoint.latest),
    "naive": (naive_save, naive_latest),
}


class Small(nn.Module):
    """Everything that a resumption can get wrong: a table, dropout, running statistics, a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(500, 16)
        self.norm = nn.BatchNorm1d(16)
        self.drop = nn.Dropout(0.3)
        self.out = nn.Linear(16, 1)
        self.register_buffer("mask", torch.ones(16, dtype=torch.bool))

    def forward(self, items: Tensor) -> Tensor:
        return self.out(self.drop(self.norm(self.table(items))) * self.mask).squeeze(-1)


def _data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    items = torch.randint(0, 500, (ROWS,), generator=generator)
    return items, (items % 3 == 0).float()


def _epoch(model: Small, optimizer: torch.optim.Optimizer, epoch: int, seeded: bool) -> float:
    items, labels = _data()
    if seeded:  # the order of batches and the dropout depend on the seed and the epoch alone
        torch.manual_seed(CONFIG["seed"] * 1_000_003 + epoch)
    model.train()
    model.mask[torch.randint(0, 16, ())] ^= True  # a search that moves a buffer
    total = 0.0
    for rows in torch.randperm(ROWS).split(BATCH):
        optimizer.zero_grad()
        logits = model(items[rows])
        loss = nn.functional.binary_cross_entropy_with_logits(logits, labels[rows])
        loss.backward()
        optimizer.step()
        total += float(loss.detach())
    return total


def _copy(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value.clone() for name, value in values.items()}


def train(
    root: Path, *, writer: str = "ours", mark: Mark = lambda _: None, seeded: bool = True
) -> Run:
    """Train the run "small" in the store ``root``, from its last checkpoint if there is one.

    ``mark`` hears what is about to happen. ``seeded=False`` is the mistake of seeding once only.
    """
    save, latest = WRITERS[writer]
    run = Store(root).create("small", CONFIG, SCHEMA, DATA)
    with run.lock():
        if run.finished:
            return run
        torch.manual_seed(CONFIG["seed"])
        model = Small()
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        state = latest(run.checkpoints) or TrainingState()
        if state.epochs:
            model.load_state_dict(state.model)
            optimizer.load_state_dict(state.optimizer)
        for epoch in range(state.epochs, EPOCHS):
            mark("training")
            state.losses.append({"logloss": _epoch(model, optimizer, epoch, seeded)})
            model.eval()
            with torch.inference_mode():
                state.scores.append(float(model(torch.arange(500)).std()) * (-1) ** epoch)
            state.model = _copy(model.state_dict())
            state.optimizer = optimizer.state_dict()
            if state.best_epoch == epoch:
                state.best = state.model
            run.log(epoch=epoch)
            mark("saving")
            save(state, run.checkpoints)
        mark("finishing")
        _finish(run, model, state)
    mark("finished")
    return run


def _finish(run: Run, model: Small, state: TrainingState) -> None:
    model.load_state_dict(state.best)
    items, labels = _data()
    with torch.inference_mode():
        scores = torch.sigmoid(model.eval()(items)).double().numpy()
    row = np.arange(ROWS)
    for split in ("valid", "test"):
        run.save_predictions(
            split,
            Predictions(
                row, row % 3, row // 2, labels.numpy().astype("int8"), scores, SCHEMA.domains
            ),
        )
    overall = DomainMetrics(
        rows=ROWS, positives=int(labels.sum()), logloss=state.losses[-1]["logloss"]
    )
    run.finish(state, {"test": Metrics(overall=overall, by_domain={})})


def contents(root: Path) -> dict[str, bytes]:
    """All that two equal runs have in common: every file but the log and the lock."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name not in ("log.jsonl", ".lock")
    }


def train_in_child(root: Path, writer: str, pipe: Any, halt: bool = False) -> None:
    """Train, telling the parent through ``pipe`` what is about to happen; or ``halt`` there."""
    torch.set_num_threads(1)

    def mark(what: str) -> None:
        pipe.send(what)
        if halt:
            signal.pause()

    train(root, writer=writer, mark=mark)
