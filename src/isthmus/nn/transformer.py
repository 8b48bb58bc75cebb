"""Causal transformers, K of them side by side, over a packed stream of tokens.

Shape letters: K experts (one for a plain encoder), N tokens, R rows of the stream, S slots of
a row, P = R * S slots, H width, A heads, W head width, I and O input and output width of a layer.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus.nn.towers import DomainLinear, parts_of

EPS = 1e-5  # of layer normalisation, as in torch


class _Dropout(torch.autograd.Function):
    """Inverted dropout by packed random bytes: see ``nn.mlp``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, keep_256: int) -> Tensor:
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64, device=x.device).random_(
            -(2**63), None
        )
        kept = words.view(torch.uint8)[: x.numel()].view(x.shape) < keep_256
        ctx.save_for_backward(kept)
        ctx.scale = 256 / keep_256
        return x.mul(kept).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return grad.mul(kept).mul_(ctx.scale), None


def dropout(x: Tensor, rate: float, training: bool) -> Tensor:
    """Dropout at a ``rate`` rounded to a multiple of 1/256, several times as fast as torch's on a CPU."""
    keep_256 = 256 - round(256 * rate)
    if not training or keep_256 == 256:
        return x
    if torch.compiler.is_compiling():  # which fuses plain dropout, and cannot see into ours
        return F.dropout(x, 1 - keep_256 / 256)
    out: Tensor = _Dropout.apply(x, keep_256)
    return out


class StackedLinear(nn.Module):
    """A linear layer for each of K experts: [K, P, I] -> [K, P, O]."""

    def __init__(self, experts: int, width: int, out: int, *, std: float = 0.02) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, width, out).normal_(std=std))
        self.bias = nn.Parameter(torch.zeros(experts, 1, out))

    def forward(self, x_KPI: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x_KPI, self.weight)


class StackedNorm(nn.Module):
    """Layer normalisation with a scale and a shift for each of K experts: [K, P, H] -> [K, P, H]."""

    def __init__(self, experts: int, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(experts, 1, width))
        self.shift = nn.Parameter(torch.zeros(experts, 1, width))

    def forward(self, x_KPH: Tensor) -> Tensor:
        if len(self.scale) == 1:
            scale_H, shift_H = self.scale.flatten(), self.shift.flatten()
            return F.layer_norm(x_KPH, scale_H.shape, scale_H, shift_H, EPS)
        normal_KPH = F.layer_norm(x_KPH, x_KPH.shape[-1:], eps=EPS)
        return torch.addcmul(self.shift, normal_KPH, self.scale)


class StackedAttention(nn.Module):
    """Self-attention of K experts: [K, P, H] -> [K, P, H].

    ``mask`` is added to the scores: 0 where a slot may look, -inf elsewhere; [R, 1, S, S], or
    [K * R, 1, S, S] where experts look differently. Every slot has to see one at least.
    """

    def __init__(self, experts: int, width: int, heads: int) -> None:
        super().__init__()
        self.project = StackedLinear(experts, width, 3 * width)
        self.out = StackedLinear(experts, width, width)
        self.heads = heads

    def forward(self, x_KPH: Tensor, mask: Tensor) -> Tensor:
        experts, slots = len(x_KPH), mask.shape[-1]
        if len(mask) * slots < experts * x_KPH.shape[1]:
            mask = mask.repeat(experts, 1, 1, 1)
        projected = self.project(x_KPH).view(len(mask), slots, 3, self.heads, -1)
        query, key, value = projected.permute(2, 0, 3, 1, 4).unbind()  # [K * R, A, S, W] each
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.out(mixed.transpose(1, 2).reshape(x_KPH.shape))


class TransformerBlock(nn.Module):
    """Attention, then a feed-forward layer (GELU), each with a residual and a norm before or after."""

    def __init__(
        self, experts: int, width: int, heads: int, hidden: int, *, dropout: float, pre_norm: bool
    ) -> None:
        super().__init__()
        self.attention = StackedAttention(experts, width, heads)
        self.up = StackedLinear(experts, width, hidden)
        self.down = StackedLinear(experts, hidden, width)
        self.norm_1, self.norm_2 = StackedNorm(experts, width), StackedNorm(experts, width)
        self.dropout, self.pre_norm = dropout, pre_norm

    def forward(self, x_KPH: Tensor, mask: Tensor) -> Tensor:
        read_KPH = self.norm_1(x_KPH) if self.pre_norm else x_KPH
        x_KPH = x_KPH + self._drop(self.attention(read_KPH, mask))
        if self.pre_norm:
            return x_KPH + self._drop(self._feed_forward(self.norm_2(x_KPH)))
        x_KPH = self.norm_1(x_KPH)
        return self.norm_2(x_KPH + self._drop(self._feed_forward(x_KPH)))

    def _feed_forward(self, x_KPH: Tensor) -> Tensor:
        out_KPH: Tensor = self.down(F.gelu(self.up(x_KPH)))
        return out_KPH

    def _drop(self, x_KPH: Tensor) -> Tensor:
        return dropout(x_KPH, self.dropout, self.training)


class Transformers(nn.Module):
    """K independent stacks of blocks: [K, P, H] -> [K, P, H]; no expert shares a weight with another.

    With ``pre_norm`` a norm comes last as well. Attention weights are not dropped, only what a
    sublayer gives.
    """

    def __init__(
        self,
        experts: int,
        width: int,
        heads: int,
        *,
        layers: int,
        hidden: int,
        dropout: float,
        pre_norm: bool = True,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            TransformerBlock(experts, width, heads, hidden, dropout=dropout, pre_norm=pre_norm)
            for _ in range(layers)
        )
        self.norm = StackedNorm(experts, width) if pre_norm else None

    def forward(self, x_KPH: Tensor, mask: Tensor) -> Tensor:
        for block in self.blocks:
            x_KPH = block(x_KPH, mask)
        return x_KPH if self.norm is None else self.norm(x_KPH)


class PartFeedForward(nn.Module):
    """A feed-forward layer (GELU) with a residual and a norm for each part, on rows sorted by
    ``Routing``: [N, H] -> [N, H]."""

    def __init__(self, parts: int, width: int, hidden: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.up, self.down = DomainLinear(parts, width, hidden), DomainLinear(parts, hidden, width)
        self.scale = nn.Parameter(torch.ones(parts, width))
        self.shift = nn.Parameter(torch.zeros(parts, width))
        self.dropout = dropout

    def forward(self, sorted_NH: Tensor, sizes: list[int]) -> Tensor:
        added_NH = self.down(F.gelu(self.up(sorted_NH, sizes)), sizes)
        sorted_NH = sorted_NH + dropout(added_NH, self.dropout, self.training)
        normal_NH = F.layer_norm(sorted_NH, sorted_NH.shape[1:], eps=EPS)
        part_N = parts_of(sizes, sorted_NH.device)
        scale_NH, shift_NH = F.embedding(part_N, self.scale), F.embedding(part_N, self.shift)
        return torch.addcmul(shift_NH, normal_NH, scale_NH)
