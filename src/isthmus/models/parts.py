"""Rankers with parts of their own for each domain, or for each cluster of similar domains."""

from collections import Counter
from typing import Literal

import torch
from torch import Tensor

from isthmus.batch import Impressions
from isthmus.device import looked_up
from isthmus.errors import ConfigError
from isthmus.models.base import ModelConfig, Ranker
from isthmus.nn.towers import Routing
from isthmus.schema import Schema


class PartsConfig(ModelConfig):
    """What has a part: each domain, or each of ``clusters`` (names of domains; see `isthmus cluster`)."""

    domains: Literal["each", "clusters"] = "each"
    clusters: tuple[tuple[str, ...], ...] = ()


class PartsRanker(Ranker):
    """A ranker of which a row meets only the part of its own domain, or of its domain's cluster.

    Part 0 is the unknown domain's, so there are ``num_parts`` = 1 + domains (or clusters).
    """

    Config = PartsConfig
    config: PartsConfig

    def __init__(self, config: PartsConfig, schema: Schema) -> None:
        super().__init__(config, schema)
        part_D = _part_of_domain(config, schema)
        self.num_parts = int(part_D.max()) + 1
        self.register_buffer("part_D", part_D, persistent=False)
        self.part_D: Tensor

    def part(self, batch: Impressions) -> Tensor:
        """Which part each row meets: [B]."""
        return looked_up(self.part_D, batch.domain)

    def routing(self, batch: Impressions) -> Routing:
        """The rows of a batch sorted by part, for layers that take ``Routing``."""
        return Routing.of(self.part(batch), self.num_parts)


def _part_of_domain(config: PartsConfig, schema: Schema) -> Tensor:
    if config.domains == "each":
        return torch.arange(schema.num_domains + 1)
    named = Counter(name for cluster in config.clusters for name in cluster)
    missing = [name for name in schema.domains if name not in named]
    strange = [name for name in named if name not in schema.domains]
    twice = [name for name, times in named.items() if times > 1]
    for what, names in (("lack", missing), ("name unknown", strange), ("repeat", twice)):
        if names:
            raise ConfigError(
                f"settings.clusters {what} {', '.join(map(repr, names[:3]))}"
                f"{f' and {len(names) - 3} more' if len(names) > 3 else ''}: every domain of the data "
                "belongs to exactly one cluster; `isthmus cluster` makes them"
            )
    part = {name: number for number, names in enumerate(config.clusters, 1) for name in names}
    return torch.tensor([0, *(part[name] for name in schema.domains)])
