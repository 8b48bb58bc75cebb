"""HEMP, AREAD's search for each domain's mask by iterative pruning (AAAI'25, algorithm 1).

Every candidate of every domain starts from the same state. Embeddings and bottom are frozen, so
each batch passes them once; the candidates of a domain are trained side by side, as one stacked
hierarchy whose copies are thrown away afterwards: a search changes nothing but masks.

Shape letters: Z candidates, S and T experts below and above, B rows, K embedding width,
I and O an expert layer's input and output width.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from isthmus.batch import Impressions
from isthmus.device import moved, on_host
from isthmus.nn import ExpertHierarchy, masks
from isthmus.nn.hierarchy import masked_gates
from isthmus.nn.precision import exact
from isthmus.optim import Watch, update
from isthmus.schema import Absent, Frozen

Bottom = Callable[[Impressions], tuple[Tensor, Tensor]]
"""Rows -> inputs of the first level [n_1, B, O] and what bypasses the hierarchy [B, n_L]."""


STEPS_A_DOMAIN = 25
"""Steps between searches for each domain, so that their share of the time stays as domains grow."""


class SearchConfig(Frozen):
    """How masks are searched. The paper's rates where it gives them; see the AREAD page."""

    enabled: bool = True
    warmup_steps: NonNegativeInt = 100
    first: NonNegativeInt | None = None
    every: PositiveInt | None = None
    candidates: PositiveInt = 10
    updates: NonNegativeInt = 5
    scorings: PositiveInt = 5
    batch_size: PositiveInt = 512
    lr: PositiveFloat = 2e-3
    start_density: PositiveFloat = Field(0.8, le=1)
    density: Annotated[Annotated[PositiveFloat, Field(le=1)] | None, Absent] = 0.6
    flips: NonNegativeFloat = 0.05
    prune: PositiveFloat = Field(0.05, lt=1)
    incumbent: bool = True
    regrow: bool = True
    paired: bool = True
    score_on: Literal["valid", "train"] = "valid"
    rank_heads: bool = False

    def is_due(self, step: int, domains: int) -> bool:
        """Whether a search comes before this training step (the warm-up is not counted)."""
        every = self.every or STEPS_A_DOMAIN * domains
        first = every if self.first is None else self.first
        return self.enabled and step >= first and (step - first) % every == 0

    def share_after(self, prunes: int) -> float:
        """Share of a level's edges kept after so many prunes, falling evenly to ``density``."""
        if self.density is None:
            return self.start_density * (1 - self.prune) ** prunes
        done = prunes / max(1, self.updates)
        return self.start_density * (self.density / self.start_density) ** done


@dataclass(frozen=True)
class Draws:
    """Where a domain's batches come from: for fitting candidates, and for scoring them."""

    fit: Iterator[Impressions]
    score: Iterator[Impressions]


