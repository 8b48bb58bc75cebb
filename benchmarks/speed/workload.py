"""The rows that speed is measured on: ``synth_ctr``, or random rows of the same shape."""

import os
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from isthmus.batch import Impressions
from isthmus.data.feed import Feed
from isthmus.models import get
from isthmus.nn import masks
from isthmus.schema import Feature, Schema

IDS = {"userid": 200_000, "itemid": 100_000, "cate": 2_000, "brand": 20_000, "city": 400}
IDS |= {"price": 12, "hour": 24, "weekday": 7}
LARGE = 1_368_287  # items of the paper's Amazon set: a table of 1.59M rows
ROLES = {"userid": "user", "city": "user", "itemid": "item", "cate": "item", "brand": "item"}


def schema(items: int = IDS["itemid"], domains: int = 25) -> Schema:
    """Eight id fields and a history of five items."""
    sizes = {**IDS, "itemid": items}
    ids = [Feature(name=n, size=s + 1, role=ROLES.get(n, "context")) for n, s in sizes.items()]
    recent = Feature(
        name="item_seq", kind="history", size=items + 1, table="itemid", role="user", length=5
    )
    return Schema(features=(*ids, recent), domains=tuple(map(str, range(domains))), items=items + 1)


def read() -> dict[str, Impressions]:
    """The training, validation and test rows (tags 0, 1, 2)."""
    folder = Path(os.environ.get("ISTHMUS_DATA", "../shared/data")) / "synth_ctr"
    table = pq.read_table(folder / "data.parquet")
    columns = [table[name].to_numpy() + 1 for name in IDS]
    history = pc.list_flatten(table["item_seq"]).to_numpy().reshape(-1, 5)  # 0 is padding there
    features = torch.from_numpy(np.column_stack([*columns, history]).astype(np.int64))
    domain = torch.from_numpy(table["domain"].to_numpy().astype(np.int64) + 1)
    label = torch.from_numpy(table["label"].to_numpy().astype(np.float32))
    tag = torch.from_numpy(table["train_tag"].to_numpy())
    rows = Impressions(features, domain, label)
    return {
        split: rows[(tag == number).nonzero()[:, 0]]
        for number, split in enumerate(("train", "valid", "test"))
    }


def spread(rows: Impressions, items: int) -> Impressions:
    """The same rows with item ids spread over a larger vocabulary."""
    factor, features = items // IDS["itemid"], rows.features.clone()
    for column in (1, 8, 9, 10, 11, 12):
        features[:, column] = features[:, column] * factor
    return Impressions(features, rows.domain, rows.label)


def redrawn(rows: Impressions, domains: int) -> Impressions:
    """The same rows over another number of domains, evenly."""
    g = torch.Generator().manual_seed(domains)
    domain = torch.randint(1, domains + 1, (len(rows),), generator=g)
    return Impressions(rows.features, domain, rows.label)


def model(name: str, of: Schema, **settings: object) -> torch.nn.Module:
    """A model with its default sizes; AREAD with masks of density 0.6."""
    torch.manual_seed(0)
    cls = get(name)
    built = cls(cls.Config.model_validate(settings), of)
    if name == "aread":
        present = built.hierarchy.mask
        weight = [torch.rand(level.shape) for level in present]
        built.hierarchy.set_mask(masks.keep_strongest(present, weight, 0.6))
    return built


def feed(rows: dict[str, Impressions], batch_size: int = 1024) -> Feed:
    return Feed(rows["train"], batch_size=batch_size, seed=0, valid=rows["valid"])
