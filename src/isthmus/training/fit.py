"""The training loop: epochs, validation, early stop, best weights. It knows no model by name."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, get_args

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from isthmus.batch import Impressions
from isthmus.data.feed import EpochFeed, Feed, generator
from isthmus.errors import TrainingError
from isthmus.models.base import Losses, Model, Told
from isthmus.nn import EmbeddingTable, masks
from isthmus.optim import Optimizers, RowAdam, update
from isthmus.progress import Reporter, quiet
from isthmus.schema import Frozen
from isthmus.training.state import TrainingState

DROPOUT = (
    1  # the purpose of a generator: what a model draws in an epoch, apart from the feed's order
)


CHURN = "share of mask edges changed in the epoch"
"""Told of each domain of a model with masks: edges that either mask has and the other lacks."""

OfScores = Literal["domain_auc", "macro_auc", "auc", "worst_domain"]
OfItems = Literal["ndcg@10", "macro_ndcg@10", "hr@10", "mrr"]
AUCS: tuple[str, ...] = get_args(OfScores)
RANKING: tuple[str, ...] = get_args(OfItems)
"""Metrics by which epochs are compared: of rankers, and of retrievers, the usual one first."""


class TrainConfig(Frozen):
    """How a model is trained; every number is in steps, rows or epochs, never in seconds.

    ``max_rows``: train on so many training rows (of a retriever: of histories, as the model is
    trained on them), drawn once by the seed; without it, on all.
    ``metric``: of the validation split, by which epochs are compared. A ranker has an AUC, a
    retriever (by default) its NDCG among the items of the target's domain.
    ``device``: "cpu", "cuda", "cuda:1", or "auto" for a GPU where there is one. ``autocast``: matrix
    products of training in bfloat16, all else as it was. ``compile``: losses through torch.compile.
    """

    lr: PositiveFloat = 1e-3
    batch_size: PositiveInt = 1024
    max_epochs: PositiveInt = 10
    patience: PositiveInt = 2
    metric: OfScores | OfItems = "domain_auc"
    weight_decay: NonNegativeFloat = 1e-5
    embedding_l2: NonNegativeFloat = 1e-5
    clip: PositiveFloat | None = None
    unknown_share: NonNegativeFloat = Field(0.01, lt=1)
    max_rows: PositiveInt | None = None
    device: str = Field("cpu", pattern=r"^(cpu|auto|cuda(:\d+)?)$")
    autocast: bool = False
    compile: bool = False


def fit(
    model: Model,
    feed: Feed,
    score: Callable[[Model], float],
    config: TrainConfig,
    *,
    state: TrainingState | None = None,
    on_epoch: Callable[[TrainingState], None] = lambda _: None,
    reporter: Reporter = quiet,
) -> TrainingState:
    """Train until ``score`` has not risen for ``patience`` epochs; the model ends with the best weights.

    Given a ``state``, go on from it: the result equals an uninterrupted run bit for bit, since
    order and randomness depend on the seed and the epoch alone. A model without parameters has
    learnt all that it will from one epoch.

    Raises:
        TrainingError: a loss is not finite; it names epoch, step and domains.
    """
    optimizer = make_optimizer(model, config)
    if state is None:
        state = TrainingState()
    else:
        model.load_state_dict(state.model)
        optimizer.load_state_dict(state.optimizer)
    while not _is_done(model, state, config):
        number = state.epochs
        epoch = feed.epoch(number)
        torch.manual_seed(generator(feed.seed, number, DROPOUT).initial_seed())
        model.train()
        masks_before = [level.clone() for level in model.expert_masks()]
        with reporter.task(f"epoch {number + 1}", model.steps(epoch)) as advance:
            losses = _train(model, epoch, optimizer, config, advance)
        model.eval()
        with torch.inference_mode():
            state.scores.append(score(model))
        state.losses.append(losses)
        state.told = {**model.told(), **_churn(model, masks_before)}
        state.model = _copied(model.state_dict())
        state.optimizer = _copied(optimizer.state_dict())
        if state.best_epoch == number:
            state.best = state.model
        on_epoch(state)
    model.load_state_dict(state.best)
    model.eval()
    return state


def _churn(model: Model, before: Sequence[Tensor]) -> Told:
    """How much an epoch changed the masks, for the log and the report; nothing without masks."""
    if not before:
        return {}
    changed_D = masks.changed(before, model.expert_masks()).tolist()
    domains = enumerate(model.schema.domains, 1)
    return {CHURN: {name: round(changed_D[d], 6) for d, name in domains}}


def make_optimizer(model: nn.Module, config: TrainConfig) -> Optimizers:
    """Row-wise Adam for embedding tables, fused Adam for everything else."""
    tables = [m.weight for m in model.modules() if isinstance(m, EmbeddingTable)]
    known = {id(table) for table in tables}
    dense = [p for p in model.parameters() if id(p) not in known]
    parts: dict[str, torch.optim.Optimizer] = {}
    if dense:
        parts["dense"] = torch.optim.Adam(
            dense, config.lr, betas=(0.9, 0.99), weight_decay=config.weight_decay, fused=True
        )
    if tables:
        parts["tables"] = RowAdam(tables, config.lr, l2=config.embedding_l2)
    return Optimizers(**parts)


def _train(
    model: Model,
    epoch: EpochFeed,
    optimizer: Optimizers,
    config: TrainConfig,
    advance: Callable[[int], None],
) -> dict[str, float]:
    """One epoch of steps; mean of each named loss over the steps that had it."""
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    for step, losses in enumerate(_watched(model.epoch(epoch), model, epoch)):
        try:
            update(optimizer, losses, clip=config.clip)
        except TrainingError as error:
            raise TrainingError(
                f"epoch {epoch.number + 1}, step {step + 1}, {_culprits(model, epoch)}: {error}"
            ) from None
        for name, value in losses.items():
            sums[name] = sums.get(name, torch.zeros(())) + value.detach()
            counts[name] = counts.get(name, 0) + 1
        advance(1)
    return {name: float(total) / counts[name] for name, total in sums.items()}


def _watched(losses: Iterable[Losses], model: Model, epoch: EpochFeed) -> Iterable[Losses]:
    """The losses; a search inside the model that diverges is reported like a step."""
    try:
        yield from losses
    except TrainingError as error:
        raise TrainingError(
            f"epoch {epoch.number + 1}, inside {model.name}'s own updates: {error}"
        ) from None


@torch.no_grad()
def _culprits(model: Model, epoch: EpochFeed) -> str:
    """Domains of the present batch whose rows have no finite score or label."""
    batch = epoch.current
    if batch is None:
        return "before any batch"
    if not isinstance(batch, Impressions):  # a query says nothing of what made the loss infinite
        return f"a batch of {len(batch)} histories"
    bad = ~(torch.isfinite(model(batch)) & torch.isfinite(batch.label))
    ids = sorted(set(batch.domain[bad].tolist())) or sorted(set(batch.domain.tolist()))
    names = ["(unknown)", *model.schema.domains]
    more = f" and {len(ids) - 3} more" if len(ids) > 3 else ""
    return f"domain {', '.join(repr(names[i]) for i in ids[:3])}{more}"


def _is_done(model: Model, state: TrainingState, config: TrainConfig) -> bool:
    if state.epochs and next(model.parameters(), None) is None:
        return True
    if state.epochs >= config.max_epochs:
        return True
    return bool(state.epochs) and state.epochs - 1 - state.best_epoch >= config.patience


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_copied(item) for item in value]
    return value
