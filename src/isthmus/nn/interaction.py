"""Explicit feature interactions."""

import torch
from torch import Tensor, nn


class CrossNetwork(nn.Module):
    """Cross network of DCN (Wang et al., ADKDD 2017, eq. 3): x <- x_0 (w . x) + b + x; [B, I] -> [B, I]."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(layers, width) / width)
        self.bias = nn.Parameter(torch.zeros(layers, width))

    def forward(self, x_BI: Tensor) -> Tensor:
        out_BI = x_BI
        for weight_I, bias_I in zip(self.weight, self.bias, strict=True):
            out_BI = torch.addcmul(out_BI + bias_I, x_BI, (out_BI @ weight_I)[:, None])
        return out_BI
