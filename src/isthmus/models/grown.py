"""A model as it would be with more domains: for what depends on how many there are."""

from typing import TypeVar

import torch

from isthmus.models.base import Model, ModelConfig
from isthmus.schema import Schema

Kind = TypeVar("Kind", bound=Model)


def grown(kind: type[Kind], config: ModelConfig, schema: Schema, more: int = 0) -> Kind:
    """An untrained model with so many more domains, and vocabularies too small to cost anything.

    Raises ConfigError where a setting that names domains, such as clusters, knows no further one.
    """
    domains = (*schema.domains, *(f"{max(schema.domains, default='')}+{i}" for i in range(more)))
    items = (
        {"items": 2, "domain_items": (1, *[0] * (len(domains) - 1))} if schema.domain_items else {}
    )
    features = tuple(feature.model_copy(update={"size": 2}) for feature in schema.features)
    with torch.random.fork_rng(devices=[]):
        return kind(
            config,
            schema.model_copy(update={"domains": domains, "features": features, **items}),
        )
