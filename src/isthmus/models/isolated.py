"""One model a domain, side by side in one: what joint models are measured against."""

import torch
from torch import Tensor, nn

from isthmus.batch import Impressions
from isthmus.models.base import ModelConfig, Ranker
from isthmus.schema import Schema


class Isolated(Ranker):
    """Rankers of one kind, each with the vocabulary and the weights of its own domain alone.

    It is put together from models that were trained apart, and never trained itself. A row of the
    unknown domain gets the training rows' rate of positives: no domain's model is its own.
    """

    name = "isolated"
    paper = "https://arxiv.org/abs/2412.11905"

    def __init__(
        self, config: ModelConfig, schema: Schema, kind: type[Ranker], rows: Impressions
    ) -> None:
        super().__init__(config, schema)
        self.parts = nn.ModuleDict()
        for domain in range(1, schema.num_domains + 1):
            own = rows[(rows.domain == domain).nonzero().squeeze(1)]
            if len(own):
                self.parts[str(domain)] = DomainRanker(config, schema, kind, own)
        rate = rows.label.mean() if len(rows) else torch.tensor(0.5)
        self.register_buffer("prior", torch.logit(rate, eps=1e-6))
        self.prior: Tensor

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
        self, config: ModelConfig, schema: Schema, kind: type[Ranker], rows: Impressions
    ) -> None:
        super().__init__(config, schema)
        self.tables = [feature.table for feature in schema.features for _ in range(feature.length)]
        for table in schema.tables:
            columns = [c for c, owner in enumerate(self.tables) if owner == table]
            met = torch.unique(rows.features[:, columns])
            self.register_buffer(f"ids_{table}", met[met > 0])
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
