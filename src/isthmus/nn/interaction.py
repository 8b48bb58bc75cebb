"""Explicit feature interactions.

Shape letters: B rows, L layers, I row width, F features, K embedding width, E experts, R rank,
H heads, X and Y the widths of two streams.
"""

import math
from typing import Literal

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

    def fixed(self) -> tuple[list[float], Tensor]:
        """What no row changes: what each layer adds to its number, and the vector of the end, [I]."""
        plus_I, steps = torch.zeros_like(self.bias[0]), []
        for weight_I, bias_I in zip(self.weight, self.bias, strict=True):
            steps.append(float(plus_I @ weight_I))
            plus_I = plus_I + bias_I
        return steps, plus_I


class MatrixCrossNetwork(nn.Module):
    """Cross network of DCN V2 (Wang et al., WWW 2021, section 3.2): x <- x_0 * (W x + b) + x; [B, I] -> [B, I]."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))

    def forward(self, first_BI: Tensor) -> Tensor:
        x_BI = first_BI
        for layer in self.layers:
            x_BI = torch.addcmul(x_BI, first_BI, layer(x_BI))
        return x_BI


class LowRankCross(nn.Module):
    """One layer of DCN V2's mixture of low-rank experts (section 3.5): x_0, x [B, I] -> [B, I].

    x <- sum_i G_i(x) x_0 * (U_i tanh(C_i tanh(V_i' x)) + b) + x, with one bias b for all experts.
    Gates enter between C and U, so that all experts' U are one matrix product.
    """

    def __init__(
        self, width: int, experts: int, rank: int, *, gate: Literal["softmax", "sigmoid"]
    ) -> None:
        super().__init__()
        self.down = nn.Linear(width, experts * rank, bias=False)
        self.core = nn.Parameter(torch.empty(experts, rank, rank))
        nn.init.uniform_(self.core, -(bound := 1 / math.sqrt(rank)), bound)
        self.up = nn.Linear(experts * rank, width, bias=False)
        self.bias = nn.Parameter(torch.zeros(width))
        self.gate = nn.Linear(width, experts)
        self.softmax = gate == "softmax"

    def forward(self, first_BI: Tensor, x_BI: Tensor) -> Tensor:
        experts, rank, _ = self.core.shape
        score_BE = self.gate(x_BI)
        gate_BE = score_BE.softmax(1) if self.softmax else score_BE.sigmoid()
        low_EBR = self.down(x_BI).tanh().view(-1, experts, rank).transpose(0, 1)
        core_EBR = (low_EBR @ self.core).tanh()
        gated_BER = core_EBR.transpose(0, 1) * gate_BE[..., None]
        if self.softmax:  # gates sum to 1: the bias stays as it is
            inner_BI = torch.addmm(self.bias, gated_BER.flatten(1), self.up.weight.T)
        else:
            inner_BI = self.up(gated_BER.flatten(1)) + gate_BE.sum(1, keepdim=True) * self.bias
        return torch.addcmul(x_BI, first_BI, inner_BI)


class LowRankCrossNetwork(nn.Module):
    """Layers of ``LowRankCross``, each with gates of its own: [B, I] -> [B, I]."""

    def __init__(
        self,
        width: int,
        layers: int,
        *,
        experts: int = 4,
        rank: int = 32,
        gate: Literal["softmax", "sigmoid"] = "softmax",
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            LowRankCross(width, experts, rank, gate=gate) for _ in range(layers)
        )

    def forward(self, first_BI: Tensor) -> Tensor:
        x_BI = first_BI
        for layer in self.layers:
            x_BI = layer(first_BI, x_BI)
        return x_BI


def pairwise_products(e_BFK: Tensor) -> Tensor:
    """Sum of the inner products of all pairs of features: [B, F, K] -> [B].

    Half of the squared sum less the sum of squares (Rendle, ICDM 2010, lemma 3.1): linear in F.
    """
    sum_BK = e_BFK.sum(1)
    return 0.5 * (sum_BK.square().sum(1) - e_BFK.flatten(1).square().sum(1))


class FeatureGate(nn.Module):
    """Feature selection of FinalMLP (Mao et al., AAAI 2023): 2 sigmoid(MLP(context)), around 1.

    Context [B, C] -> weights [B, I] of a row's numbers. With ``context`` 0 the context is learned,
    the same for all rows: None -> [1, I].
    """

    def __init__(self, context: int, hidden: int, width: int) -> None:
        super().__init__()
        self.context = None if context else nn.Parameter(torch.randn(1, hidden) * 0.1)
        self.mlp = nn.Sequential(
            nn.Linear(context or hidden, hidden), nn.ReLU(), nn.Linear(hidden, width)
        )

    def forward(self, context_BC: Tensor | None = None) -> Tensor:
        context_BC = self.context if context_BC is None else context_BC
        weight_BI: Tensor = 2 * self.mlp(context_BC).sigmoid()
        return weight_BI


class BilinearFusion(nn.Module):
    """Multi-head bilinear fusion of FinalMLP's two streams: [B, X], [B, Y] -> logits [B].

    b + w_1 . x + w_2 . y + sum over heads of x_h' W_h y_h, with the streams cut into H chunks.
    ``heads`` divides both widths.
    """

    def __init__(self, width: int, other: int, heads: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1)
        self.linear_other = nn.Linear(other, 1, bias=False)
        self.weight = nn.Parameter(torch.empty(heads, width // heads, other // heads))
        std = math.sqrt(2 / (width + other))
        nn.init.normal_(self.weight, std=std)

    def forward(self, x_BX: Tensor, y_BY: Tensor) -> Tensor:
        heads = len(self.weight)
        x_HBX = x_BX.unflatten(1, (heads, -1)).transpose(0, 1)
        product_BY = (x_HBX @ self.weight).transpose(0, 1).flatten(1)
        plain_B1 = self.linear(x_BX) + self.linear_other(y_BY)
        logit_B: Tensor = plain_B1.squeeze(1) + (product_BY * y_BY).sum(1)
        return logit_B
