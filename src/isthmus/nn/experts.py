"""Banks of experts: many small networks as one batched product, without a loop over experts.

Shape letters: B rows, E experts, I input width, O output width.
"""

import itertools
import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from isthmus.nn.mlp import relu_dropout
from isthmus.nn.normalise import EPS, NormaliseActive
from isthmus.nn.precision import exact, full_precision

MOMENTUM = 0.1  # of batch normalisation, as in torch


class ExpertLayer(nn.Module):
    """One layer of E experts side by side: linear, batch norm, ReLU, dropout.

    Input: [E, B, I], or [B, I] where all experts read the same rows. Output: [E, B, O].
    ``active_EB`` (0 or 1) says which rows are an expert's own: others do not enter its statistics,
    since a domain whose mask leaves an expert out must not shift it for those that use it.
    """

    def __init__(self, experts: int, width: int, out: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, width, out))
        nn.init.uniform_(self.weight, -(bound := 1 / math.sqrt(width)), bound)
        self.scale = nn.Parameter(torch.ones(experts, 1, out))
        self.shift = nn.Parameter(torch.zeros(experts, 1, out))
        self.register_buffer("mean", torch.zeros(experts, 1, out))
        self.register_buffer("var", torch.ones(experts, 1, out))
        self.mean: Tensor
        self.var: Tensor
        self.dropout = dropout

    def forward(self, x: Tensor, active_EB: Tensor | None = None) -> Tensor:
        if not self.training:
            weight_EIO, bias_E1O = self.folded()
            return torch.relu_(self._product(x, weight_EIO, bias_E1O))
        h_EBO = exact(self._product(x, self.weight))
        active_EB = h_EBO.new_ones(h_EBO.shape[:2]) if active_EB is None else exact(active_EB)
        with full_precision(h_EBO):
            normal_EBO, *noted = NormaliseActive.apply(h_EBO, active_EB)
        self._note(*noted)
        h_EBO = torch.addcmul(self.shift, normal_EBO, self.scale)
        return relu_dropout(h_EBO, self.dropout, True)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight [E, I, O] and bias [E, 1, O] with the running normalisation multiplied in."""
        scale_E1O = self.scale * (self.var + EPS).rsqrt()
        return self.weight * scale_E1O, self.shift - self.mean * scale_E1O

    @staticmethod
    def _product(x: Tensor, weight_EIO: Tensor, bias_E1O: Tensor | None = None) -> Tensor:
        if x.dim() == 3:
            if bias_E1O is None:
                return torch.bmm(x, weight_EIO)
            return torch.baddbmm(bias_E1O, x, weight_EIO)
        experts, width, out = weight_EIO.shape  # one product for all experts
        flat_IX = weight_EIO.transpose(0, 1).reshape(width, experts * out)
        flat_BX = x @ flat_IX if bias_E1O is None else torch.addmm(bias_E1O.flatten(), x, flat_IX)
        return flat_BX.view(len(x), experts, out).transpose(0, 1)

    @torch.no_grad()
    def _note(self, mean_E1O: Tensor, var_E1O: Tensor, rows_E11: Tensor) -> None:
        unbiased_E1O = var_E1O * (rows_E11 / (rows_E11 - 1).clamp(min=1))
        rate_E11 = MOMENTUM * (rows_E11 > 1)  # an expert without rows has nothing to note
        self.mean += rate_E11 * (mean_E1O - self.mean)
        self.var += rate_E11 * (unbiased_E1O - self.var)


class Experts(nn.Module):
    """E independent MLPs: [B, I] or [E, B, I] -> [E, B, ``hidden[-1]``]."""

    def __init__(
        self, experts: int, width: int, hidden: Sequence[int], *, dropout: float = 0.0
    ) -> None:
        super().__init__()
        widths = [width, *hidden]
        self.layers = nn.ModuleList(
            ExpertLayer(experts, i, o, dropout=dropout) for i, o in itertools.pairwise(widths)
        )
        self.width = widths[-1]

    def forward(self, x: Tensor, active_EB: Tensor | None = None) -> Tensor:
        for layer in self.layers:
            x = layer(x, active_EB)
        return x

    def folded(self) -> list[tuple[Tensor, Tensor]]:
        """Weight [E, I, O] and bias [E, 1, O] of each layer, running normalisation multiplied in."""
        return [cast(ExpertLayer, layer).folded() for layer in self.layers]
