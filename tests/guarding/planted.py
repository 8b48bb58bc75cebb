"""Planted sets in which one domain is hurt by sharing, for rankers and for retrievers."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from isthmus.data.config import Columns, FeatureConfig, PrepareConfig
from isthmus.data.prepare import prepare
from tests.data.events import config as sequence_config
from tests.data.events import written

TASTES = {"books": 1, "games": 1, "tools": 1, "odd": -1}
RANKER = {
    "model": "mlp",
    "settings": {"hidden": [], "embedding_dim": 4, "dropout": 0},
    "train": {"batch_size": 128, "max_epochs": 4, "lr": 0.02, "unknown_share": 0},
    "share": {
        "isolated": {"model": "mlp", "settings": {"hidden": [], "embedding_dim": 4, "dropout": 0}},
        "workers": 1,
    },
}

RETRIEVER = {
    "model": "markov",
    "settings": {"within_domain": False},
    "share": {"isolated": {"model": "markov"}, "shared": None, "workers": 1},
}


def impressions(folder, tastes=TASTES, rows=6000, seed=0):
    """A prepared set: all domains like the same items, but those of taste -1 the very opposite.

    label ~ Bernoulli(sigmoid(2 taste quality_item)). A linear model over item and domain can have
    one order of the items alone.
    """
    rng = np.random.default_rng(seed)
    item, user = rng.integers(0, 30, rows), rng.integers(0, 300, rows)
    domain = rng.integers(0, len(tastes), rows)
    quality = np.linspace(-1, 1, 30)[item]
    logit = 2 * np.array(list(tastes.values()))[domain] * quality
    folder.mkdir(parents=True, exist_ok=True)
    table = {
        "user": user,
        "item": item,
        "domain": np.array(list(tastes))[domain],
        "label": (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.int8),
        "time": 1_600_000_000 + 60 * np.arange(rows),
    }
    pq.write_table(pa.table(table), folder / "rows.parquet")
    config = PrepareConfig(
        name="opposed",
        files=(str(folder / "rows.parquet"),),
        columns=Columns(user="user", item="item", domain="domain", label="label", time="time"),
        features=(FeatureConfig(name="item_id", column="item", role="item"),),
    )
    return prepare(config, folder / "prepared").path


def events(folder, users=150, length=30, seed=0):
    """A prepared set of three shops: what comes next in "chain" follows from the newest item there.

    In "echo" it follows from the item just before, of "noise"; those of "noise" from nothing. A
    joint model of the newest item alone finds every echo, and no link of the chain.
    """
    rng, rows = np.random.default_rng(seed), []
    for user in range(users):
        chain, own = int(rng.integers(12)), []
        for _ in range(length):
            chain, told = (chain + 1) % 12, int(rng.integers(12))
            own += [(chain, "chain"), (20 + told, "noise"), (40 + told, "echo")]
        del own[len(own) - user % 3 :]  # so that held-out events are of each shop
        rows += [(user, what, shop, at) for at, (what, shop) in enumerate(own)]
    who, what, shop, at = zip(*rows, strict=True)
    table = pa.table({"who": who, "what": what, "shop": shop, "at": at})
    folder.mkdir(parents=True, exist_ok=True)
    return prepare(
        sequence_config(written(table, folder / "e.parquet"), length=20), folder / "prepared"
    ).path
