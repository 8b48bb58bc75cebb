"""SyNCRec: single- and cross-domain tasks that cooperate, and weigh each domain by what sharing costs it.

Shape letters: B histories, N tokens (targets, see ``nn.sequence``), X tokens of one domain, P slots
of the packed stream, K experts, D domain ids (0 is the unknown domain), H width.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn

from isthmus import distributed
from isthmus.batch import Histories
from isthmus.device import moved, on_host
from isthmus.models.base import Losses, Told, register
from isthmus.models.sequential import SequentialRetriever, TransformerConfig
from isthmus.nn.precision import exact
from isthmus.nn.sequence import SequenceEmbedding, Tokens
from isthmus.nn.towers import DomainLinear, Routing
from isthmus.nn.transformer import PartFeedForward
from isthmus.schema import Schema


class SyNCRecConfig(TransformerConfig):
    """Settings of SyNCRec; each part of the paper can be left out.

    Settings:
        cross_ratio: share of the experts that the cross-domain task trains; the other task trains
            the rest. Each has one expert at least.
        asymmetric: experts learn from one task alone (ACMoE); without it from both.
        gate_noise: deviation of the noise on gates, in training.
        correction: weigh domains in the cross-domain loss by their negative-transfer gaps (LC-NTG).
        correction_gradient: the weights pass on the gradient of the step's own gaps.
        temperature: of those weights; the smaller, the further apart.
        momentum: of the running gaps.
        single_weight, mim_weight: of the single-domain loss, of the agreement of both tasks (SC-MIM).
        mim_temperature, mim_negatives: of that agreement; tokens a domain that are compared.
        inference: score by the cross-domain path, by both (summed), or by the single-domain one.
    """

    num_experts: PositiveInt = 5
    cross_ratio: PositiveFloat = Field(0.8, lt=1)
    asymmetric: bool = True
    gate_noise: NonNegativeFloat = 0.0
    correction: bool = True
    correction_gradient: bool = False
    temperature: PositiveFloat = 0.3
    momentum: NonNegativeFloat = Field(0.9, lt=1)
    single_weight: PositiveFloat = 1.0
    mim_weight: NonNegativeFloat = 0.1
    mim_temperature: PositiveFloat = 0.1
    mim_negatives: PositiveInt = 256
    inference: Literal["cross", "both", "single"] = "cross"

    @model_validator(mode="after")
    def _an_expert_each(self) -> "SyNCRecConfig":
        if self.asymmetric and self.num_experts < 2:
            raise ValueError(
                "one expert cannot be divided between two tasks; set settings.num_experts to 2 or "
                "more, or settings.asymmetric to false"
            )
        return self

    @property
    def cross_experts(self) -> int:
        """How many experts the cross-domain task trains: the first ones."""
        return max(1, min(self.num_experts - 1, round(self.num_experts * self.cross_ratio)))


@register("syncrec", paper="https://arxiv.org/abs/2407.11245")
class SyNCRec(SequentialRetriever):
    """Cooperation of single- and cross-domain sequential recommendation (Park et al., SIGIR 2024).

    Every target is predicted twice: from all items before it (cross) and from those of its own
    domain (single). Both read all K experts; a gradient reaches only the task's own. The gap of a
    domain, its single loss less its cross loss, is negative where sharing hurts; its running
    estimate decides the domain's weight in the cross loss. All single-domain sequences of all
    domains are one masked pass over the same tokens, so the cost does not grow with the domains.

    Other than in the paper, or where it leaves open what to do:

    * the loss is a softmax over the target domain's items, for both tasks alike: among items of all
      domains the gap would be biased, since only the single path is told the domain;
    * gates read each token; over whole sequences they would see what is to be predicted;
    * the gap is a mean over a domain's tokens without gradient (``correction_gradient``), domains
      that are absent keep theirs, and weights have mean 1 over the domains met so far;
    * agreement is by cosine through a learned map, between both predictions of one target; negatives
      are single-domain predictions for other users' targets of the domain, ``mim_negatives`` at most;
    * losses are means over tokens; their weights are not known of the paper;
    * experts have norms before sublayers (``pre_norm``); attention weights are not dropped.
    """

    Config = SyNCRecConfig
    config: SyNCRecConfig

    def __init__(self, config: SyNCRecConfig, schema: Schema) -> None:
        super().__init__(config, schema)
        width, domains, rate = config.embedding_dim, schema.num_domains + 1, config.dropout
        hidden = config.feed_forward * width
        self.embed = SequenceEmbedding(domains, schema.max_history, width, dropout=rate)
        self.start = nn.Embedding(domains, width)
        nn.init.normal_(self.start.weight, std=0.02)
        self.experts = config.transformers(config.num_experts)
        self.cross_head = Head(1, width, config.num_experts, hidden, dropout=rate)
        self.single_head = Head(domains, width, config.num_experts, hidden, dropout=rate)
        self.agree = nn.Linear(width, width, bias=False) if config.mim_weight else None
        # What sharing gains each domain, as it was lately; negative where it costs.
        self.register_buffer("gap_D", torch.zeros(domains))
        self.register_buffer("met_D", torch.zeros(domains, dtype=torch.bool))
        self.gap_D: Tensor
        self.met_D: Tensor

    def forward(self, batch: Histories) -> Tensor:
        tokens = self.tokens(batch)
        if self.config.inference == "cross":
            return self.queries(self._cross(tokens)[tokens.last])
        own_BH, cross_BH = (self.queries(path_NH[tokens.last]) for path_NH in self.paths(tokens))
        if self.config.inference == "both":
            own_BH = own_BH + cross_BH
        return torch.where((batch.domain > 0)[:, None], own_BH, cross_BH)

    def losses(self, batch: Histories) -> Losses:
        tokens, c = self.note(batch), self.config
        paths_QNH = torch.stack(self.paths(tokens))
        loss_QN = self.token_losses(paths_QNH, tokens.target)
        weight_D = self._weights(loss_QN, tokens.domain)
        losses = {
            "single": c.single_weight * distributed.mean(loss_QN[0]),
            "cross": distributed.mean(weight_D[tokens.domain] * loss_QN[1]),
        }
        if self.agree is not None:
            losses["mim"] = c.mim_weight * self._disagreement(paths_QNH, tokens)
        return losses

    def paths(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """What each token is predicted by, [N, H]: from its own domain, and from all domains."""
        own_NH = self.embed(self.items, tokens.own, self.start(tokens.domain))
        cross_NH = self.embed(self.items, tokens.cross)
        by_own, by_cross = self._encoded(tokens, own_NH, cross_NH)
        routing = Routing.of(tokens.domain, len(self.gap_D))
        noise = self.config.gate_noise if self.training else 0.0
        return (
            self.single_head(own_NH, by_own, tokens, routing, noise),
            self.cross_head(cross_NH, by_cross, tokens, one_part(tokens), noise),
        )

    def _cross(self, tokens: Tokens) -> Tensor:
        """The cross-domain path alone."""
        x_NH = self.embed(self.items, tokens.cross)
        x_PH, mask = tokens.spread(x_NH), tokens.mask(x_NH.dtype)
        by_expert = self.experts(x_PH.expand(self.config.num_experts, -1, -1), mask)
        out_NH: Tensor = self.cross_head(x_NH, (by_expert,), tokens, one_part(tokens), 0.0)
        return out_NH

    def _encoded(
        self, tokens: Tokens, own_NH: Tensor, cross_NH: Tensor
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Experts' outputs for own and for cross inputs, in blocks of experts: [*, P, H] each.

        Two passes through all experts: in the first each reads what it learns from, in the second,
        without gradient, what it only lends itself to.
        """
        own, cross = (tokens.spread(x_NH) for x_NH in (own_NH, cross_NH))
        own_mask = tokens.mask(own.dtype, own=True)
        cross_mask = tokens.mask(own.dtype)
        experts, first = self.config.num_experts, self.config.cross_experts
        if not self.config.asymmetric:
            by_own = self.experts(own.expand(experts, -1, -1), own_mask)
            return (by_own,), (self.experts(cross.expand(experts, -1, -1), cross_mask),)
        rest = experts - first
        taught = self.experts(
            torch.cat([cross.expand(first, -1, -1), own.expand(rest, -1, -1)]),
            torch.cat([cross_mask.repeat(first, 1, 1, 1), own_mask.repeat(rest, 1, 1, 1)]),
        )
        with torch.no_grad():
            lent = self.experts(
                torch.cat([own.expand(first, -1, -1), cross.expand(rest, -1, -1)]),
                torch.cat([own_mask.repeat(first, 1, 1, 1), cross_mask.repeat(rest, 1, 1, 1)]),
            )
        return (lent[:first], taught[first:]), (taught[:first], lent[first:])

    def _weights(self, loss_QN: Tensor, domain_N: Tensor) -> Tensor:
        """Each domain's weight in the cross loss, [D]; in training the running gaps are moved first."""
        running_D = self.gap_D
        count_D = torch.bincount(on_host(domain_N), minlength=len(running_D))
        count_D = distributed.total(moved(count_D, running_D.device))
        met_D = self.met_D | (count_D > 0)
        if self.training:
            gap_N = loss_QN[0] - loss_QN[1]
            gap_D = distributed.total(torch.zeros_like(running_D).index_add(0, domain_N, gap_N))
            moved_D = (gap_D / count_D.clamp(min=1)).lerp(running_D, self.config.momentum)
            running_D = moved_D.where(count_D > 0, running_D)
            self.gap_D, self.met_D = running_D.detach(), met_D
        if not self.config.correction_gradient:
            running_D = running_D.detach()
        return self._softened(running_D, met_D)

    def _softened(self, running_D: Tensor, met_D: Tensor) -> Tensor:
        """Weights from running gaps, [D]: of mean 1 over the domains met so far."""
        if not self.config.correction:
            return torch.ones_like(running_D)
        logit_D = (running_D / self.config.temperature).masked_fill(~met_D, float("-inf"))
        return logit_D.softmax(0) * met_D.sum()

    def told(self) -> Told:
        weight_D = self._softened(self.gap_D, self.met_D).tolist()
        gap_D, names = self.gap_D.tolist(), enumerate(self.schema.domains, 1)
        met = {name: domain for domain, name in names if self.met_D[domain]}
        return {
            "running gap, single less cross loss": {n: round(gap_D[d], 6) for n, d in met.items()},
            "weight in the cross loss": {n: round(weight_D[d], 6) for n, d in met.items()},
        }

    def _disagreement(self, paths_QNH: Tensor, tokens: Tokens) -> Tensor:
        """InfoNCE between the two predictions of a target, domain by domain."""
        assert self.agree is not None
        domain_N, user_N = tokens.domain, tokens.user
        if distributed.divided():
            paths_QNH, domain_N, user_N = self._others_too(paths_QNH, domain_N, user_N)
        order, sizes = self._compared(domain_N)
        single_NH, cross_NH = (path_NH.index_select(0, order) for path_NH in paths_QNH)
        single_NH, cross_NH = (
            F.normalize(self.agree(single_NH), dim=1),
            F.normalize(cross_NH, dim=1),
        )
        rows = (x.split(sizes) for x in (single_NH, cross_NH, user_N[order]))
        terms = []
        for single_XH, cross_XH, user_X in zip(*rows, strict=True):
            agreement_XX = exact(cross_XH @ single_XH.T) / self.config.mim_temperature
            own_XX = user_X[:, None] == user_X
            own_XX.fill_diagonal_(False)
            agreement_XX = agreement_XX.masked_fill(own_XX, float("-inf"))
            terms.append((agreement_XX.logsumexp(1) - agreement_XX.diagonal()).sum())
        return torch.stack(terms).sum() / len(order)

    def _others_too(
        self, paths_QNH: Tensor, domain_N: Tensor, user_N: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens to compare of all processes, which compute this loss of the whole batch each."""
        order, _ = self._compared(domain_N)
        here = distributed.peers()
        paths_NQH = paths_QNH.index_select(1, order).transpose(0, 1)
        users = user_N[order] * here.size + here.rank  # users of another part are others
        return (
            distributed.gathered(paths_NQH).transpose(0, 1),
            distributed.gathered(domain_N[order]),
            distributed.gathered(users),
        )

    def _compared(self, domain_N: Tensor) -> tuple[Tensor, list[int]]:
        """Tokens sorted by domain, so many of each at most, drawn anew at each step; sizes of domains."""
        most, order = self.config.mim_negatives, domain_N.argsort(stable=True)
        sizes = torch.bincount(on_host(domain_N)).tolist()
        if max(sizes) > most:
            shuffled = torch.randperm(len(domain_N), device=domain_N.device)
            order = shuffled[domain_N[shuffled].argsort(stable=True)]
            order = torch.cat([tokens[:most] for tokens in order.split(sizes)])
        return order, [min(size, most) for size in sizes if size]


def one_part(tokens: Tokens) -> Routing:
    """All tokens to the one part of a head that domains share."""
    return Routing(torch.arange(len(tokens.user), device=tokens.user.device), [len(tokens.user)])


class Head(nn.Module):
    """A gate over the experts and a tower, for each of the ``parts``: what a task adds to them."""

    def __init__(
        self, parts: int, width: int, experts: int, hidden: int, *, dropout: float
    ) -> None:
        super().__init__()
        self.gate = DomainLinear(parts, width, experts)
        self.tower = PartFeedForward(parts, width, hidden, dropout=dropout)

    def forward(
        self,
        x_NH: Tensor,
        by_expert: tuple[Tensor, ...],
        tokens: Tokens,
        routing: Routing,
        noise: float,
    ) -> Tensor:
        """Inputs [N, H] and the experts' outputs, in blocks [*, P, H], -> predictions [N, H]."""
        gate_NK = self.gate(routing.sort(x_NH), routing.sizes)
        if noise:
            gate_NK = gate_NK + noise * torch.randn_like(gate_NK)
        mixed_NH = _mixed(routing.unsort(gate_NK.softmax(1)), by_expert, tokens)
        return routing.unsort(self.tower(routing.sort(mixed_NH), routing.sizes))


def _mixed(gate_NK: Tensor, by_expert: tuple[Tensor, ...], tokens: Tokens) -> Tensor:
    """Experts' outputs at the tokens, weighed by their gates: [N, H]."""
    gate_KP1 = tokens.spread(gate_NK).T[..., None]
    blocks = zip(gate_KP1.split([len(block) for block in by_expert]), by_expert, strict=True)
    mixed_PH = torch.stack([(gate * block).sum(0) for gate, block in blocks]).sum(0)
    return mixed_PH.index_select(0, tokens.place)
