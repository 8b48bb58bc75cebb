"""Masks over the edges of an expert hierarchy: connectivity, pruning, overlap.

A mask is a list with one Boolean tensor [..., n_below, n_above] for each pair of neighbouring
levels; an edge says that the expert above reads the expert below. Leading dimensions (domains,
candidates) are free. Shape letters: S experts below (sources), T experts above (targets).
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from isthmus.device import moved

Mask = list[Tensor]


def repaired(mask: Sequence[Tensor]) -> Mask:
    """The mask without edges that no input reaches or that lead to no output (AREAD, 1.3)."""
    edges = [level.clone() for level in mask]
    for lower, upper in itertools.pairwise(edges):  # reached from the first level
        upper &= lower.any(-2)[..., None]
    for lower, upper in zip(edges[-2::-1], edges[:0:-1], strict=True):  # leads to the last level
        lower &= upper.any(-1)[..., None, :]
    return edges


def active(mask: Sequence[Tensor], widths: Sequence[int]) -> list[Tensor]:
    """Which experts a repaired mask uses, for each level: [..., n_level] Booleans.

    A hierarchy of one level has no edges: all its experts are active, without leading dimensions.
    """
    if not mask:
        return [torch.ones(widths[0], dtype=torch.bool)]
    return [mask[0].any(-1), *(level.any(-2) for level in mask)]


def has_output(mask: Sequence[Tensor]) -> Tensor:
    """Whether any expert of the last level is left: [...]."""
    return mask[-1].flatten(-2).any(-1)


def density(mask: Sequence[Tensor]) -> Tensor:
    """Share of all edges that is kept: [...]."""
    kept = torch.stack([level.flatten(-2).sum(-1) for level in mask]).sum(0)
    return kept / sum(level.shape[-2] * level.shape[-1] for level in mask)


def importance(gates: Sequence[Tensor]) -> list[Tensor]:
    """Gate times fan-in, so that 1 is an average edge at every level (AREAD, 1.10 row 3)."""
    return [gate * gate.shape[-2] for gate in gates]


def weighed_from_above(
    weight: Sequence[Tensor], gates: Sequence[Tensor], merit: Tensor
) -> list[Tensor]:
    """Edge weights times the merit of the expert that reads them, passed down level by level.

    Gates sum to 1 over what an expert reads, so by themselves they never tell one expert above
    from another. ``merit`` [..., T] is that of the last level's experts, 1 on average; an expert
    below has the merit of those that read it, by their gates.
    """
    weighed: list[Tensor] = []
    for values, gate in zip(reversed(weight), reversed(gates), strict=True):
        weighed.append(values * merit[..., None, :])
        merit = (gate * merit[..., None, :]).sum(-1)
        merit = merit / merit.mean(-1, keepdim=True).clamp(min=1e-9)
    return weighed[::-1]


def keep_strongest(mask: Sequence[Tensor], weight: Sequence[Tensor], share: float) -> Mask:
    """The ``share`` of all a level's edges with the largest weight, among those of ``mask``.

    Each level keeps its share by itself: one threshold over levels of different fan-in would
    hardly touch the narrow ones. Where the repaired result had no output, ``mask`` stays.
    """
    kept = []
    for level, values in zip(mask, weight, strict=True):
        flat = values.masked_fill(~level, -torch.inf).flatten(-2)
        number = max(1, round(share * flat.shape[-1]))
        chosen = torch.zeros_like(flat, dtype=torch.bool)
        chosen.scatter_(-1, flat.topk(number, dim=-1).indices, True)
        kept.append(chosen.view_as(level) & level)
    kept = repaired(kept)
    lost = ~has_output(kept)[..., None, None]
    return [torch.where(lost, before, after) for before, after in zip(mask, kept, strict=True)]


def flipped(mask: Sequence[Tensor], share: Tensor, generator: torch.Generator) -> Mask:
    """Swap ``share`` of the kept edges for as many absent ones, so that the density stays.

    ``share`` [...] is in [0, 1]; a level with fewer absent edges than that swaps all it has.
    """
    result = []
    for level in mask:
        flat = level.flatten(-2)
        kept = flat.sum(-1)
        number = torch.minimum((share * kept).round().long(), flat.shape[-1] - kept)
        order = moved(torch.rand(flat.shape, generator=generator), flat.device)
        drop = _first(order.masked_fill(~flat, torch.inf), number)
        add = _first(order.masked_fill(flat, torch.inf), number)
        result.append(((flat & ~drop) | add).view_as(level))
    return result


def _first(order: Tensor, number: Tensor) -> Tensor:
    """Booleans that mark the ``number`` smallest of the last dimension."""
    rank = order.argsort(-1).argsort(-1)
    return rank < number[..., None]


def changed(before: Sequence[Tensor], after: Sequence[Tensor]) -> Tensor:
    """Share of the edges of either mask that the other lacks (Jaccard distance): [...]."""
    pairs = [(b.flatten(-2), a.flatten(-2)) for b, a in zip(before, after, strict=True)]
    lost = torch.stack([(b ^ a).sum(-1) for b, a in pairs]).sum(0)
    either = torch.stack([(b | a).sum(-1) for b, a in pairs]).sum(0)
    return lost / either.clamp(min=1)


def overlap(mask: Sequence[Tensor]) -> Tensor:
    """Shared edges over all edges of two domains (Jaccard), for all pairs: [D, D]."""
    flat_DX = torch.cat([level.flatten(-2) for level in mask], dim=-1).double()
    both_DD = flat_DX @ flat_DX.T
    size_D = flat_DX.sum(1)
    return both_DD / (size_D[:, None] + size_D[None] - both_DD).clamp(min=1)
