"""Gates that scale what passes them by what is known beforehand (PEPNet, KDD 2023).

Shape letters: B rows, I input width, O output width.
"""

import torch
from torch import Tensor, nn

from isthmus.schema import Schema


class GateNU(nn.Module):
    """Gate Neural Unit: ``gamma * sigmoid(MLP(x))``, around gamma / 2; [B, I] -> [B, O]."""

    def __init__(self, width: int, hidden: int, out: int, *, gamma: float = 2.0) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(width, hidden), nn.Linear(hidden, out)
        self.gamma = gamma

    def forward(self, x_BI: Tensor) -> Tensor:
        gate_BO: Tensor = self.out(self.hidden(x_BI).relu()).sigmoid()
        return self.gamma * gate_BO


class DomainGate(nn.Module):
    """EPNet: embeddings scaled by a gate that reads them and the domain; [B, I] -> [B, I].

    The gate's gradient does not reach the embeddings that it reads, only the domain's.
    """

    def __init__(self, schema: Schema, dim: int, width: int, hidden: int) -> None:
        super().__init__()
        self.domain = nn.Embedding(schema.num_domains + 1, dim)
        nn.init.normal_(self.domain.weight, std=0.1)
        self.gate = GateNU(dim + width, hidden, width)

    def forward(self, e_BI: Tensor, domain_B: Tensor) -> Tensor:
        gate_BI: Tensor = self.gate(torch.cat([self.domain(domain_B), e_BI.detach()], dim=1))
        return gate_BI * e_BI
