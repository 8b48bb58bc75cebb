"""MAMDR: a way of training, over any ranker: domains negotiate, then each gets a difference of its own.

Shape letters: D domain ids (0 is the unknown domain), W numbers in the dense parameters, N in the
running statistics.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from isthmus.batch import Impressions
from isthmus.data.feed import EpochFeed, generator
from isthmus.errors import ConfigError
from isthmus.models.base import Losses, Model, ModelConfig, Ranker
from isthmus.nn import EmbeddingTable
from isthmus.schema import Absent, Frozen, Schema

HELPERS = 2  # the purpose of a generator: who helps whom in an epoch
Rate = Annotated[float, Field(gt=0, le=1)]


class MamdrConfig(Frozen):
    """How MAMDR trains; ``false`` for a number of batches means all that a domain has.

    Attributes:
        rate: by how much of the way that a round of negotiation went the shared weights follow it.
        domain_rate: the same for a domain's own difference and a pass of regularisation.
        round_batches: batches of each domain, one after another, in a round of negotiation.
        helpers: other domains drawn for each domain and epoch; 0 leaves regularisation out.
        helper_batches: batches of the helper, and then of the domain itself, in a pass.
        tables: whether embedding tables have differences too: D + 1 times their memory.
        calibration: batches of a domain by which its running statistics are taken, once an epoch.
    """

    rate: Rate = 0.5
    domain_rate: Rate = 0.5
    round_batches: Annotated[PositiveInt | None, Absent] = None
    helpers: Annotated[int, Field(ge=0)] = 3
    helper_batches: Annotated[PositiveInt | None, Absent] = 20
    tables: bool = False
    calibration: PositiveInt = 20


def refuse(kind: type[Model]) -> None:
    """Raise ConfigError for a model that MAMDR cannot train: no ranker, or with epochs of its own."""
    if not issubclass(kind, Ranker):
        raise ConfigError(f"{kind.name!r} is no ranker; scope 'mamdr' trains rankers alone")
    if kind.epoch is not Model.epoch:
        raise ConfigError(
            f"{kind.name!r} says itself what an epoch consists of, and so does scope 'mamdr'; "
            "train it with scope 'joint', or take another model"
        )


class Mamdr(Ranker):
    """MAMDR (Luo et al., ICDE 2023, algorithms 1 to 3) around a ranker: theta_S, and theta_d.

    An epoch has two phases. *Negotiation*: from theta_S, train on the domains one after another, in
    random order; theta_S += rate * (end - theta_S). *Regularisation*: for each domain d and each of
    some drawn helpers, from theta_S + theta_d, train on the helper, then on d; theta_d +=
    domain_rate * (end - start). In evaluation mode a row is scored with theta_S + theta_d of its
    domain, one of the unknown domain with theta_S. In training mode the weights of the moment act.

    Deviations: theta_d begins at zero (the authors' code: at random weights, which are no
    difference); a pass of regularisation has ``helper_batches`` (theirs: all); embedding tables are
    of theta_S alone, unless ``tables``; rates of one half (theirs: .1, over many more epochs). The
    optimiser's moments go on through all of it, as in their code. *Running statistics* of batch
    norms are no parameters, and those of training are of whichever domain came last. At the end of
    an epoch they are therefore taken anew for each domain, under the weights that serve it, by
    ``calibration`` of its batches in training mode without a step; for the unknown domain, and
    domains without rows, by mixed batches. Each domain is scored with its own.
    """

    name = "mamdr"
    paper = "https://arxiv.org/abs/2202.12524"

    def __init__(
        self, config: ModelConfig, schema: Schema, kind: type[Ranker], how: MamdrConfig
    ) -> None:
        super().__init__(config, schema)
        refuse(kind)
        self.how = how
        self.backbone = kind(config, schema)
        tables = {id(m.weight) for m in self.modules() if isinstance(m, EmbeddingTable)}
        whole = dict(self.backbone.named_parameters())
        self._own = [name for name, p in whole.items() if how.tables or id(p) not in tables]
        kept = self.backbone.state_dict().keys() - whole.keys()
        buffers = self.backbone.named_buffers()
        self._noted = [name for name, b in buffers if name in kept and b.is_floating_point()]
        ids = schema.num_domains + 1
        self.register_buffer("delta_DW", torch.zeros(ids, len(_flat(self._weights()))))
        self.register_buffer("noted_DN", _flat(self._statistics()).repeat(ids, 1))
        self.delta_DW: Tensor
        self.noted_DN: Tensor

    def forward(self, batch: Impressions) -> Tensor:
        if self.training:
            logit_B: Tensor = self.backbone(batch)
            return logit_B
        shared_W = _flat(self._weights())
        logit_B = shared_W.new_empty(len(batch))
        for domain in torch.unique(batch.domain).tolist():
            rows = (batch.domain == domain).nonzero().squeeze(1)
            served = self._served(shared_W + self.delta_DW[domain], self.noted_DN[domain])
            logit_B[rows] = torch.func.functional_call(self.backbone, served, (batch[rows],))
        return logit_B

    def losses(self, batch: Impressions) -> Losses:
        return self.backbone.losses(batch)

    def expert_masks(self) -> list[Tensor]:
        return self.backbone.expert_masks()

    def epoch(self, feed: EpochFeed) -> Iterator[Losses]:
        yield from self._negotiate(feed)
        yield from self._regularise(feed)
        self._calibrate(feed)

    def steps(self, feed: EpochFeed) -> int:
        batches = _batches(feed)
        helped = (
            min(batches[domain], self.how.helper_batches or batches[domain])
            for one, helpers in self._plan(feed)
            for helper in helpers
            for domain in (helper, one)
        )
        return sum(batches.values()) + sum(helped)

    def _negotiate(self, feed: EpochFeed) -> Iterator[Losses]:
        left = _batches(feed)
        sources = {domain: feed.domain(domain, hide=True) for domain in left}
        weights = list(self.backbone.parameters())
        while left:
            start = [weight.detach().clone() for weight in weights]
            for domain in feed.permuted(list(left)):
                taken = min(left[domain], self.how.round_batches or left[domain])
                for batch in itertools.islice(sources[domain], taken):
                    yield self.losses(batch)
                left[domain] -= taken
            left = {domain: batches for domain, batches in left.items() if batches}
            with torch.no_grad():
                for weight, before in zip(weights, start, strict=True):
                    weight.copy_(torch.lerp(before, weight, self.how.rate))

    def _regularise(self, feed: EpochFeed) -> Iterator[Losses]:
        shared_W = _flat(self._weights())
        own = {id(weight) for weight in self._weights()}
        resting = [p for p in self.backbone.parameters() if id(p) not in own]
        for parameter in resting:
            parameter.requires_grad_(False)
        try:
            for one, helpers in self._plan(feed):
                for helper in helpers:
                    start_W = shared_W + self.delta_DW[one]
                    _load(self._weights(), start_W)
                    for domain in (helper, one):
                        yield from self._steps_on(feed, domain)
                    self.delta_DW[one] += self.how.domain_rate * (_flat(self._weights()) - start_W)
        finally:
            _load(self._weights(), shared_W)
            for parameter in resting:
                parameter.requires_grad_(True)

    def _steps_on(self, feed: EpochFeed, domain: int) -> Iterator[Losses]:
        for batch in itertools.islice(feed.domain(domain), self.how.helper_batches):
            yield self.losses(batch)

    def _plan(self, feed: EpochFeed) -> list[tuple[int, list[int]]]:
        """Each domain with its helpers; a lone domain helps itself. The same at each call."""
        rng = generator(feed.feed.seed, feed.number, HELPERS)
        plan = []
        for place in torch.randperm(len(feed.domains), generator=rng).tolist():
            one = feed.domains[place]
            others = [domain for domain in feed.domains if domain != one] or [one]
            drawn = torch.randperm(len(others), generator=rng)[: self.how.helpers]
            plan.append((one, [others[n] for n in drawn.tolist()]))
        return plan

    @torch.no_grad()
    def _calibrate(self, feed: EpochFeed) -> None:
        if not self._noted:
            return
        shared_W, trained_N = _flat(self._weights()), _flat(self._statistics())
        buffers = self.backbone.named_buffers()
        counts = {name: b.clone() for name, b in buffers if name not in self._noted}
        for domain in (0, *feed.domains):
            _load(self._weights(), shared_W + self.delta_DW[domain])
            _load(self._statistics(), trained_N)
            for batch in itertools.islice(_endless(feed, domain), self.how.calibration):
                self.backbone(batch)
            known = domain if domain else slice(None)
            self.noted_DN[known] = _flat(self._statistics())
        _load(self._weights(), shared_W)
        _load(self._statistics(), self.noted_DN[0])
        for name, count in counts.items():  # such as of steps taken, which these are not
            self.backbone.get_buffer(name).copy_(count)

    def _weights(self) -> list[Tensor]:
        return [self.backbone.get_parameter(name) for name in self._own]

    def _statistics(self) -> list[Tensor]:
        return [self.backbone.get_buffer(name) for name in self._noted]

    def _served(self, weights_W: Tensor, noted_N: Tensor) -> dict[str, Tensor]:
        weights = zip(self._own, _cut(weights_W, self._weights()), strict=True)
        noted = zip(self._noted, _cut(noted_N, self._statistics()), strict=True)
        return {**dict(weights), **dict(noted)}


def _batches(feed: EpochFeed) -> dict[int, int]:
    """Batches of each domain id that has training rows."""
    size = feed.feed.batch_size
    rows = {domain: len(feed.feed.rows_of(domain)) for domain in (0, *feed.domains)}
    return {domain: -(-number // size) for domain, number in rows.items() if number}


def _endless(feed: EpochFeed, domain: int) -> Iterator[Impressions]:
    """A domain's batches, again and again; those of all, mixed, for the unknown one."""
    while True:
        yield from feed.domain(domain) if domain else feed.shuffled()


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    """A copy of all numbers, in one row."""
    parts = [tensor.detach().flatten() for tensor in tensors]
    return torch.cat(parts) if parts else torch.empty(0)


def _cut(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    sizes = [tensor.numel() for tensor in like]
    return [part.view_as(one) for part, one in zip(flat.split(sizes), like, strict=True)]


@torch.no_grad()
def _load(tensors: Sequence[Tensor], flat: Tensor) -> None:
    for tensor, value in zip(tensors, _cut(flat, tensors), strict=True):
        tensor.copy_(value)
