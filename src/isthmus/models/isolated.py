"""One model a domain, side by side in one: what joint models are measured against."""

from collections.abc import Iterable, Mapping
from typing import Self

import torch
from torch import Tensor, nn

from isthmus.batch import Impressions
from isthmus.models.base import ModelConfig, Ranker
from isthmus.schema import Schema

Vocabulary = Mapping[str, Tensor]
"""The ids that a domain knows, by table: sorted, and without the unknown one (0)."""


class Isolated(Ranker):
    """Rankers of one kind, each with the vocabulary and the weights of its own domain alone.

    It is put together from models that were trained apart, and never trained itself. A row of the
    unknown domain gets the training rows' rate of positives: no domain's model is its own.
    """

    name = "isolated"
    paper = "https://arxiv.org/abs/2412.11905"

    def __init__(
        self,
        config: ModelConfig,
        schema: Schema,
        kind: type[Ranker],
        known: Mapping[int, Vocabulary],
        rate: float = 0.5,
    ) -> None:
        """``known``: by domain that has a model, its vocabulary; ``rate``: of positives overall."""
        super().__init__(config, schema)
        self.parts = nn.ModuleDict(
            {str(d): DomainRanker(config, schema, kind, ids) for d, ids in known.items()}
        )
        self.register_buffer("prior", torch.logit(torch.tensor(rate), eps=1e-6))
        self.prior: Tensor

    @classmethod
    def of_rows(
        cls, config: ModelConfig, schema: Schema, kind: type[Ranker], rows: Impressions
    ) -> Self:
        """Untrained models of the domains that have training rows."""
        rate = float(rows.label.mean()) if len(rows) else 0.5
        known = {}
        for domain in range(1, schema.num_domains + 1):
            own = rows[(rows.domain == domain).nonzero().squeeze(1)]
            if len(own):
                known[domain] = vocabulary(schema, own)
        return cls(config, schema, kind, known, rate)

    def forward(self, batch: Impressions) -> Tensor:
        logit_B = self.prior.expand(len(batch)).clone()
        for domain in torch.unique(batch.domain).tolist():
            if str(domain) in self.parts:
                rows = (batch.domain == domain).nonzero().squeeze(1)
                logit_B[rows] = self.parts[str(domain)](batch[rows])
        return logit_B


class DomainRanker(Ranker):
    """A ranker over the ids that one domain's training rows have; all others are unknown (0)."""

    name = "isolated"
    paper = Isolated.paper

    def __init__(
        self, config: ModelConfig, schema: Schema, kind: type[Ranker], ids: Vocabulary
    ) -> None:
        super().__init__(config, schema)
        self.tables = _tables(schema)
        for table in schema.tables:
            self.register_buffer(f"ids_{table}", ids[table].clone())
        sizes = {table: len(self.get_buffer(f"ids_{table}")) + 1 for table in schema.tables}
        features = tuple(
            feature.model_copy(update={"size": sizes[feature.table]}) for feature in schema.features
        )
        own = schema.model_copy(update={"features": features, "domains": ("own",)})
        self.ranker = kind(config, own)

    def forward(self, batch: Impressions) -> Tensor:
        logit_B: Tensor = self.ranker(self.own(batch))
        return logit_B

    def own(self, rows: Impressions) -> Impressions:
        """The rows in this domain's ids; ``ranker`` is trained on these."""
        columns = [self._own_ids(rows.features[:, c], table) for c, table in enumerate(self.tables)]
        return Impressions(torch.stack(columns, 1), torch.ones_like(rows.domain), rows.label)

    def _own_ids(self, ids_B: Tensor, table: str) -> Tensor:
        known = self.get_buffer(f"ids_{table}")
        if not len(known):
            return torch.zeros_like(ids_B)
        place_B = torch.searchsorted(known, ids_B.contiguous()).clamp(max=len(known) - 1)
        return torch.where(known[place_B] == ids_B, place_B + 1, 0)


def vocabulary(schema: Schema, rows: Impressions) -> dict[str, Tensor]:
    """The ids that these rows have, by table."""
    tables, known = _tables(schema), {}
    for table in schema.tables:
        columns = [c for c, owner in enumerate(tables) if owner == table]
        met = torch.unique(rows.features[:, columns])
        known[table] = met[met > 0]
    return known


def vocabularies(schema: Schema, state: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """By domain that has a model, its vocabulary, from a state dict with ``parts``."""
    return {
        d: {table: state[f"parts.{d}.ids_{table}"] for table in schema.tables}
        for d in domains_in(state)
    }


def domains_in(state: Iterable[str]) -> list[int]:
    """The domains that have a model of their own, from the names in a state dict with ``parts``."""
    return sorted({int(name.split(".")[1]) for name in state if name.startswith("parts.")})


def _tables(schema: Schema) -> list[str]:
    """The table of each column of features."""
    return [feature.table for feature in schema.features for _ in range(feature.length)]
