"""The training loop: epochs, validation, early stop, best weights. It knows no model by name."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from isthmus import distributed
from isthmus.batch import Impressions
from isthmus.data.feed import EpochFeed, Feed, generator
from isthmus.device import found
from isthmus.errors import TrainingError
from isthmus.models.base import Losses, Model, Told
from isthmus.nn import EmbeddingTable, masks
from isthmus.optim import Optimizers, RowAdam, Watch, update
from isthmus.progress import Reporter, quiet
from isthmus.schema import Frozen
from isthmus.training.acceleration import compiled, under_autocast
from isthmus.training.middle import can_resume, noted, restore_random
from isthmus.training.state import Partial, TrainingState

DROPOUT = (
    1  # the purpose of a generator: what a model draws in an epoch, apart from the feed's order
)


CHURN = "share of mask edges changed in the epoch"
"""Told of each domain of a model with masks: edges that either mask has and the other lacks."""

STREAM_WINDOW = 2**20
OfScores = Literal["domain_auc", "macro_auc", "auc", "worst_domain"]
OfItems = Literal["ndcg@10", "macro_ndcg@10", "hr@10", "mrr"]
AUCS: tuple[str, ...] = get_args(OfScores)
RANKING: tuple[str, ...] = get_args(OfItems)
"""Metrics by which epochs are compared: of rankers, and of retrievers, the usual one first."""


class TrainConfig(Frozen):
    """How a model is trained; every number is in steps, rows or epochs, never in seconds.

    ``max_rows``: train on so many training rows (of a retriever: of histories, as the model is
    trained on them), drawn once by the seed; without it, on all.
    ``checkpoint_every``: after each so many steps there is a checkpoint within an epoch too, where
    the model's epoch may be entered again in its middle; no result depends on it.
    ``shard_embeddings``: of several processes each holds and trains a share of the rows of embedding
    tables; one process holds them all. No result depends on it, but for rounding.
    ``stream``: training and held-out rows stay in their files; of those that are trained on, about
    ``stream_window`` are in memory at a time, and mixed among each other (see ``data.stream``).
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
    checkpoint_every: PositiveInt | None = None
    shard_embeddings: bool = False
    stream: bool = False
    stream_window: PositiveInt = STREAM_WINDOW
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
    on_partial: Callable[[TrainingState], None] = lambda _: None,
    reporter: Reporter = quiet,
) -> TrainingState:
    """Train until ``score`` has not risen for ``patience`` epochs; the model ends with the best weights.

    Given a ``state``, of an epoch's middle too, go on from it: the result equals an uninterrupted
    run bit for bit, since order and randomness depend on the seed and the epoch alone, or are in
    the state. A model without parameters has learnt all that it will from one epoch.

    ``on_partial`` is given the state within an epoch, every ``checkpoint_every`` steps.

    The model goes to the device that ``config`` names, and batches follow; the state is the host's.

    Raises:
        TrainingError: a loss is not finite; it names epoch, step and domains.
        ConfigError: there is no such device.
    """
    learns = next(model.parameters(), None) is not None  # what only counts does so on the host
    device = found(config.device if learns else "cpu")
    model.to(device)
    feed.device = device
    if config.shard_embeddings and distributed.peers().together:
        # imported by who wants it alone: half a second
        from isthmus.nn.sharded import all_processes, shard_tables

        shard_tables(model, all_processes())
    optimizer = make_optimizer(model, config)
    if state is None:
        state = TrainingState()
    else:
        model.load_state_dict(state.model)
        optimizer.load_state_dict(state.optimizer)
    _same_start(model, state)
    every = _interval(model, config, reporter)
    while not _is_done(model, state, config):
        number = state.epochs
        partial, epoch = _entered(model, feed, state)
        model.train()
        bar = reporter.task(f"epoch {number + 1}", model.steps(epoch))
        with bar as advance, compiled(model, config.compile):
            advance(partial.step)
            for step in _steps(model, epoch, optimizer, config, partial):
                advance(1)
                if every and step % every == 0:
                    on_partial(_within(state, model, optimizer, noted(partial, epoch)))
        model.eval()
        distributed.broadcast(model.buffers())  # what a model noted of its part of each batch alone
        with torch.inference_mode():
            state.scores.append(distributed.everyones(score(model))[0])
        state.losses.append(partial.means())
        state.told = {**model.told(), **_churn(model, partial.masks)}
        state.model = _copied(model.state_dict())
        state.optimizer = _copied(optimizer.state_dict())
        state.partial = None
        if state.best_epoch == number:
            state.best = state.model
        on_epoch(state)
    model.load_state_dict(state.best)
    model.eval()
    return state


def _interval(model: Model, config: TrainConfig, reporter: Reporter) -> int | None:
    """Steps between checkpoints within an epoch; none where its middle cannot be entered again."""
    if config.checkpoint_every is None or can_resume(model):
        return config.checkpoint_every
    reporter.note(
        f"train.checkpoint_every has no effect on {model.name!r}, which says itself what an epoch "
        "consists of: there is a checkpoint at the end of each epoch"
    )
    return None


