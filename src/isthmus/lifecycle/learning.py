"""One domain's own parts learned from its rows, with all that domains share frozen."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from scipy import special
from torch import Tensor

from isthmus.batch import Impressions
from isthmus.data.feed import EpochFeed, Feed
from isthmus.inference import probabilities
from isthmus.lifecycle.axes import Axes, State, rows_of, taken, with_rows
from isthmus.models import Losses, ModelConfig, Ranker
from isthmus.progress import Reporter, quiet
from isthmus.schema import Frozen, Schema
from isthmus.training.fit import TrainConfig, fit

OWN = 1  # the domain's id in a model that has no other
FITTING_ROWS = 500  # on which the best fitting domain is chosen
ALPHA = 0.05
STEPS, FEW = 8, 8  # of an epoch at least, unless batches would have fewer rows than that


class LearnConfig(Frozen):
    """How a domain's own parts are learned.

    ``valid_share`` of the rows, the latest, say when to stop and whether anything was gained. What
    was learned takes the place of what the domain would have without it if it lowers their log
    loss by more than ``margin`` standard errors; under ``least`` rows nothing is learned. Of few
    rows batches are smaller, so that an epoch has several steps.
    """

    lr: PositiveFloat = 5e-3
    batch_size: PositiveInt = 128
    max_epochs: PositiveInt = 15
    patience: PositiveInt = 3
    weight_decay: NonNegativeFloat = 1e-4
    valid_share: PositiveFloat = Field(0.25, lt=1)
    margin: NonNegativeFloat = 1.0
    least: NonNegativeInt = 20
    seed: NonNegativeInt = 0


@dataclass(frozen=True)
class Parts:
    """A trained model taken apart: what a domain's own part is put into."""

    kind: type[Ranker]
    config: ModelConfig
    schema: Schema
    state: State
    axes: Axes

    def of(self, domain: int) -> State:
        """The rows of a domain id."""
        return rows_of(self.state, self.axes, domain)


@dataclass(frozen=True)
class Learned:
    """What a domain has now: its rows, where they are from, and mean log losses on its held-out rows.

    ``start`` is what learning began with; ``chosen`` is "baseline" (nothing else was better by more
    than noise), "start" or "trained".
    """

    rows: State
    chosen: str
    start: str
    held_out: int
    losses: dict[str, float]


class OneDomain(Ranker):
    """A model with one domain, of which that domain's own rows alone learn.

    Shared layers evaluate even in training: no running statistic moves, and no dropout acts. The
    unknown domain's row is there too, and whatever becomes of it is thrown away.
    """

    name = "one_domain"
    paper = "https://arxiv.org/abs/2412.11905"

    def __init__(self, parts: Parts) -> None:
        schema = parts.schema.model_copy(update={"domains": ("own",), "domain_items": ()})
        super().__init__(parts.config, schema)
        self.axes = parts.axes
        with torch.random.fork_rng(devices=[]):
            self.inner = parts.kind(parts.config, schema)
        self.inner.load_state_dict(taken(parts.state, parts.axes, [0, 0]))
        for name, parameter in self.inner.named_parameters():
            parameter.requires_grad_(name in parts.axes)

    def train(self, mode: bool = True) -> "OneDomain":
        super().train(mode)
        self.inner.eval()
        return self

    def forward(self, batch: Impressions) -> Tensor:
        logit_B: Tensor = self.inner(batch)
        return logit_B

    def losses(self, batch: Impressions) -> Losses:
        return self.inner.losses(batch)

    def epoch(self, feed: EpochFeed) -> Iterator[Losses]:
        if feed.number == 0:
            self.inner.choose_parts(feed)
        for batch in feed.shuffled():
            yield self.losses(batch)

    @torch.no_grad()
    def put(self, rows: State) -> None:
        """Give the domain these rows."""
        self.inner.load_state_dict(with_rows(self.inner.state_dict(), self.axes, OWN, rows))

    def own(self) -> State:
        """The domain's rows as they are now."""
        return rows_of(self.inner.state_dict(), self.axes, OWN)

    def row_losses(self, rows: Impressions) -> np.ndarray:
        """Log loss of each row: [N] float64."""
        score = np.clip(probabilities(self, rows), 1e-12, 1 - 1e-12)
        return -np.where(rows.label.numpy() > 0.5, np.log(score), np.log1p(-score))


def learn(
    parts: Parts,
    fitted: Impressions,
    valid: Impressions,
    baseline: State,
    starts: Mapping[str, State],
    config: LearnConfig,
    *,
    reporter: Reporter = quiet,
) -> Learned:
    """A domain's rows, learned from ``fitted`` and judged by ``valid``, whatever ids these have.

    Args:
        baseline: what it has if nothing better is found, such as the unknown domain's rows.
        starts: what learning may begin with beside it; the best on ``fitted`` is taken, if it is
            better than the baseline by more than noise.
    """
    fitted, valid = _as_own(fitted), _as_own(valid)
    if len(fitted) + len(valid) < config.least or len(valid) < 2 or not len(fitted):
        return Learned(baseline, "baseline", "baseline", len(valid), {})
    model = OneDomain(parts)
    name, start = _start(model, fitted, baseline, starts)
    found = {"baseline": baseline, "start": start}
    found["trained"] = _trained(model, start, fitted, valid, config, reporter)
    loss_N = {}
    for key, candidate in found.items():
        model.put(candidate)
        loss_N[key] = model.row_losses(valid)
    best = min(("start", "trained"), key=lambda key: loss_N[key].mean())
    chosen = best if _is_better(loss_N["baseline"] - loss_N[best], config.margin) else "baseline"
    means = {key: float(loss.mean()) for key, loss in loss_N.items()}
    return Learned(found[chosen], chosen, name, len(valid), means)


def _as_own(rows: Impressions) -> Impressions:
    return Impressions(rows.features, torch.full_like(rows.domain, OWN), rows.label)


def _start(
    model: OneDomain, rows: Impressions, baseline: State, starts: Mapping[str, State]
) -> tuple[str, State]:
    """The candidate of lowest log loss, if it beats the baseline at a level shared by all of them."""
    step = max(1, -(-len(rows) // FITTING_ROWS))
    some = rows[::step]
    model.put(baseline)
    base_N, losses = model.row_losses(some), {}
    for name, candidate in starts.items():
        model.put(candidate)
        losses[name] = model.row_losses(some)
    best = min(losses, key=lambda name: losses[name].mean(), default=None)
    if best is None:
        return "baseline", baseline
    errors = -float(special.ndtri(ALPHA / len(losses)))
    better = _is_better(base_N - losses[best], errors)
    return (best, starts[best]) if better else ("baseline", baseline)


def _trained(
    model: OneDomain,
    start: State,
    fitted: Impressions,
    valid: Impressions,
    config: LearnConfig,
    reporter: Reporter,
) -> State:
    model.put(start)
    size = min(config.batch_size, max(FEW, len(fitted) // STEPS))
    feed = Feed(fitted, batch_size=size, seed=config.seed, valid=valid)
    train = TrainConfig(
        lr=config.lr,
        batch_size=size,
        max_epochs=config.max_epochs,
        patience=config.patience,
        weight_decay=config.weight_decay,
    )
    fit(model, feed, lambda _: -float(model.row_losses(valid).mean()), train, reporter=reporter)
    return model.own()


def _is_better(gain_N: np.ndarray, errors: float) -> bool:
    """Whether the mean gain is above so many of its standard errors."""
    return bool(gain_N.mean() > errors * gain_N.std(ddof=1) / np.sqrt(len(gain_N)))
