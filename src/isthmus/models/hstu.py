"""HSTU: pointwise attention, gated, in the place of softmax and feed-forward layers.

Shape letters: N tokens, R rows of the packed stream, S slots of a row, P = R * S slots, H width,
A heads, W head width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus.models.base import register
from isthmus.models.sequential import LayersConfig, SequentialRetriever
from isthmus.nn.sequence import SequenceEmbedding, Tokens
from isthmus.nn.transformer import dropout
from isthmus.schema import Schema


class HSTUConfig(LayersConfig):
    """``cosine``, as the authors have it; ``domain_blind``: items are read without their domains."""

    cosine: bool = True
    domain_blind: bool = False


@register("hstu", paper="https://arxiv.org/abs/2402.17152")
class HSTU(SequentialRetriever):
    """Hierarchical Sequential Transduction Units (Zhai et al., ICML 2024, eq. 2-4).

    U, V, Q, K = split(SiLU(linear(norm(x)))); y = SiLU(Q K + bias by distance) V / length;
    x + linear(norm(y) * U). Other than in the paper: no bias by time, since histories have none; a
    softmax over the target domain's items; items' domains are embedded; no actions among the items.
    """

    Config = HSTUConfig
    config: HSTUConfig

    def __init__(self, config: HSTUConfig, schema: Schema) -> None:
        super().__init__(config, schema)
        width = config.embedding_dim
        domains = 0 if config.domain_blind else schema.num_domains + 1
        self.embed = SequenceEmbedding(domains, schema.max_history, width, dropout=config.dropout)
        self.units = nn.ModuleList(
            Unit(width, config.heads, schema.max_history + 1, dropout=config.dropout)
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(width)

    def states(self, tokens: Tokens) -> Tensor:
        x_PH = tokens.spread(self.embed(self.items, tokens.cross))
        seen_RSS = tokens.mask(x_PH.dtype).squeeze(1) == 0
        for unit in self.units:
            x_PH = unit(x_PH, seen_RSS)
        state_NH: Tensor = self.norm(x_PH.index_select(0, tokens.place))
        return state_NH


class Unit(nn.Module):
    """One layer: [P, H] -> [P, H]; ``seen_RSS`` says which slots a slot may look at."""

    def __init__(self, width: int, heads: int, longest: int, *, dropout: float) -> None:
        super().__init__()
        self.project, self.out = nn.Linear(width, 4 * width), nn.Linear(width, width)
        for linear in (self.project, self.out):
            nn.init.normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)
        self.norm_in, self.norm_out = nn.LayerNorm(width), nn.LayerNorm(width)
        self.distance = nn.Parameter(torch.empty(longest).normal_(std=0.02))
        self.heads, self.dropout = heads, dropout

    def forward(self, x_PH: Tensor, seen_RSS: Tensor) -> Tensor:
        rows, slots = seen_RSS.shape[:2]
        gate_PH, *others = F.silu(self.project(self.norm_in(x_PH))).chunk(4, dim=1)
        value, query, key = (
            other.unflatten(0, (rows, slots)).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for other in others
        )
        place_S = torch.arange(slots, device=x_PH.device)
        far_SS = (place_S[:, None] - place_S).clamp(0, len(self.distance) - 1)
        score = query @ key.transpose(2, 3) + self.distance[far_SS]
        weight = F.silu(score) * seen_RSS[:, None] / len(self.distance)  # [R, A, S, S]
        mixed_PH = (weight @ value).transpose(1, 2).flatten(2).flatten(0, 1)
        out_PH = self.out(self.norm_out(mixed_PH) * gate_PH)
        return x_PH + dropout(out_PH, self.dropout, self.training)
