"""HAMUR: an MLP with adapter cells whose weights a hyper-network makes, row by row.

Shape letters: B rows, I input width, M width of the layer before a cell, R bottleneck, K rank,
P parts (domains or clusters, the unknown one included).
"""

import math

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from isthmus.batch import Impressions
from isthmus.models.base import register
from isthmus.models.parts import PartsConfig, PartsRanker
from isthmus.nn import MLP, RowEmbedding, relu_dropout
from isthmus.nn.mlp import BatchNorm
from isthmus.schema import Schema


@register("hamur", paper="https://arxiv.org/abs/2309.06217")
class HAMUR(PartsRanker):
    """Hyper Adapter for Multi-Domain Recommendation (Li et al., CIKM 2023), on an MLP.

    A hyper-network that all domains share maps a row to a small matrix S. The last ``cells`` hidden
    layers are each followed by an adapter, x + norm_d(sigmoid(x W_down + b) W_up), whose weights
    are of low rank and the row's own: W = U S V.

    Deviations, all for dozens of domains or from the published code:
    one backbone for all domains, whose rows have a domain embedding (the code: a backbone a domain);
    the domain norm's scale and shift are the domain's, its statistics the mixed batch's (as in the
    code; in scoring, running ones: the code takes the scored batch's); U, V and S are drawn at random
    (all ones, as in the code, keep the rank at one); S may be negative (the code ends in a ReLU);
    no bias before the norm, which would cancel it.
    """

    class Config(PartsConfig):
        hidden: tuple[PositiveInt, ...] = (256, 128, 64)
        cells: PositiveInt = 2
        bottleneck: PositiveInt = 32
        rank: PositiveInt = 16
        hyper_hidden: tuple[PositiveInt, ...] = (64,)

    config: Config

    def __init__(self, config: Config, schema: Schema) -> None:
        super().__init__(config, schema)
        self.embed = RowEmbedding(schema, config.embedding_dim)
        self.hyper = MLP(self.embed.width, config.hyper_hidden)
        self.hyper_out = nn.Linear(self.hyper.width, config.rank**2)
        self.mlp = MLP(self.embed.width, config.hidden, dropout=config.dropout)
        self.first = max(0, len(config.hidden) - config.cells)  # the first layer with a cell
        self.cells = nn.ModuleList(
            Adapter(self.num_parts, width, config.bottleneck, config.rank)
            for width in config.hidden[self.first :]
        )
        self.out = nn.Linear(self.mlp.width, 1)

    def forward(self, batch: Impressions) -> Tensor:
        x_BI = self.embed(batch)
        part_B, rank = self.part(batch), self.config.rank
        core_BKK = self.hyper_out(self.hyper(x_BI)).view(-1, rank, rank)
        h_BM = x_BI
        for number, (linear, norm) in enumerate(zip(self.mlp.linears, self.mlp.norms, strict=True)):
            h_BM = relu_dropout(norm(linear(h_BM)), self.mlp.dropout, self.training)
            if number >= self.first:
                h_BM = self.cells[number - self.first](h_BM, core_BKK, part_B)
        logit_B: Tensor = self.out(h_BM).squeeze(1)
        return logit_B


class Adapter(nn.Module):
    """One adapter cell: [B, M] -> [B, M]; a row's weights are never built, only applied."""

    def __init__(self, parts: int, width: int, bottleneck: int, rank: int) -> None:
        super().__init__()
        self.down = LowRank(width, bottleneck, rank)
        self.bias = nn.Parameter(torch.zeros(bottleneck))
        self.up = LowRank(bottleneck, width, rank)
        self.norm = BatchNorm(width, affine=False)
        self.scale = nn.Embedding(parts, width)
        self.shift = nn.Embedding(parts, width)
        nn.init.ones_(self.scale.weight)
        nn.init.zeros_(self.shift.weight)

    def forward(self, x_BM: Tensor, core_BKK: Tensor, part_B: Tensor) -> Tensor:
        h_BR = torch.sigmoid(self.down(x_BM, core_BKK) + self.bias)
        normal_BM = self.norm(self.up(h_BR, core_BKK))
        change_BM = torch.addcmul(self.shift(part_B), normal_BM, self.scale(part_B))
        return x_BM + change_BM


class LowRank(nn.Module):
    """x U S V with a row's own S: from the left, so that no product is wider than the rank."""

    def __init__(self, width: int, out: int, rank: int) -> None:
        super().__init__()
        self.left = nn.Parameter(torch.randn(width, rank) / math.sqrt(width))
        self.right = nn.Parameter(torch.randn(rank, out) / math.sqrt(rank))

    def forward(self, x_BM: Tensor, core_BKK: Tensor) -> Tensor:
        left_B1K = (x_BM @ self.left)[:, None]
        return torch.bmm(left_B1K, core_BKK).squeeze(1) @ self.right
