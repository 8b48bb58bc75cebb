"""DCN: a cross network beside an MLP."""

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from isthmus.batch import Impressions
from isthmus.models.base import ModelConfig, Ranker, register
from isthmus.nn import MLP, CrossNetwork, RowEmbedding
from isthmus.schema import Schema


@register("dcn", paper="https://doi.org/10.1145/3124749.3124754")
class DCN(Ranker):
    """Deep & Cross Network (Wang et al., ADKDD 2017), with the domain as one more feature.

    Logit: a linear layer over both outputs side by side (eq. 5). Differs from the paper: all
    embeddings are ``embedding_dim`` wide, whatever the size of the vocabulary.
    """

    class Config(ModelConfig):
        cross_layers: PositiveInt = 3
        hidden: tuple[PositiveInt, ...] = (256, 128, 64)
        domain_blind: bool = False

    config: Config

    def __init__(self, config: Config, schema: Schema) -> None:
        super().__init__(config, schema)
        self.embed = RowEmbedding(schema, config.embedding_dim, domain=not config.domain_blind)
        self.cross = CrossNetwork(self.embed.width, config.cross_layers)
        self.mlp = MLP(self.embed.width, config.hidden, dropout=config.dropout)
        self.out = nn.Linear(self.embed.width + self.mlp.width, 1)

    def forward(self, batch: Impressions) -> Tensor:
        row_BI = self.embed(batch)
        both_BX = torch.cat([self.cross(row_BI), self.mlp(row_BI)], dim=1)
        logit_B: Tensor = self.out(both_BX).squeeze(1)
        return logit_B