class StackedHead(nn.Module):
    """Z copies of a hierarchy and its heads for one domain, each with a mask of its own.

    Batch norm is frozen at its running statistics and multiplied into weights and biases: that is
    the network which serves the domain, and it makes rows independent of each other.
    """

    def __init__(
        self, hierarchy: ExpertHierarchy, head_TO: Tensor, domain_K: Tensor, mask: masks.Mask
    ) -> None:
        super().__init__()
        copies = len(mask[0])

        def stacked(value: Tensor) -> nn.Parameter:
            return nn.Parameter(value.detach().expand(copies, *value.shape).clone())

        layers = hierarchy.folded()
        self.weights = nn.ParameterList(stacked(w) for level in layers for w, _ in level)
        self.biases = nn.ParameterList(stacked(b) for level in layers for _, b in level)
        self.depths = [len(level) for level in layers]
        self.gate_weight = nn.ParameterList(stacked(w) for w in hierarchy.gate_weight)
        self.gate_bias = nn.ParameterList(stacked(b) for b in hierarchy.gate_bias)
        self.group, self.head = stacked(hierarchy.group), stacked(head_TO)
        self.domain_ZK = domain_K.detach().expand(copies, -1)
        self.mask = mask

    def gates(self) -> list[Tensor]:
        """Gates between neighbouring levels: [Z, S, T] each."""
        use_Z1S = masks.active(self.mask, [])[0].to(self.group.dtype)[:, None]
        group_ZK = (use_Z1S @ self.group)[:, 0] / use_Z1S.sum(-1).clamp(min=1)
        input_ZX = torch.cat([self.domain_ZK, group_ZK], dim=1)
        return [
            masked_gates(torch.einsum("zx,zxst->zst", input_ZX, weight) + bias, mask)
            for weight, bias, mask in zip(self.gate_weight, self.gate_bias, self.mask, strict=True)
        ]

    def forward(self, inputs_SBO: Tensor, bypass_BT: Tensor) -> Tensor:
        """Logits of every top expert of every candidate: [Z, T, B]."""
        copies, rows = len(self.head), inputs_SBO.shape[1]
        gates = self.gates()
        h_ZSBO = inputs_SBO.expand(copies, *inputs_SBO.shape)
        layer = 0
        for level, depth in enumerate(self.depths):
            if level:
                gate_ZTS = gates[level - 1].transpose(1, 2)
                h_ZSBO = (gate_ZTS @ h_ZSBO.flatten(2)).view(copies, -1, rows, h_ZSBO.shape[-1])
            for _ in range(depth):
                h_ZSBO = _expert_layer(h_ZSBO, self.weights[layer], self.biases[layer])
                layer += 1
        return (h_ZSBO @ self.head[..., None])[..., 0] + bypass_BT.T

    def head_losses(self, batch: Impressions, bottom: Bottom) -> Tensor:
        """Each head's log loss, those that its candidate does not use too: [Z, T]."""
        logit_ZTB = self(*bottom(batch))
        label = batch.label.expand_as(logit_ZTB)
        return F.binary_cross_entropy_with_logits(logit_ZTB, label, reduction="none").mean(2)

    def bagging(self, head_loss_ZT: Tensor) -> Tensor:
        """Each candidate's bagging loss, as in training: [Z]."""
        used_ZT = self.used_heads().to(head_loss_ZT.dtype)
        return (head_loss_ZT * used_ZT).sum(1) / used_ZT.sum(1)

    def used_heads(self) -> Tensor:
        """Which heads each candidate uses: [Z, T] Booleans."""
        return self.mask[-1].any(1)

    @torch.no_grad()
    def logloss(self, batch: Impressions, bottom: Bottom) -> Tensor:
        """Each candidate's log loss as it would serve, by the mean of its heads: [Z], summed over rows."""
        logit_ZTB = self(*bottom(batch))
        used_ZT = self.used_heads()
        logit_ZB = mean_probability_logit(logit_ZTB, used_ZT[..., None], dim=1)
        return F.binary_cross_entropy_with_logits(
            logit_ZB, batch.label.expand_as(logit_ZB), reduction="none"
        ).sum(1)


def _expert_layer(h_ZSBI: Tensor, weight_ZSIO: Tensor, bias_ZS1O: Tensor) -> Tensor:
    h = torch.baddbmm(bias_ZS1O.flatten(0, 1), h_ZSBI.flatten(0, 1), weight_ZSIO.flatten(0, 1))
    return h.relu_().view(*weight_ZSIO.shape[:2], *h.shape[1:])


def mean_probability_logit(logit: Tensor, used: Tensor, *, dim: int) -> Tensor:
    """Logit of the mean probability of the used heads (AREAD, inference), exact in the tails."""
    logit, unused = exact(logit), torch.where(used, 0.0, -torch.inf)
    yes = (F.logsigmoid(logit) + unused).logsumexp(dim)
    no = (F.logsigmoid(-logit) + unused).logsumexp(dim)
    return yes - no


def candidates(
    present: masks.Mask, gates: list[Tensor], config: SearchConfig, rng: torch.Generator
) -> masks.Mask:
    """Z masks for one domain to start from: [Z, S, T] a level, at ``start_density`` or the incumbent's.

    The strongest gates of the domain's own table, and the present mask topped up with them, take
    turns; random flips go both ways, so that pruned edges can return. Candidate 0 is the
    incumbent: the present mask, if it is one of a search, else the strongest gates unflipped.
    """
    number = config.candidates
    weight = [w.expand(number, -1, -1) for w in masks.importance(gates)]
    everything = [torch.ones_like(level).expand(number, -1, -1) for level in present]
    present = [level.expand(number, -1, -1) for level in present]
    # Kept edges weigh more than any absent one in every other candidate: topped up, not replaced.
    odd = (torch.arange(number) % 2 == 1)[:, None, None]
    odd = moved(odd, weight[0].device)
    lifted = [w + 1e3 * (level & odd) for w, level in zip(weight, present, strict=True)]
    allowed = everything if config.regrow else present
    start = masks.keep_strongest(allowed, lifted, config.start_density)
    share = (torch.randn(number, generator=rng).abs() * config.flips).clamp(max=1)
    share[0] = 0
    mixed = masks.flipped(start, moved(share, weight[0].device), rng)
    if not config.regrow:
        mixed = [m & level for m, level in zip(mixed, present, strict=True)]
    mixed = masks.repaired(mixed)
    lost = ~masks.has_output(mixed)[:, None, None]
    return [torch.where(lost, s, m) for s, m in zip(start, mixed, strict=True)]


