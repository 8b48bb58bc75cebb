"""One small network a domain, routed: a row meets only its own domain's weights.

Shape letters: B rows, D domain ids (0 is the unknown domain), G groups, I input width,
O output width.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.device import moved, on_host
from isthmus.nn.precision import lowered

LINE = 16
"""Numbers of four bytes that a cache line holds."""


@dataclass(frozen=True, slots=True)
class Routing:
    """How the rows of a batch are sorted by domain, so that each domain's are one slice."""

    order: Tensor  # [B] places of the rows, domain by domain
    sizes: list[int]  # rows of each of the D domain ids

    @classmethod
    def of(cls, domain_B: Tensor, domains: int) -> "Routing":
        """Sort a batch's rows; ``domains`` counts the ids, the unknown domain included."""
        if torch.compiler.is_exporting():
            here = torch.arange(domain_B.shape[0], device=domain_B.device)
            return cls(here, OnePart(domain_B, domains))
        sizes = torch.bincount(on_host(domain_B), minlength=domains).tolist()
        return cls(domain_B.argsort(stable=True), sizes)

    def sort(self, x_BX: Tensor) -> Tensor:
        """Rows in the order of their domains."""
        return x_BX.index_select(0, self.order)

    def unsort(self, x_BX: Tensor) -> Tensor:
        """Rows in the batch's order again."""
        return torch.empty_like(x_BX).index_copy(0, self.order, x_BX)


class OnePart(list[int]):
    """In place of sizes in a graph that is written to a file: all rows are of the first one's part.

    What such a graph computes cannot depend on how many rows each part has.
    """

    def __init__(self, part_B: Tensor, parts: int) -> None:
        super().__init__()
        self.part_B, self.parts = part_B, parts

    def __mul__(self, experts: Any) -> "OnePart":
        """Of so many experts' groups, side by side: the same part of each."""
        return self

    def of(self, values_PX: Tensor) -> Tensor:
        """The part's own of what all P parts have: [...]."""
        return values_PX.index_select(0, self.part_B[:1]).squeeze(0)

    def linear(self, x_BI: Tensor, weight_GIO: Tensor, bias_GO: Tensor) -> Tensor:
        """``grouped_linear``; the groups are the parts, or the parts of one expert after another."""
        groups = (len(weight_GIO) // self.parts, self.parts)
        weight_EIO = self.of(weight_GIO.unflatten(0, groups).transpose(0, 1))
        bias_E1O = self.of(bias_GO.unflatten(0, groups).transpose(0, 1))[:, None]
        x_EBI = x_BI.unflatten(0, (len(weight_EIO), -1))
        return torch.baddbmm(bias_E1O, x_EBI, weight_EIO).flatten(0, 1)


def parts_of(sizes: Sequence[int], device: torch.device) -> Tensor:
    """Which part each of the sorted rows is of: [B]."""
    if isinstance(sizes, OnePart):
        return sizes.part_B
    part_B = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    return moved(part_B, device)


def is_aligned(width: int, out: int) -> bool:
    """Whether rows of these widths begin at cache lines, wherever a group of them lies.

    A product's last bits depend on where its operands begin. Of groups for which they can begin
    anywhere, copies are multiplied: else a group's scores would depend on the sizes of those before.
    """
    return width % LINE == 0 and (out == 1 or out % LINE == 0)


class _GroupedLinear(torch.autograd.Function):
    """One product a group of neighbouring rows.

    Gradients are written where they stay: to stack those of many groups costs more than they do.
    Views of all groups are made at once: by slices of one group after another they take as long as
    the products of groups with a few rows.
    """

    @staticmethod
    def forward(
        ctx: Any, x_BI: Tensor, weight_GIO: Tensor, bias_GO: Tensor, sizes: Sequence[int]
    ) -> Tensor:
        ctx.save_for_backward(x_BI, weight_GIO)
        ctx.sizes = sizes = list(sizes)
        out_BO = x_BI.new_empty(len(x_BI), weight_GIO.shape[2])
        weights = zip(weight_GIO.unbind(), bias_GO.unbind(), strict=True)
        rows = zip(x_BI.split(sizes), out_BO.split(sizes), strict=True)
        aligned = is_aligned(*weight_GIO.shape[1:])
        for size, (weight_IO, bias_O), (x, out) in zip(sizes, weights, rows, strict=True):
            if not size:
                continue
            if aligned:
                torch.addmm(bias_O, x, weight_IO, out=out)
            else:
                out.copy_(torch.addmm(bias_O, x.clone(), weight_IO))
        return out_BO

    @staticmethod
    def backward(ctx: Any, grad_BO: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x_BI, weight_GIO = ctx.saved_tensors
        grad_BO, sizes = grad_BO.contiguous(), ctx.sizes
        to_x_BI, to_weight_GIO = torch.empty_like(x_BI), torch.empty_like(weight_GIO)
        to_bias_GO = grad_BO.new_zeros(len(weight_GIO), grad_BO.shape[1])
        weight_slices = (weight_GIO.transpose(1, 2), to_weight_GIO, to_bias_GO)
        row_slices = (x_BI.T.split(sizes, 1), grad_BO.split(sizes), to_x_BI.split(sizes))
        weights = zip(*(tensor.unbind() for tensor in weight_slices), strict=True)
        rows = zip(*row_slices, strict=True)
        both = zip(sizes, weights, rows, strict=True)
        for size, (weight_OI, to_weight_IO, to_bias_O), (x, grad, to_x) in both:
            if not size:
                to_weight_IO.zero_()
                continue
            torch.mm(grad, weight_OI, out=to_x)
            torch.mm(x, grad, out=to_weight_IO)
            torch.sum(grad, 0, out=to_bias_O)
        return to_x_BI, to_weight_GIO, to_bias_GO, None


def grouped_linear(
    sorted_BI: Tensor, weight_GIO: Tensor, bias_GO: Tensor, sizes: Sequence[int]
) -> Tensor:
    """``x @ weight[g] + bias[g]`` for the ``sizes[g]`` neighbouring rows of each group g: [B, O]."""
    if isinstance(sizes, OnePart):
        return sizes.linear(sorted_BI, weight_GIO, bias_GO)
    operands = lowered(sorted_BI.contiguous(), weight_GIO, bias_GO)
    out_BO: Tensor = _GroupedLinear.apply(*operands, sizes)
    return out_BO


class DomainLinear(nn.Module):
    """A linear layer for each domain, on rows sorted by ``Routing``: [B, I] -> [B, O]."""

    def __init__(self, domains: int, width: int, out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(domains, width, out))
        self.bias = nn.Parameter(torch.zeros(domains, out))
        nn.init.uniform_(self.weight, -(bound := 1 / math.sqrt(width)), bound)

    def forward(self, sorted_BI: Tensor, sizes: list[int]) -> Tensor:
        return grouped_linear(sorted_BI, self.weight, self.bias, sizes)


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
