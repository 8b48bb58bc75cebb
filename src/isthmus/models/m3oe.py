"""M3oE: shared experts and an expert for each domain, fused by weights tuned on validation rows.

Shape letters: B rows, I input width, O expert width, E experts, P parts (domains or clusters, the
unknown one included).
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, cast

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from isthmus.batch import Impressions
from isthmus.models.base import Losses, Widths, register
from isthmus.models.parts import PartsConfig, PartsRanker
from isthmus.nn import (
    DomainLinear,
    DomainTowers,
    Experts,
    Routing,
    RowEmbedding,
    gated,
    relu_dropout,
)
from isthmus.nn.precision import exact
from isthmus.nn.star import StarLinear
from isthmus.schema import Schema

if TYPE_CHECKING:
    from isthmus.data.feed import EpochFeed


@register("m3oe", paper="https://arxiv.org/abs/2404.18465")
class M3oE(PartsRanker):
    """Multi-Domain Multi-Task Mixture-of-Experts (Zhang et al., SIGIR 2024), for a single task.

    A layer with weights shared * own (as in STAR) and a skip connection gives a row's
    representation. Of it, shared experts are mixed by the domain's gate; the domain experts by the
    balance b: b * own + (1 - b) * mean of the domains'. Both sums meet as shared + w * domain, and
    go to the domain's tower. b and w are sigmoids of one number each, and tuned on validation rows,
    by a step on these two alone after every ``every`` training steps (``fusion = "valid"``), or
    learned with all else (``"train"``).

    Deviations: no task experts (there is one task); ``others = "mean"`` takes the mean of the
    domain experts' weights for the mean of their outputs, since a row otherwise meets every
    domain's expert (``"all"``, the paper); that mean has the row's own domain in it, which only
    rescales b; batch norm in the shared experts, for layer norm; no norm in the towers.
    """

    reads_other_domains = True

    class Config(PartsConfig):
        star_hidden: PositiveInt = 128
        hidden: PositiveInt = 128
        num_experts: PositiveInt = 4
        expert_hidden: Widths = (64,)
        tower_hidden: tuple[PositiveInt, ...] = (32,)
        others: Literal["mean", "all"] = "mean"
        fusion: Literal["valid", "train"] = "valid"
        every: PositiveInt = 10

    config: Config

    def __init__(self, config: Config, schema: Schema) -> None:
        super().__init__(config, schema)
        self.embed = RowEmbedding(schema, config.embedding_dim)
        width, dropout = self.embed.width, config.dropout
        self.star = StarLinear(self.num_parts, width, config.star_hidden)
        self.bottom = NormedLinear(config.star_hidden, config.hidden, dropout=dropout)
        self.skip = NormedLinear(width, config.hidden, dropout=dropout)
        self.experts = Experts(
            config.num_experts, config.hidden, config.expert_hidden, dropout=dropout
        )
        self.gate = DomainLinear(self.num_parts, config.hidden, config.num_experts)
        self.own = DomainExperts(
            self.num_parts, config.hidden, config.expert_hidden, dropout=dropout
        )
        self.fusion = nn.Parameter(torch.zeros(2))  # logits of w and b: each begins at one half
        self.tower = DomainTowers(self.num_parts, self.experts.width, config.tower_hidden)

    def forward(self, batch: Impressions) -> Tensor:
        routing, x_BI = self.routing(batch), self.embed(batch)
        star_BI = routing.unsort(self.star(routing.sort(x_BI), routing.sizes))
        h_BI = self.bottom(star_BI) + self.skip(x_BI)
        own_BO = self.own(h_BI, routing)
        others_BO = self.own.mean(h_BI, all_domains=self.config.others == "all")
        weight, balance = self.fusion.sigmoid()
        domain_BO = torch.lerp(others_BO, own_BO, balance)
        logit_B: Tensor = self.tower(self._shared(h_BI, routing) + weight * domain_BO, routing)
        return logit_B

    def _shared(self, h_BI: Tensor, routing: Routing) -> Tensor:
        # As published, the gate does not shape what it reads.
        gate_BE = routing.unsort(self.gate(routing.sort(h_BI.detach()), routing.sizes))
        return gated(gate_BE, self.experts(h_BI).transpose(0, 1))

    def epoch(self, feed: "EpochFeed") -> Iterator[Losses]:
        if not self._tunes(feed):
            yield from super().epoch(feed)
            return
        held = self._held(feed)
        for number, batch in enumerate(feed.shuffled()):
            with _frozen([self.fusion]):
                losses = self.losses(batch)
            yield losses
            if number % self.config.every == 0:
                yield self._fusion_losses(next(held))

    def steps(self, feed: "EpochFeed") -> int:
        tuned = -(-feed.num_batches // self.config.every) if self._tunes(feed) else 0
        return feed.num_batches + tuned

    def _tunes(self, feed: "EpochFeed") -> bool:
        return self.config.fusion == "valid" and len(feed.feed.rows("valid")) > 0

    @staticmethod
    def _held(feed: "EpochFeed") -> Iterator[Impressions]:
        """Validation batches without end, each row once before any comes again."""
        rows, size = feed.feed.rows("valid"), feed.feed.batch_size
        while True:
            order = torch.randperm(len(rows), generator=feed.rng)
            for start in range(0, len(rows), size):
                yield feed.own(rows[order[start : start + size]].to(feed.feed.device))

    def _fusion_losses(self, batch: Impressions) -> Losses:
        """In evaluation mode: validation rows leave no trace in the running statistics."""
        self.eval()
        try:
            with _frozen(p for p in self.parameters() if p is not self.fusion):
                return {
                    "fusion": F.binary_cross_entropy_with_logits(exact(self(batch)), batch.label)
                }
        finally:
            self.train()


class NormedLinear(nn.Module):
    """Linear, layer norm, ReLU, dropout: [B, I] -> [B, O]."""

    def __init__(self, width: int, out: int, *, dropout: float) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(width, out), nn.LayerNorm(out)
        self.dropout = dropout

    def forward(self, x_BI: Tensor) -> Tensor:
        return relu_dropout(self.norm(self.linear(x_BI)), self.dropout, self.training)


class DomainExperts(nn.Module):
    """An expert for each part: layers of linear, layer norm, ReLU, dropout; [B, I] -> [B, O]."""

    def __init__(self, parts: int, width: int, hidden: Sequence[int], *, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            DomainLinear(parts, i, o) for i, o in itertools.pairwise([width, *hidden])
        )
        self.dropout = dropout

    def forward(self, x_BI: Tensor, routing: Routing) -> Tensor:
        """Each row by the expert of its own part."""
        x_BI = routing.sort(x_BI)
        for layer in self.layers:
            x_BI = self._activated(layer(x_BI, routing.sizes))
        return routing.unsort(x_BI)

    def mean(self, x_BI: Tensor, *, all_domains: bool) -> Tensor:
        """Each row by all known parts' experts, averaged; or by the one that has their mean weights."""
        layers = [cast(DomainLinear, layer) for layer in self.layers]
        if not all_domains:
            for layer in layers:
                weight_IO, bias_O = layer.weight[1:].mean(0), layer.bias[1:].mean(0)
                x_BI = self._activated(torch.addmm(bias_O, x_BI, weight_IO))
            return x_BI
        x_PBI = x_BI.expand(len(layers[0].weight) - 1, -1, -1)
        for layer in layers:
            x_PBI = self._activated(torch.baddbmm(layer.bias[1:, None], x_PBI, layer.weight[1:]))
        return x_PBI.mean(0)

    def _activated(self, x: Tensor) -> Tensor:
        return relu_dropout(F.layer_norm(x, x.shape[-1:]), self.dropout, self.training)


@contextmanager
def _frozen(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Losses computed inside give these parameters no gradient; the optimiser passes them over."""
    frozen = list(parameters)
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)