def _entered(model: Model, feed: Feed, state: TrainingState) -> tuple[Partial, EpochFeed]:
    """The next epoch from its start, or from where ``state`` is in it; all randomness is set."""
    number, partial = state.epochs, state.partial
    if partial is None:
        torch.manual_seed(_draws(feed.seed, number).initial_seed())
        masks_before = [level.clone() for level in model.expert_masks()]
        return Partial(masks=masks_before), feed.epoch(number)
    if not restore_random(partial, feed.device):  # other processes than before: other numbers
        torch.manual_seed(_draws(feed.seed, number, partial.step).initial_seed())
    begun = replace(partial, sums=dict(partial.sums), counts=dict(partial.counts))
    return begun, feed.epoch(number, partial.place)


def _within(
    state: TrainingState, model: Model, optimizer: Optimizers, partial: Partial
) -> TrainingState:
    """``state`` in the middle of its next epoch."""
    weights, moments = _copied(model.state_dict()), _copied(optimizer.state_dict())
    scores, losses = list(state.scores), list(state.losses)
    return replace(
        state, scores=scores, losses=losses, model=weights, optimizer=moments, partial=partial
    )


def _churn(model: Model, before: Sequence[Tensor]) -> Told:
    """How much an epoch changed the masks, for the log and the report; nothing without masks."""
    if not before:
        return {}
    changed_D = masks.changed(before, model.expert_masks()).tolist()
    domains = enumerate(model.schema.domains, 1)
    return {CHURN: {name: round(changed_D[d], 6) for d, name in domains}}


def _draws(seed: int, epoch: int, step: int = 0) -> torch.Generator:
    """What a model draws from in an epoch: several processes, on parts of a batch, other numbers."""
    rank = distributed.peers().rank
    return generator(
        seed, epoch, DROPOUT, *([rank] if rank or step else []), *([step] * bool(step))
    )


def _same_start(model: Model, state: TrainingState) -> None:
    """Go on from where all processes are, by the weights of the first one."""
    places = distributed.everyones((state.epochs, state.partial.step if state.partial else 0))
    if len(set(places)) > 1:
        told = ", ".join(f"epoch {epochs}, step {step}" for epochs, step in places)
        raise TrainingError(
            f"processes would go on from different places ({told}); keep runs in a folder that all "
            "machines share"
        )
    distributed.broadcast(model.state_dict().values())


@contextmanager
def tables_as(config: TrainConfig) -> Iterator[None]:
    """Models made inside have tables as ``config`` wants them: whole, or nowhere whole."""
    if not (config.shard_embeddings and distributed.peers().together):
        yield
        return
    from isthmus.nn.sharded import all_processes, made_sharded

    with made_sharded(all_processes()):
        yield


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


def _steps(
    model: Model,
    epoch: EpochFeed,
    optimizer: Optimizers,
    config: TrainConfig,
    partial: Partial,
) -> Iterator[int]:
    """Take the steps of an epoch that ``partial`` does not count yet; after each, yield its number."""
    watch, device = Watch(), torch.device(epoch.feed.device)
    before, every = partial.step, config.checkpoint_every
    losses_of = under_autocast(model.epoch(epoch), device, config.autocast)
    for losses in _watched(losses_of, model, epoch):
        with _naming(partial.step, before, watch, model, epoch):
            whole = update(optimizer, losses, clip=config.clip, watch=watch)
            if every and (partial.step + 1) % every == 0:
                watch.look()  # nothing is kept that diverged
        partial.add(whole)
        yield partial.step
    with _naming(partial.step, before, watch, model, epoch):
        watch.look()


@contextmanager
def _naming(step: int, before: int, watch: Watch, model: Model, epoch: EpochFeed) -> Iterator[None]:
    """Say of a diverged step which it was, and of what domains its rows were, if it was just now.

    ``before``: steps of the epoch that ``watch`` did not see.
    """
    try:
        yield
    except TrainingError as error:
        if watch.bad is not None:  # on a GPU: the batch is gone, and the weights are not finite
            where = f"step {before + watch.bad + 1}, noticed after step {before + watch.steps}"
        else:
            where = f"step {step + 1}, {_culprits(model, epoch)}"
        raise TrainingError(f"epoch {epoch.number + 1}, {where}: {error}") from None


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
        return f"a batch of {sum(distributed.everyones(len(batch)))} histories"
    bad = ~(torch.isfinite(model(batch)) & torch.isfinite(batch.label))
    ids = _union(batch.domain[bad]) or _union(batch.domain)
    names = ["(unknown)", *model.schema.domains]
    more = f" and {len(ids) - 3} more" if len(ids) > 3 else ""
    return f"domain {', '.join(repr(names[i]) for i in ids[:3])}{more}"


def _union(ids: Tensor) -> list[int]:
    """These ids, and those that other processes found in their parts of the batch."""
    return sorted({one for found in distributed.everyones(ids.tolist()) for one in found})


def _is_done(model: Model, state: TrainingState, config: TrainConfig) -> bool:
    if state.epochs and next(model.parameters(), None) is None:
        return True
    if state.epochs >= config.max_epochs:
        return True
    return bool(state.epochs) and state.epochs - 1 - state.best_epoch >= config.patience


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_copied(item) for item in value]
    return value
