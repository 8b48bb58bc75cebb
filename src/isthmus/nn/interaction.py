"""Explicit feature interactions."""

import torch
from torch import Tensor, nn


class CrossNetwork(nn.Module):
    """Cross network of DCN (Wang et al., ADKDD 2017, eq. 3): x <- x_0 (w . x) + b + x; [B, I] -> [B, I].

    Every layer's output is x_0 times a number a row, plus a vector that no row changes. Both
    follow from x_0 . w alone, so the rows are read twice, whatever the depth.
    """

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(layers, width) / width)
        self.bias = nn.Parameter(torch.zeros(layers, width))

    def forward(self, x_BI: Tensor) -> Tensor:
        dots_LB = self.weight @ x_BI.T
        times_B, plus_I = torch.ones_like(dots_LB[0]), torch.zeros_like(self.bias[0])
        for dot_B, weight_I, bias_I in zip(dots_LB, self.weight, self.bias, strict=True):
            times_B = torch.addcmul(times_B + plus_I @ weight_I, times_B, dot_B)
            plus_I = plus_I + bias_I
        return torch.addcmul(plus_I, x_BI, times_B[:, None])
