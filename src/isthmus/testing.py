"""Small planted data sets, on which every model has to prove itself; shipped for plug-in models."""

import torch

from isthmus.batch import Histories, Impressions
from isthmus.schema import Feature, Schema


def toy_schema(num_domains: int = 3) -> Schema:
    """A user, an item, an hour and a history of items; domains "a", "b", .."""
    features = (
        Feature(name="user", size=50, role="user"),
        Feature(name="item", size=40, role="item"),
        Feature(name="hour", size=24),
        Feature(name="recent", kind="history", size=40, table="item", role="user", length=3),
    )
    return Schema(features=features, domains=tuple("abcdef"[:num_domains]), items=40, max_history=8)


def toy_impressions(schema: Schema, rows: int, seed: int = 0) -> Impressions:
    """Each domain likes its own set of items; everything else is noise."""
    g = torch.Generator().manual_seed(seed)
    columns = [
        torch.randint(0 if f.kind == "history" else 1, f.size, (rows, f.length), generator=g)
        for f in schema.features
    ]
    features = torch.cat(columns, dim=1)
    domain = torch.randint(1, schema.num_domains + 1, (rows,), generator=g)
    liked = (features[:, 1] * 7 + domain * 13) % 5 == 0
    label = (torch.rand(rows, generator=g) < torch.where(liked, 0.85, 0.1)).float()
    return Impressions(features, domain, label)


def toy_histories(schema: Schema, rows: int, seed: int = 0) -> Histories:
    """The next item is the newest plus one; an item's domain is its remainder plus one."""
    g = torch.Generator().manual_seed(seed)
    length = schema.max_history
    start = torch.randint(1, schema.items, (rows, 1), generator=g)
    items = (start + torch.arange(length + 1)) % (schema.items - 1) + 1
    domains = toy_item_domains(schema)[items]
    size = torch.randint(2, length + 1, (rows, 1), generator=g)
    padded = torch.arange(length) < length - size
    return Histories(
        items[:, :-1].masked_fill(padded, 0),
        domains[:, :-1].masked_fill(padded, 0),
        items[:, -1],
        domains[:, -1],
    )


def toy_item_domains(schema: Schema) -> torch.Tensor:
    """The domain of each item of ``toy_histories``, [I]; padding has none (0)."""
    domain_I = torch.arange(schema.items) % schema.num_domains + 1
    domain_I[0] = 0
    return domain_I
