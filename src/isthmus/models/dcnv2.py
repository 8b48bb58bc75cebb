"""DCN V2: cross layers with a matrix, or with a mixture of low-rank experts."""

from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from isthmus.batch import Impressions
from isthmus.models.base import ModelConfig, Ranker, register
from isthmus.nn import MLP, LowRankCrossNetwork, MatrixCrossNetwork, RowEmbedding
from isthmus.schema import Schema


@register("dcnv2", paper="https://arxiv.org/abs/2008.13535")
class DCNv2(Ranker):
    """DCN V2 (Wang et al., WWW 2021), with the domain as one more feature.

    ``variant``: "full" is DCN-V2 (section 3.2), "low_rank" is DCN-Mix (section 3.5; ``rank``,
    ``experts`` and ``gate`` are read there alone). ``structure``: the MLP beside the cross network,
    or stacked on it (section 3.4). Where the paper leaves it open: gates are each layer's own.
    Differs from the paper: hidden layers have batch norm.
    """

    class Config(ModelConfig):
        variant: Literal["full", "low_rank"] = "full"
        structure: Literal["parallel", "stacked"] = "parallel"
        cross_layers: PositiveInt = 3
        rank: PositiveInt = 32
        experts: PositiveInt = 4
        gate: Literal["softmax", "sigmoid"] = "softmax"
        hidden: tuple[PositiveInt, ...] = (256, 128, 64)
        domain_blind: bool = False

    config: Config

    def __init__(self, config: Config, schema: Schema) -> None:
        super().__init__(config, schema)
        self.embed = RowEmbedding(schema, config.embedding_dim, domain=not config.domain_blind)
        self.cross = _cross_network(config, self.embed.width)
        self.mlp = MLP(self.embed.width, config.hidden, dropout=config.dropout)
        beside = self.embed.width if config.structure == "parallel" else 0
        self.out = nn.Linear(beside + self.mlp.width, 1)

    def forward(self, batch: Impressions) -> Tensor:
        row_BI = self.embed(batch)
        crossed_BI = self.cross(row_BI)
        if self.config.structure == "stacked":
            last_BX = self.mlp(crossed_BI)
        else:
            last_BX = torch.cat([crossed_BI, self.mlp(row_BI)], dim=1)
        logit_B: Tensor = self.out(last_BX).squeeze(1)
        return logit_B


def _cross_network(config: DCNv2.Config, width: int) -> nn.Module:
    if config.variant == "full":
        return MatrixCrossNetwork(width, config.cross_layers)
    return LowRankCrossNetwork(
        width, config.cross_layers, experts=config.experts, rank=config.rank, gate=config.gate
    )
