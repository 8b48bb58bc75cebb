"""Experts of their own for each part (a domain or a cluster), routed: rows meet only their part's.

Shape letters: B rows, P parts (0 is the unknown domain's), E experts, I input width, O output width.
"""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from isthmus.nn.mlp import BatchNorm, relu_dropout
from isthmus.nn.towers import DomainLinear, grouped_linear


class PartExpertLinear(nn.Module):
    """A linear layer for each expert of each part, on sorted rows: [E, B, I] -> [E, B, O]."""

    def __init__(self, parts: int, experts: int, width: int, out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, parts, width, out))
        self.bias = nn.Parameter(torch.zeros(experts, parts, out))
        nn.init.uniform_(self.weight, -(bound := 1 / math.sqrt(width)), bound)

    def forward(self, sorted_EBI: Tensor, sizes: list[int]) -> Tensor:
        experts = len(sorted_EBI)
        flat_XO = grouped_linear(
            sorted_EBI.flatten(0, 1),
            self.weight.flatten(0, 1),
            self.bias.flatten(0, 1),
            sizes * experts,
        )
        return flat_XO.view(experts, -1, flat_XO.shape[1])


class PartExperts(nn.Module):
    """E MLPs for each part, on rows sorted by ``Routing``: [B, I] -> [B, E, ``hidden[-1]``].

    Layers are linear, batch norm, ReLU, dropout. The norm's statistics are of all rows, each row by
    its own part's weights: a part with a row or two in the batch has no statistics worth the name.
    """

    def __init__(
        self,
        parts: int,
        experts: int,
        width: int,
        hidden: Sequence[int],
        *,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.first = DomainLinear(parts, width, experts * hidden[0])
        self.rest = nn.ModuleList(
            PartExpertLinear(parts, experts, i, o) for i, o in itertools.pairwise(hidden)
        )
        self.norms = nn.ModuleList(BatchNorm(experts * o) for o in hidden)
        self.experts, self.dropout, self.width = experts, dropout, hidden[-1]

    def forward(self, sorted_BI: Tensor, sizes: list[int]) -> Tensor:
        h_BEO = self._activate(self.first(sorted_BI, sizes), 0)
        for number, linear in enumerate(self.rest, 1):
            h_EBO = linear(h_BEO.transpose(0, 1), sizes)
            h_BEO = self._activate(h_EBO.transpose(0, 1).flatten(1), number)
        return h_BEO

    def _activate(self, h_BX: Tensor, number: int) -> Tensor:
        h_BX = relu_dropout(self.norms[number](h_BX), self.dropout, self.training)
        return h_BX.unflatten(1, (self.experts, -1))


def gated(gate_BE: Tensor, expert_BEO: Tensor) -> Tensor:
    """Mixture of experts by the softmax of their gate's logits: [B, O]."""
    return (gate_BE.softmax(dim=1)[:, None] @ expert_BEO).squeeze(1)
