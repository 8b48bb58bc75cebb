"""Finished runs of planted rows; who changes one takes a copy."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isthmus.config import checked
from isthmus.data.config import Columns, FeatureConfig, PrepareConfig
from isthmus.data.prepare import prepare
from isthmus.data.prepared import Prepared
from isthmus.experiment import run
from isthmus.store import Store

SEARCHED = {
    "model": "aread",
    "settings": {
        "embedding_dim": 4,
        "bottom_experts": 2,
        "bottom_hidden": [8, 6],
        "experts": [2, 3, 4],
        "augment": False,
        "search": {
            "warmup_steps": 2,
            "first": 4,
            "every": 1000,
            "candidates": 3,
            "updates": 2,
            "scorings": 1,
            "batch_size": 64,
            "density": 0.4,
        },
    },
    "train": {"batch_size": 128, "max_epochs": 1},
}
PLAIN = {
    "model": "shared_bottom",
    "settings": {"embedding_dim": 4},
    "train": {"batch_size": 128, "max_epochs": 1},
}


def impressions(folder, rows=3000, seed=0):
    """Three domains that like different items, of which one has few rows."""
    rng = np.random.default_rng(seed)
    item, user = rng.integers(0, 25, rows), rng.integers(0, 200, rows)
    domain = rng.choice(3, rows, p=[0.57, 0.41, 0.02])
    logit = 2 * np.linspace(-1, 1, 25)[(item + 8 * domain) % 25]
    table = {
        "user": user,
        "item": item,
        "hour": rng.integers(0, 24, rows),
        "domain": np.array(["books", "games / toys", "tools"])[domain],
        "label": (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.int8),
        "time": 1_600_000_000 + 60 * np.arange(rows),
    }
    pq.write_table(pa.table(table), folder / "rows.parquet")
    config = PrepareConfig(
        name="planted",
        files=(str(folder / "rows.parquet"),),
        columns=Columns(user="user", item="item", domain="domain", label="label", time="time"),
        features=(
            FeatureConfig(name="item_id", column="item", role="item"),
            FeatureConfig(name="who", column="user", role="user"),
            FeatureConfig(name="hour"),
            FeatureConfig(name="recent", kind="history", of="item_id", role="user", length=3),
        ),
    )
    return prepare(config, folder / "prepared").path


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return Prepared.open(impressions(tmp_path_factory.mktemp("export")))


def trained(data, settings, folder):
    return run(checked({"data": str(data.path), **settings}, "test"), Store(folder))


@pytest.fixture(scope="session")
def aread(data, tmp_path_factory):
    """An AREAD whose masks were searched."""
    return trained(data, SEARCHED, tmp_path_factory.mktemp("aread"))


@pytest.fixture(scope="session")
def shared_bottom(data, tmp_path_factory):
    """A ranker whose rows are routed to towers of their domains."""
    return trained(data, PLAIN, tmp_path_factory.mktemp("shared_bottom"))
