"""A small pair of data sets over the same users, items and shops, and runs of both kinds."""

from typing import Any

import numpy as np
import pyarrow as pa
import torch

from isthmus.config import checked
from isthmus.data.config import PrepareConfig
from isthmus.data.prepare import prepare
from isthmus.experiment import run
from isthmus.service import pack
from isthmus.store import Store
from tests.data.events import config as sequence_config
from tests.data.events import events, written

SHOPS = 3
ITEMS = 60
RETRIEVERS: dict[str, dict[str, Any]] = {
    "sasrec": {"settings": {"embedding_dim": 8, "layers": 1}},
    "syncrec": {"settings": {"embedding_dim": 8, "layers": 1, "inference": "both"}},
    "markov": {},
}
RANKERS: dict[str, dict[str, Any]] = {
    "aread": {
        "settings": {
            "embedding_dim": 4,
            "bottom_experts": 3,
            "bottom_hidden": [8, 6],
            "experts": [3, 4, 5],
            "search": {"every": 5, "batch_size": 16, "warmup_steps": 2},
        }
    },
    "mlp": {"settings": {"embedding_dim": 4, "hidden": [8]}},
}


def impressions(
    rows: int = 900, seed: int = 1, users: int = 40, items: int = ITEMS + 5
) -> pa.Table:
    """Rows with features of every role and kind; item 60 and later are unknown to the events, some
    items and users of theirs are unknown here."""
    draw = np.random.default_rng(seed)
    item, user = draw.integers(3, items, rows), draw.integers(2, users + 4, rows)
    return pa.table(
        {
            "who": user,
            "what": item,
            "shop": [f"s{i % SHOPS}" if i % 20 else "attic" for i in item],
            "at": draw.integers(0, 300, rows),
            "label": (draw.random(rows) < 0.2 + 0.5 * (item % 7 == user % 7)).astype(int),
            "colour": [f"c{i % 5}" for i in item],
            "price": item * 1.5,
            "city": [f"y{u % 4}" for u in user],
            "age": user * 2.0,
            "hour": draw.integers(0, 24, rows),
        }
    )


def ranking_config(file: Any) -> PrepareConfig:
    return PrepareConfig.model_validate(
        {
            "name": "rows",
            "files": [str(file)],
            "columns": {
                "user": "who",
                "item": "what",
                "domain": "shop",
                "label": "label",
                "time": "at",
            },
            "features": [
                {"name": "who", "role": "user", "min_count": 2},
                {"name": "colour", "role": "item"},
                {"name": "hour", "min_count": 2},
                {"name": "bought", "kind": "history", "role": "user", "of": "what", "length": 3},
                {"name": "what", "role": "item", "min_count": 3},
                {"name": "price", "role": "item", "kind": "number", "bins": 4},
                {"name": "city", "role": "user"},
                {"name": "age", "role": "user", "kind": "number", "bins": 3},
                {
                    "name": "passed",
                    "kind": "history",
                    "role": "user",
                    "of": "colour",
                    "positives": "any",
                    "window": 40,
                    "length": 4,
                },
            ],
        }
    )


def make(folder: Any) -> dict[str, Any]:
    """Prepared data ("events", "rows"), and packed runs by the model's name."""
    found = {
        "events": prepare(
            sequence_config(written(events(700), folder / "e.parquet"), min_count=2),
            folder / "events",
        ),
        "rows": prepare(
            ranking_config(written(impressions(), folder / "r.parquet")), folder / "rows"
        ),
    }
    torch.manual_seed(0)
    for kind, data in ((RETRIEVERS, "events"), (RANKERS, "rows")):
        for model, changes in kind.items():
            train = {"max_epochs": 1, "batch_size": 64, "lr": 0.02}
            wanted = {"data": str(found[data].path), "model": model, "train": train, **changes}
            kept = run(checked(wanted, "test"), Store(folder / "runs"))
            pack(kept, found[data])
            found[model] = kept
    return found