def search_domain(
    hierarchy: ExpertHierarchy,
    head_TO: Tensor,
    domain: int,
    domain_DK: Tensor,
    bottom: Bottom,
    draws: Draws,
    config: SearchConfig,
    rng: torch.Generator,
) -> tuple[masks.Mask, Tensor]:
    """The best of a domain's candidate masks ([S, T] a level), and every candidate's log loss [Z]."""
    present = [level[domain] for level in hierarchy.mask]
    # Regrowth judges all edges alike; by the masked gates a pruned edge would never come back.
    gates = [g[domain].detach() for g in hierarchy.gates(domain_DK, masked=not config.regrow)]
    start = candidates(present, gates, config, rng)
    keeps_present = config.incumbent and bool(on_host(hierarchy.searched))
    if keeps_present:
        start = [torch.cat([p[None], s[1:]]) for p, s in zip(present, start, strict=True)]
    head = StackedHead(hierarchy, head_TO, domain_DK[domain], start)
    _fit_and_prune(head, bottom, draws.fit, config, keep_first=keeps_present)
    if config.paired:
        loss_Z = _paired_losses(head, bottom, draws.score, config.scorings)
    else:
        loss_Z = _unpaired_losses(head, bottom, draws.score, config.scorings)
    best = loss_Z.argmin()[None]
    return [level.index_select(0, best)[0] for level in head.mask], loss_Z


def _fit_and_prune(
    head: StackedHead,
    bottom: Bottom,
    batches: Iterator[Impressions],
    config: SearchConfig,
    *,
    keep_first: bool,
) -> None:
    optimizer = torch.optim.Adam(head.parameters(), config.lr, betas=(0.9, 0.99), fused=True)
    watch = Watch()
    for step in range(1, config.updates + 1):
        loss_ZT = head.head_losses(next(batches), bottom)
        update(optimizer, {"candidates": head.bagging(loss_ZT).sum()}, watch=watch)
        with torch.no_grad():
            gates = head.gates()
            weight = masks.importance(gates)
            if config.rank_heads:
                merit_ZT = _merit(loss_ZT.detach(), head.used_heads())
                weight = masks.weighed_from_above(weight, gates, merit_ZT)
            pruned = masks.keep_strongest(head.mask, weight, config.share_after(step))
        if keep_first:
            for level, before in zip(pruned, head.mask, strict=True):
                level[0] = before[0]
        head.mask = pruned
    watch.look()


def _merit(loss_ZT: Tensor, used_ZT: Tensor) -> Tensor:
    """How much better than the other used heads each head serves the domain; 1 is average: [Z, T]."""
    number_Z1 = used_ZT.sum(1, keepdim=True)
    mean_Z1 = (loss_ZT * used_ZT).sum(1, keepdim=True) / number_Z1
    apart_ZT = (mean_Z1 - loss_ZT) * used_ZT
    spread_Z1 = (apart_ZT.square().sum(1, keepdim=True) / number_Z1).sqrt().clamp(min=1e-9)
    return (apart_ZT / spread_Z1).masked_fill(~used_ZT, -torch.inf).softmax(1) * number_Z1


def _paired_losses(
    head: StackedHead, bottom: Bottom, batches: Iterator[Impressions], number: int
) -> Tensor:
    total, rows = head.head.new_zeros(len(head.head)), 0
    for _ in range(number):
        batch = next(batches)
        total += head.logloss(batch, bottom)
        rows += len(batch)
    return total / rows


def _unpaired_losses(
    head: StackedHead, bottom: Bottom, batches: Iterator[Impressions], number: int
) -> Tensor:
    """As the published code scores: every candidate on batches of its own (for the ablation)."""
    return torch.stack(
        [_paired_losses(head, bottom, batches, number)[z] for z in range(len(head.head))]
    )
