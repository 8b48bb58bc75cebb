"""Layers of the star topology (Sheng et al., CIKM 2021): a shared centre, and factors for each part.

All take rows sorted by ``Routing``. Shape letters: B rows, P parts, I input width, O output width.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus import distributed
from isthmus.device import moved, on_host
from isthmus.nn.precision import exact, lowered
from isthmus.nn.towers import OnePart, is_aligned, parts_of

MOMENTUM, EPS = 0.1, 1e-5  # of batch normalisation, as in torch


class _StarProduct(torch.autograd.Function):
    """``x @ (shared * own[part])``, part by part, for the parts that have rows.

    The products of weights live in one buffer that stays in the cache and are made again on the
    way back: kept for all parts they would be most of a step's memory traffic.
    """

    @staticmethod
    def forward(
        ctx: Any, x_BI: Tensor, shared_IO: Tensor, own_PIO: Tensor, sizes: list[int]
    ) -> Tensor:
        ctx.save_for_backward(x_BI, shared_IO, own_PIO)
        ctx.sizes = sizes
        out_BO = x_BI.new_empty(len(x_BI), shared_IO.shape[1])
        weight_IO = torch.empty_like(shared_IO)
        slices = zip(sizes, own_PIO.unbind(), x_BI.split(sizes), out_BO.split(sizes), strict=True)
        aligned = is_aligned(*shared_IO.shape)
        for size, own_IO, x, out in slices:
            if not size:
                continue
            torch.mul(shared_IO, own_IO, out=weight_IO)
            if aligned:
                torch.mm(x, weight_IO, out=out)
            else:
                out.copy_(x.clone() @ weight_IO)
        return out_BO

    @staticmethod
    def backward(ctx: Any, grad_BO: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x_BI, shared_IO, own_PIO = ctx.saved_tensors
        grad_x_BI, grad_own_PIO = torch.empty_like(x_BI), torch.empty_like(own_PIO)
        grad_shared_IO, weight_IO = torch.zeros_like(shared_IO), torch.empty_like(shared_IO)
        weight_OI, sizes = weight_IO.T, ctx.sizes
        weights = zip(own_PIO.unbind(), grad_own_PIO.unbind(), strict=True)
        row_slices = (x_BI.T.split(sizes, 1), grad_BO.split(sizes), grad_x_BI.split(sizes))
        rows = zip(*row_slices, strict=True)
        for (own_IO, grad_own), (x, grad, grad_x) in zip(weights, rows, strict=True):
            if not len(grad):
                grad_own.zero_()
                continue
            torch.mul(shared_IO, own_IO, out=weight_IO)
            torch.mm(grad, weight_OI, out=grad_x)
            torch.mm(x, grad, out=grad_own)  # of the product of weights, as yet
            grad_shared_IO.addcmul_(grad_own, own_IO)
            grad_own.mul_(shared_IO)
        return grad_x_BI, grad_shared_IO, grad_own_PIO, None


class StarLinear(nn.Module):
    """A linear layer of weight ``shared * own`` and bias ``shared + own``: [B, I] -> [B, O].

    The shared weight starts as any layer's, the parts' own at 1 and their biases at 0: at first all
    parts are the shared network.
    """

    def __init__(self, parts: int, width: int, out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, out))
        self.bias = nn.Parameter(torch.zeros(out))
        self.part_weight = nn.Parameter(torch.ones(parts, width, out))
        self.part_bias = nn.Parameter(torch.zeros(parts, out))
        nn.init.uniform_(self.weight, -(bound := 1 / math.sqrt(width)), bound)

    def forward(self, sorted_BI: Tensor, sizes: list[int]) -> Tensor:
        bias_PO = self.bias + self.part_bias
        part_B = parts_of(sizes, sorted_BI.device)
        if self.weight.shape[1] == 1:  # one column a part: to fetch it beats a product a part
            weight_PI = (self.weight * self.part_weight).squeeze(2)
            out_BO = (sorted_BI * F.embedding(part_B, weight_PI)).sum(1, keepdim=True)
        elif isinstance(sizes, OnePart):
            out_BO = sorted_BI @ (self.weight * sizes.of(self.part_weight))
        else:
            operands = lowered(sorted_BI, self.weight, self.part_weight)
            out_BO = _StarProduct.apply(*operands, sizes)
        return out_BO + bias_PO.index_select(0, part_B)


class PartitionedNorm(nn.Module):
    """Batch norm with each part's own statistics, scale and shift: [B, I] -> [B, I].

    The paper draws each batch from one domain. A batch that mixes them can hold few rows of a part,
    so a part of n rows is normalised by n / (n + ``few_rows``) of the batch's statistics and the
    rest of its running ones, and one of a single row by its running ones alone; running statistics
    follow at that same share of torch's rate. With ``few_rows=0`` it is torch's batch norm, part
    by part. Until its own rows move them, a part's running statistics are the first batch's.
    """

    def __init__(self, parts: int, width: int, *, few_rows: float = 16.0) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.part_scale = nn.Parameter(torch.ones(parts, width))
        self.part_shift = nn.Parameter(torch.zeros(parts, width))
        self.register_buffer("mean", torch.zeros(parts, width))
        self.register_buffer("var", torch.ones(parts, width))
        self.register_buffer("started", torch.tensor(False))
        self.mean: Tensor
        self.var: Tensor
        self.started: Tensor
        self.few_rows = few_rows

    def forward(self, sorted_BI: Tensor, sizes: list[int]) -> Tensor:
        sorted_BI = exact(sorted_BI)
        rows_P = moved(torch.tensor(sizes), sorted_BI.device)
        part_B = parts_of(sizes, sorted_BI.device)
        mean_PI, var_PI = self.mean, self.var
        if self.training:
            mean_PI, var_PI = self._statistics(sorted_BI, part_B, rows_P[:, None].to(sorted_BI))
        scale_PI = self.scale * self.part_scale * (var_PI + EPS).rsqrt()
        shift_PI = self.shift + self.part_shift - mean_PI * scale_PI
        scale_BI, shift_BI = scale_PI.index_select(0, part_B), shift_PI.index_select(0, part_B)
        return torch.addcmul(shift_BI, sorted_BI, scale_BI)

    def _statistics(self, x_BI: Tensor, part_B: Tensor, rows_P1: Tensor) -> tuple[Tensor, Tensor]:
        """Each part's mean and variance, [P, I], the running ones blended in where rows are few."""
        self._start(x_BI.detach())
        own_P1, rows_P1 = rows_P1, distributed.total(rows_P1)
        count_P1 = rows_P1.clamp(min=1)
        mean_PI = distributed.total(_sums(x_BI, own_P1)) / count_P1
        apart_BI = (x_BI - mean_PI.index_select(0, part_B)).square()
        var_PI = distributed.total(_sums(apart_BI, own_P1)) / count_P1
        trust_P1 = rows_P1 / (rows_P1 + self.few_rows).clamp(min=1)
        lead_P1 = trust_P1 * (rows_P1 > 1)
        blended = self.mean.lerp(mean_PI, lead_P1), self.var.lerp(var_PI, lead_P1)
        self._note(mean_PI.detach(), var_PI.detach(), rows_P1, MOMENTUM * trust_P1)
        return blended

    @torch.no_grad()
    def _start(self, x_BI: Tensor) -> None:
        if on_host(self.started):
            return
        x_BI = distributed.gathered(x_BI)
        if len(x_BI) > 1:
            self.mean.copy_(x_BI.mean(0).expand_as(self.mean))
            self.var.copy_(x_BI.var(0).expand_as(self.var))
            self.started.fill_(True)

    @torch.no_grad()
    def _note(self, mean_PI: Tensor, var_PI: Tensor, rows_P1: Tensor, rate_P1: Tensor) -> None:
        # One row has no variance of its own: its distance from the running mean is what it tells.
        alone_PI = (mean_PI - self.mean).square()
        unbiased_PI = var_PI * (rows_P1 / (rows_P1 - 1).clamp(min=1))
        seen_PI = torch.where(rows_P1 > 1, unbiased_PI, alone_PI)
        self.mean = self.mean.lerp(mean_PI, rate_P1)
        self.var = self.var.lerp(seen_PI, rate_P1)


def _sums(sorted_BI: Tensor, rows_P1: Tensor) -> Tensor:
    """Each part's sum over its rows: [P, I]."""
    rows_P = rows_P1[:, 0].long()
    start_P = rows_P.cumsum(0) - rows_P
    places_B = torch.arange(len(sorted_BI), device=sorted_BI.device)
    return F.embedding_bag(places_B, sorted_BI, start_P, mode="sum")  # the fastest sum of slices
