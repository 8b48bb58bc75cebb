"""Training one domain's own part of a joint model, while everything shared stands still."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call

from isthmus.batch import Histories, Impressions
from isthmus.data.feed import EpochFeed, Feed
from isthmus.models.base import Losses, Model, Ranker, Retriever
from isthmus.models.mamdr import Mamdr
from isthmus.models.sequential import SequentialRetriever
from isthmus.nn import EmbeddingTable
from isthmus.training.fit import TrainConfig, fit

Rows = Impressions | Histories
Slices = dict[str, int]
"""The dimension that counts domain ids, by the parameter's name."""


@torch.inference_mode()
def own_slices(model: Model, domain: int, rows: Rows) -> Slices:
    """The parameters with a slice a domain id, of which this domain's is read by its own rows alone.

    That is tried out, not believed: where another value in the slice changes a bit of what other
    domains' ``rows`` are scored, or nothing of its own domain's, the parameter is left out. Tables
    that the row-wise optimiser trains are left out, as is all of a model under MAMDR, whose domains
    differ in all weights.
    """
    if isinstance(model, Mamdr):
        return {}
    model.eval()
    tables = {id(m.weight) for m in model.modules() if isinstance(m, EmbeddingTable)}
    own_B, before = rows.domain == domain, _scores(model, rows)
    found = {}
    for name, parameter in model.named_parameters():
        if id(parameter) in tables:
            continue
        for axis, length in enumerate(parameter.shape):
            if length != model.schema.num_domains + 1:
                continue
            own = parameter.select(axis, domain)
            kept = own.clone()
            own += 1 + kept.abs()
            after = _scores(model, rows)
            own.copy_(kept)
            is_read = not torch.equal(before[own_B], after[own_B])
            if is_read and torch.equal(before[~own_B], after[~own_B]):
                found[name] = axis
    return found


def tune_part(
    model: Model,
    domain: int,
    slices: Slices,
    feed: Feed,
    score: Callable[[Model], float],
    config: TrainConfig,
) -> None:
    """Train the domain's ``slices`` on ``feed``; put the best into ``model``.

    ``feed`` holds the domain's rows alone. ``model`` scores in evaluation mode meanwhile, so that
    neither running statistics nor searched masks move. Other domains' slices stay as they are.
    """
    model.requires_grad_(False)
    part = _Part(model, domain, slices)

    def of_model(_: Model) -> float:
        part.put()
        return score(model)

    host = {"device": "cpu", "compile": False}  # where the rest of the model is, and few rows
    fit(part, feed, of_model, config.model_copy(update=host))
    part.put()


def sample(rows: Rows, domains: int, most: int = 8) -> Rows:
    """The first few rows of every domain: enough to see who reads what."""
    places = [(rows.domain == d).nonzero().squeeze(1)[:most] for d in range(domains + 1)]
    return rows[torch.cat(places)]


class _Part(Model):
    """The domain's slices as the only parameters; the model itself is none of its modules."""

    name = "part"
    paper = ""

    def __init__(self, model: Model, domain: int, slices: Slices) -> None:
        super().__init__(model.config, model.schema)
        self.domain, self.slices = domain, slices
        self.own = nn.ParameterList(
            model.get_parameter(name).select(axis, domain).clone() for name, axis in slices.items()
        )
        self._outside = (model, _Losses(model))  # no modules: fit neither trains nor stores them

    @property
    def model(self) -> Model:
        """The whole model, which stands still."""
        return self._outside[0]

    def losses(self, batch: Rows) -> Losses:
        place = torch.tensor([self.domain])
        whole = {}
        for (name, axis), own in zip(self.slices.items(), self.own, strict=True):
            fixed, one = self.model.get_parameter(name), own.unsqueeze(axis)
            whole[f"model.{name}"] = fixed.index_copy(axis, place.to(fixed.device), one)
        losses: Losses = functional_call(self._outside[1], whole, (batch,))
        return losses

    def epoch(self, feed: EpochFeed) -> Iterator[Losses]:
        for step, batch in enumerate(feed.shuffled()):
            if isinstance(self.model, SequentialRetriever):
                self.model.next_item.step = (feed.feed.seed, feed.number, step)
            yield self.losses(batch)

    @torch.no_grad()
    def put(self) -> None:
        """Write the slices into the model."""
        for (name, axis), own in zip(self.slices.items(), self.own, strict=True):
            self.model.get_parameter(name).select(axis, self.domain).copy_(own)


class _Losses(nn.Module):
    """A model whose call gives its losses, so that a call with other weights does."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Rows) -> Losses:
        return self.model.losses(batch)


def _scores(model: Model, rows: Rows) -> Tensor:
    if isinstance(model, Retriever):
        assert isinstance(rows, Histories)
        return model.scores(rows)
    assert isinstance(model, Ranker)
    logit_B: Tensor = model(rows)
    return logit_B
