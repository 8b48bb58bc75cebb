"""HEI, the hierarchical expert integration of AREAD (AAAI'25, eq. 4 to 7): experts in levels.

Shape letters: B rows, D domain ids (0 is the unknown domain), S experts below, T experts above,
O an expert's output width, K embedding width, L levels.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from isthmus.nn import masks
from isthmus.nn.experts import Experts
from isthmus.nn.precision import full_precision

FEW = 32
"""Domain ids up to which products over domains have one and the same size."""


class ExpertHierarchy(nn.Module):
    """Levels of experts; each reads a gated mixture of the experts below that its mask keeps.

    Gates depend on the domain alone, so they are one table [D, S, T] a level. Masks are buffers,
    hence part of every checkpoint; the unknown domain (id 0) always uses all experts.
    """

    def __init__(
        self,
        domains: int,
        width: int,
        levels: Sequence[tuple[int, Sequence[int]]],
        *,
        dim: int,
        dropout: float,
    ) -> None:
        """``levels``: for each, its number of experts and their layer widths; ``dim``: K."""
        super().__init__()
        self.domains, self.sizes = domains, [size for size, _ in levels]
        self.group = nn.Parameter(torch.empty(self.sizes[0], dim).normal_(std=0.1))
        widths = [width, *(hidden[-1] for _, hidden in levels)]
        self.levels = nn.ModuleList(
            Experts(size, before, hidden, dropout=dropout)
            for before, (size, hidden) in zip(widths[:-1], levels, strict=True)
        )
        pairs = list(zip(self.sizes[:-1], self.sizes[1:], strict=True))
        self.gate_weight = nn.ParameterList(
            nn.Parameter(torch.randn(2 * dim, s, t) / (2 * dim) ** 0.5) for s, t in pairs
        )
        self.gate_bias = nn.ParameterList(nn.Parameter(torch.zeros(s, t)) for s, t in pairs)
        for number, (s, t) in enumerate(pairs):
            self.register_buffer(f"mask_{number}", torch.ones(domains, s, t, dtype=torch.bool))
        self.register_buffer("searched", torch.zeros((), dtype=torch.bool))
        self.searched: Tensor
        self.width = widths[-1]

    @property
    def mask(self) -> masks.Mask:
        """Edges of every domain: a level's tensor is [D, S, T]."""
        return [self.get_buffer(f"mask_{number}") for number in range(len(self.sizes) - 1)]

    def set_mask(self, mask: Sequence[Tensor]) -> None:
        """Use ``mask`` from now on; the unknown domain keeps all edges."""
        for own, new in zip(self.mask, masks.repaired(mask), strict=True):
            own[1:] = new[1:]
        self.searched.fill_(True)

    def active(self) -> list[Tensor]:
        """Which experts each domain uses, by level: [D, n_level] Booleans."""
        levels = masks.active(self.mask, self.sizes)
        return [level.to(self.group.device).expand(self.domains, -1) for level in levels]

    def gates(self, domain_DK: Tensor, *, masked: bool = True) -> list[Tensor]:
        """What an expert takes of each one below, for every domain: [D, S, T] a level.

        Softmax over the kept edges: columns of active experts sum to 1, all others are 0. With
        ``masked=False`` over all edges: what a domain would take if its mask kept everything.
        """
        levels = zip(self.gate_weight, self.gate_bias, self.mask, strict=True)
        with full_precision(domain_DK):  # tables of a few rows, by which edges are kept or not
            input_DX = torch.cat([domain_DK, self.groups(self.active()[0])], dim=1)
            return [
                masked_gates(
                    _by_row(input_DX, weight.flatten(1)).unflatten(1, weight.shape[1:]) + bias,
                    mask if masked else torch.ones_like(mask),
                )
                for weight, bias, mask in levels
            ]

    def groups(self, active_DS: Tensor) -> Tensor:
        """Mean embedding of the first-level experts in use (zero before the first search): [D, K]."""
        use_DS = active_DS.to(self.group.dtype) * self.searched
        return _by_row(use_DS, self.group) / use_DS.sum(-1, keepdim=True).clamp(min=1)

    def folded(self) -> list[list[tuple[Tensor, Tensor]]]:
        """Weight and bias of every layer of every level, running normalisation multiplied in."""
        return [cast(Experts, level).folded() for level in self.levels]

    def forward(self, inputs_SBO: Tensor, domain_B: Tensor, domain_DK: Tensor) -> Tensor:
        """First-level inputs [n_1, B, O] -> outputs of the last level [n_L, B, O']."""
        used = [active_DE[domain_B].T.to(inputs_SBO.dtype) for active_DE in self.active()]
        h_SBO = self.levels[0](inputs_SBO, used[0])
        gates = self.gates(domain_DK)
        for experts, gate_DST, active_TB in zip(self.levels[1:], gates, used[1:], strict=True):
            gate_BTS = gate_DST[domain_B].transpose(1, 2)
            mixed_BTO = torch.bmm(gate_BTS, h_SBO.transpose(0, 1))
            h_SBO = experts(mixed_BTO.transpose(0, 1), active_TB)
        return h_SBO


def _by_row(x_DX: Tensor, weight_XY: Tensor) -> Tensor:
    """The product, of which no row's bits depend on how many rows there are.

    Products of a few rows take other kernels, and a domain more would change the others' gates in
    the last place.
    """
    rows = len(x_DX)
    return (torch.nn.functional.pad(x_DX, (0, 0, 0, max(0, FEW - rows))) @ weight_XY)[:rows]


def masked_gates(logit: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the sources [..., S, T] that the mask keeps; 0 elsewhere and for unread targets."""
    kept = logit.masked_fill(~mask, torch.finfo(logit.dtype).min).softmax(-2)
    return kept * mask
