"""One small network a domain, routed: a row meets only its own domain's weights.

Shape letters: B rows, D domain ids (0 is the unknown domain), I input width, O output width.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Routing:
    """How the rows of a batch are sorted by domain, so that each domain's are one slice."""

    order: Tensor  # [B] places of the rows, domain by domain
    sizes: list[int]  # rows of each of the D domain ids

    @classmethod
    def of(cls, domain_B: Tensor, domains: int) -> "Routing":
        """Sort a batch's rows; ``domains`` counts the ids, the unknown domain included."""
        sizes = torch.bincount(domain_B, minlength=domains).tolist()
        return cls(domain_B.argsort(stable=True), sizes)

    def sort(self, x_BX: Tensor) -> Tensor:
        """Rows in the order of their domains."""
        return x_BX.index_select(0, self.order)

    def unsort(self, x_BX: Tensor) -> Tensor:
        """Rows in the batch's order again."""
        return torch.empty_like(x_BX).index_copy(0, self.order, x_BX)


class DomainLinear(nn.Module):
    """A linear layer for each domain, on rows sorted by ``Routing``: [B, I] -> [B, O]."""

    def __init__(self, domains: int, width: int, out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(domains, width, out))
        self.bias = nn.Parameter(torch.zeros(domains, out))
        nn.init.uniform_(self.weight, -(bound := 1 / math.sqrt(width)), bound)

    def forward(self, sorted_BI: Tensor, sizes: list[int]) -> Tensor:
        parts = [
            torch.addmm(bias, x, weight)
            for x, weight, bias in zip(
                sorted_BI.split(sizes), self.weight.unbind(), self.bias.unbind(), strict=True
            )
            if len(x)
        ]
        return torch.cat(parts)


class DomainTowers(nn.Module):
    """An MLP with one output for each domain: rows [B, I] in the batch's order -> logits [B]."""

    def __init__(self, domains: int, width: int, hidden: Sequence[int]) -> None:
        super().__init__()
        widths = [width, *hidden, 1]
        self.layers = nn.ModuleList(
            DomainLinear(domains, i, o) for i, o in itertools.pairwise(widths)
        )

    def forward(self, x_BI: Tensor, routing: Routing) -> Tensor:
        x_BI = routing.sort(x_BI)
        for number, layer in enumerate(self.layers):
            x_BI = layer(x_BI.relu() if number else x_BI, routing.sizes)
        return routing.unsort(x_BI).squeeze(1)
