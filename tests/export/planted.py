"""Small models to export, with masks of all kinds, and the rows that they are tried on."""

import numpy as np
import torch

from isthmus.batch import Impressions
from isthmus.export.aread import Paths
from isthmus.export.graph import OLDEST, WeightsFile
from isthmus.export.runtime import GraphSession
from isthmus.export.stored import by_vocabulary, with_stored_tables
from isthmus.models.aread import AREAD
from isthmus.nn import masks
from isthmus.schema import Feature, Schema
from tests.models.random_weights import randomise

SCHEMA = Schema(
    features=(
        Feature(name="brand", size=7, role="item"),
        Feature(name="user", size=9, role="user"),
        Feature(name="recent", kind="history", size=30, table="item", role="user", length=3),
        Feature(name="hour", size=5),
        Feature(name="item", size=30, role="item"),
        Feature(name="tags", kind="history", size=6, role="item", length=2),
        Feature(name="price", kind="number", size=4, role="item"),
    ),
    domains=("a", "b / c", "d"),
)
SMALL = {"embedding_dim": 4, "bottom_experts": 3, "bottom_hidden": (8, 6), "experts": (3, 4, 5)}


def model(schema=SCHEMA, searched=True, **changes):
    """Every number at random; domain 2 keeps one chain of experts, the others about half."""
    torch.manual_seed(1)
    made = randomise(AREAD(AREAD.Config(**{**SMALL, **changes}), schema))
    full = made.hierarchy.mask
    if searched and full:
        kept = [torch.rand(level.shape) < 0.6 for level in full]
        for level in kept:
            level[2] = False
            level[2, 1, 1] = True
        alive = masks.has_output(masks.repaired(kept))[:, None, None]
        made.hierarchy.set_mask([torch.where(alive, k, f) for k, f in zip(kept, full, strict=True)])
    return made


def rows(number, domain, schema=SCHEMA, seed=2):
    """Rows of a domain, whose first histories are empty, full, and full of holes."""
    draw = np.random.default_rng(seed)
    parts = [draw.integers(0, f.size, (number, f.length)) for f in schema.features]
    features = torch.from_numpy(np.concatenate(parts, 1))
    for name, place in schema.columns.items():
        if next(f for f in schema.features if f.name == name).kind == "history":
            features[0:1, place] = 0
            features[1:2, place] = 3
            features[2:3, place.start] = 0
    return Impressions(features, torch.full((number,), domain), torch.zeros(number))


def written(made, folder, tables="float32", domains=None, opset=OLDEST):
    """The graphs of a model's domains, in a folder: what they hold, by domain id."""
    stored = with_stored_tables(made, tables)
    files = WeightsFile(folder / "tables.bin"), WeightsFile(folder / "shared.bin")
    vocabularies = by_vocabulary(stored.embed.features, made.schema.tables)
    paths = Paths(stored, vocabularies, *files)
    for file in files:
        file.close()
    graphs = {}
    for domain in range(made.schema.num_domains + 1) if domains is None else domains:
        graphs[domain] = paths.model(domain, opset, {"domain": str(domain)})
        (folder / f"{domain}.onnx").write_bytes(graphs[domain].SerializeToString())
    return graphs


def session(folder, domain, schema=SCHEMA):
    return GraphSession(folder / f"{domain}.onnx", schema)
