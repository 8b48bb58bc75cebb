"""AREAD: a hierarchy of experts, of which each domain uses the part that its mask selects."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor, nn

from isthmus import distributed
from isthmus.batch import Impressions
from isthmus.data.augment import AugmentConfig, counterfactual
from isthmus.data.feed import EpochFeed, generator
from isthmus.device import on_host
from isthmus.errors import ConfigError
from isthmus.models.base import Losses, ModelConfig, Ranker, Widths, register, resumable
from isthmus.models.hemp import Draws, SearchConfig, mean_probability_logit, search_domain
from isthmus.nn import CrossNetwork, ExpertHierarchy, Experts, RowEmbedding, masks
from isthmus.nn.precision import exact, full_precision
from isthmus.schema import Absent, Schema

SEARCH = 3  # the purpose of a generator: what a domain's search draws


@register("aread", paper="https://arxiv.org/abs/2412.11905")
class AREAD(Ranker):
    """Adaptive REcommendation for All Domains (AAAI'25): HEI, HEMP, counterfactual augmentation.

    Shape letters: B rows, I row width, S first-level experts, T last-level experts, E bottom
    experts, O an expert's output width, D domain ids (0 is the unknown domain).
    """

    class Config(ModelConfig):
        bottom_experts: PositiveInt = 4
        bottom_hidden: Widths = (256, 128, 64)
        experts: Widths = (3, 6, 12)
        expert_hidden: tuple[Widths, ...] | None = None
        cross_layers: NonNegativeInt = 3
        wide: bool = True
        domain_head: bool = True
        loss: Literal["bagging", "mean"] = "bagging"
        search: SearchConfig = SearchConfig()
        augment: Annotated[AugmentConfig | None, Absent] = AugmentConfig()
        augment_weight: NonNegativeFloat = 0.0
        item: str | None = None

        @model_validator(mode="after")
        def _one_width_a_level(self) -> "AREAD.Config":
            if self.expert_hidden is not None and len(self.expert_hidden) != len(self.experts):
                raise ValueError(
                    f"expert_hidden has {len(self.expert_hidden)} levels, experts {len(self.experts)}"
                )
            return self

        def levels(self) -> list[tuple[int, tuple[int, ...]]]:
            """Experts and layer widths of each level; by default widths halve: (64, 32), (32, 16), .."""
            hidden = self.expert_hidden or [
                (max(16, 64 >> level), max(8, 32 >> level)) for level in range(len(self.experts))
            ]
            return list(zip(self.experts, hidden, strict=True))

    config: Config

    def __init__(self, config: Config, schema: Schema) -> None:
        super().__init__(config, schema)
        dim, rate = config.embedding_dim, config.dropout
        self.embed = RowEmbedding(schema, dim)
        width, first, last = self.embed.width, config.experts[0], config.experts[-1]
        self.bottom = Experts(config.bottom_experts, width, config.bottom_hidden, dropout=rate)
        self.bottom_gate = nn.Linear(width, first * config.bottom_experts)
        self.hierarchy = ExpertHierarchy(
            schema.num_domains + 1, self.bottom.width, config.levels(), dim=dim, dropout=rate
        )
        self.head = nn.Parameter(torch.randn(last, self.hierarchy.width) * 0.1)
        self.cross = CrossNetwork(width, config.cross_layers) if config.cross_layers else None
        self.cross_head = nn.Linear(width, last, bias=False) if config.cross_layers else None
        self.wide = nn.Linear(width, 1, bias=False) if config.wide else None
        self.domain_head = None
        if config.domain_head:
            # From zero: a domain of a few rows would never unlearn a random start.
            inputs = first * self.bottom.width
            self.domain_head = nn.Parameter(torch.zeros(schema.num_domains + 1, inputs))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, batch: Impressions) -> Tensor:
        """Logit of the mean probability of the domain's heads: [B]."""
        return mean_probability_logit(self.head_logits(batch), self.used_heads(batch.domain), dim=1)

    def head_logits(self, batch: Impressions) -> Tensor:
        """Logits of all top experts: [B, T]; those that a row's mask leaves out mean nothing."""
        inputs_SBO, bypass_BT = self.first_inputs(batch)
        assert self.embed.domain is not None
        top_TBO = self.hierarchy(inputs_SBO, batch.domain, self.embed.domain.weight)
        return (top_TBO @ self.head[..., None])[..., 0].T + bypass_BT

    def first_inputs(self, batch: Impressions) -> tuple[Tensor, Tensor]:
        """Inputs of the first level [S, B, O], and what bypasses the hierarchy [B, T] (or [B, 1])."""
        row_BI = self.embed(batch)
        inputs_BSO = self._bottom_shares(row_BI) @ self.bottom(row_BI).transpose(0, 1)
        bypass_BT = self.bias.expand(len(batch), 1)
        if self.cross is not None and self.cross_head is not None:
            bypass_BT = bypass_BT + self.cross_head(self.cross(row_BI))
        if self.wide is not None:
            bypass_BT = bypass_BT + self.wide(row_BI)
        if self.domain_head is not None:
            own_BX = self.domain_head[batch.domain] * inputs_BSO.flatten(1)
            bypass_BT = bypass_BT + own_BX.sum(1, keepdim=True)
        return inputs_BSO.transpose(0, 1), bypass_BT

    def used_heads(self, domain_B: Tensor) -> Tensor:
        """Which top experts each row's domain uses: [B, T] Booleans."""
        return self.hierarchy.active()[-1][domain_B]

    def losses(self, batch: Impressions) -> Losses:
        """Bagging: every used head is fitted by itself. Before the first search: their mean."""
        if self.config.loss == "mean" or not on_host(self.hierarchy.searched):
            return super().losses(batch)
        logit_BT = exact(self.head_logits(batch))
        used_BT = self.used_heads(batch.domain).to(logit_BT.dtype)
        each_BT = F.binary_cross_entropy_with_logits(
            logit_BT, batch.label[:, None].expand_as(logit_BT), reduction="none"
        )
        return {"bagging": ((each_BT * used_BT).sum(1) / used_BT.sum(1)).mean()}

    @resumable
    def epoch(self, feed: EpochFeed) -> Iterator[Losses]:
        """Warm-up over the domains in turn, then shuffled rows, with a search every so many steps."""
        extra = self._counterfactuals(feed)
        if feed.number == 0:
            for batch in feed.round_robin(self.config.search.warmup_steps):
                yield self.losses(batch)
        for number, batch in feed.numbered():
            step = feed.number * feed.num_batches + number
            if self.hierarchy.mask and self.config.search.is_due(step, self.schema.num_domains):
                self.search(feed, extra, step)
            losses = self.losses(batch)
            if self.config.augment_weight and len(extra):
                losses.update(self._augmented(feed, extra))
            yield losses

    def steps(self, feed: EpochFeed) -> int:
        return feed.num_batches + (self.config.search.warmup_steps if feed.number == 0 else 0)

    def _augmented(self, feed: EpochFeed, extra: Impressions) -> Losses:
        """Losses of counterfactual rows, a quarter as many as the present batch has."""
        rows = torch.randint(len(extra), (feed.rows // 4 + 1,), generator=feed.rng)
        rows, weight = feed.beside(rows)
        losses = self.losses(extra[rows].to(feed.feed.device))
        weight *= self.config.augment_weight
        return {f"augmented_{name}": weight * value for name, value in losses.items()}

    @torch.no_grad()
    def search(self, feed: EpochFeed, extra: Impressions, step: int = 0) -> None:
        """Choose every domain's mask anew (HEMP); nothing but the masks changes.

        ``extra`` are counterfactual rows, which join their domain's own in fitting candidates. What
        is drawn for a domain depends on the seed, the epoch, ``step`` and the domain alone: several
        processes search some of the domains each, and find what one would.
        """
        training, own = self.training, distributed.dealt(feed.domains)
        self.eval()  # running statistics and no dropout: the network that serves
        try:
            with full_precision(self.bias):
                found = distributed.each(
                    lambda: self._searched(own, feed, extra, step),
                    then=self.embed.features.table.answer,
                )
        finally:
            self.train(training)
        mask = [level.clone() for level in self.hierarchy.mask]
        for domain, chosen in (pair for some in found for pair in some.items()):
            for level, new in zip(mask, chosen, strict=True):
                level[domain] = new
        self.hierarchy.set_mask(mask)

    def _searched(
        self, domains: Sequence[int], feed: EpochFeed, extra: Impressions, step: int
    ) -> dict[int, masks.Mask]:
        """The best mask found for each of these domains."""
        assert self.embed.domain is not None
        domain_DK = self.embed.domain.weight.detach()
        found = {}
        for domain in domains:
            rng = generator(feed.feed.seed, feed.number, step, domain, SEARCH)
            draws = self._draws(feed, extra, domain, rng)
            with torch.enable_grad():
                found[domain], _ = search_domain(
                    self.hierarchy,
                    self.head,
                    domain,
                    domain_DK,
                    self._frozen_inputs,
                    draws,
                    self.config.search,
                    rng,
                )
        return found

    def choose_parts(self, feed: EpochFeed) -> None:
        # Before the first search of all, gates and losses are those of whole hierarchies.
        if self.hierarchy.mask and self.config.search.enabled and on_host(self.hierarchy.searched):
            self.search(feed, feed.train[:0])

    def expert_masks(self) -> list[Tensor]:
        return self.hierarchy.mask

    def gate_shares(self, batch: Impressions) -> dict[str, Tensor]:
        """Of the bottom experts, and of each level below another: means over the experts that read."""
        assert self.embed.domain is not None
        first_DS, *above = (level.to(self.bias.dtype) for level in self.hierarchy.active())
        reads_BS = (first_DS / first_DS.sum(1, keepdim=True))[batch.domain]
        shares_BSE = self._bottom_shares(self.embed(batch))
        taken = {"bottom": (reads_BS[:, None] @ shares_BSE).squeeze(1)}
        gates = self.hierarchy.gates(self.embed.domain.weight)
        for number, (gate_DST, active_DT) in enumerate(zip(gates, above, strict=True), 1):
            shares_DS = gate_DST.sum(2) / active_DT.sum(1, keepdim=True)
            taken[f"level {number}"] = shares_DS[batch.domain]
        return taken

    def _bottom_shares(self, row_BI: Tensor) -> Tensor:
        """What each first-level expert takes of the bottom experts: [B, S, E]."""
        gate_BSE = self.bottom_gate(row_BI).unflatten(1, (-1, self.config.bottom_experts))
        return gate_BSE.softmax(2)

    def mask_overlap(self) -> Tensor:
        """Shared edges over all edges of two known domains, for all pairs: [D - 1, D - 1]."""
        return masks.overlap([level[1:] for level in self.hierarchy.mask])

    @torch.no_grad()
    def _frozen_inputs(self, batch: Impressions) -> tuple[Tensor, Tensor]:
        return self.first_inputs(batch)

    def _draws(
        self, feed: EpochFeed, extra: Impressions, domain: int, rng: torch.Generator
    ) -> Draws:
        """Batches without end: own and counterfactual rows to fit, held-out rows to score on."""
        size, split = self.config.search.batch_size, self.config.search.score_on
        own = feed.sample(domain, size, rng=rng, extra=extra)
        if split == "valid" and not len(feed.feed.rows_of(domain, "valid")):
            split = "train"
        return Draws(own, feed.sample(domain, size, rng=rng, split=split))

    def _counterfactuals(self, feed: EpochFeed) -> Impressions:
        """This epoch's counterfactual rows, of training rows alone (AREAD, 1.6)."""
        rows, config = feed.train, self.config.augment
        if config is None or not (self.config.search.enabled or self.config.augment_weight):
            return rows[:0]
        drawn = counterfactual(
            rows.features[:, self._item_column()].numpy(),
            rows.domain.numpy(),
            rows.label.numpy().astype(np.int64),
            num_domains=self.schema.num_domains,
            config=config,
            rng=np.random.default_rng((feed.feed.seed, feed.number)),
        )
        moved = rows[torch.from_numpy(drawn.rows)]
        return Impressions(moved.features, torch.from_numpy(drawn.domain), moved.label)

    def _item_column(self) -> int:
        for feature in self.schema.features:
            is_item = feature.role == "item" and feature.kind == "id"
            if feature.name == self.config.item or (self.config.item is None and is_item):
                return self.schema.columns[feature.name].start
        raise ConfigError(
            f"augmentation needs the item: no feature is {self.config.item or 'an id of role item'!r}; "
            "name it in settings.item, or switch augmentation off with settings.augment = false"
        )
