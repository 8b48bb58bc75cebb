"""A retriever's run: train on sequences, rank the items of every held-out event, keep the ranks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from isthmus import models
from isthmus.config import RunConfig
from isthmus.data.feed import Feed, thinned
from isthmus.data.prepared import Prepared
from isthmus.data.sequences import Windows
from isthmus.data.without import most_rows
from isthmus.errors import ConfigError, DataError
from isthmus.evaluation import RankMetrics, Ranks, evaluate_ranks, metric_of_ranks
from isthmus.inference import ranks
from isthmus.models import Model, ModelConfig, Retriever
from isthmus.models.guarded import GuardedRetriever
from isthmus.models.isolated import domains_in
from isthmus.models.isolated_retrievers import DomainRetriever, IsolatedRetrievers
from isthmus.progress import Reporter
from isthmus.store import Run
from isthmus.training import checkpoint
from isthmus.training.fit import fit, tables_as
from isthmus.training.isolated_retrievers import train_isolated_retrievers
from isthmus.training.state import TrainingState


def train_retriever(
    config: RunConfig,
    prepared: Prepared,
    kept: Run,
    on_epoch: Callable[[TrainingState], None],
    on_partial: Callable[[TrainingState], None],
    reporter: Reporter,
) -> tuple[Retriever, TrainingState]:
    """Train until the validation split's ``train.metric`` no longer rises."""
    torch.manual_seed(config.seed)
    kind, train = _kind(config.model), config.train
    with tables_as(train):
        model = kind(config.model_settings(), prepared.schema)
    valid = Held(prepared, "valid")
    feed = Feed(
        thinned(training_rows(kind, prepared), most_rows(prepared, train.max_rows), config.seed),
        batch_size=train.batch_size,
        seed=config.seed,
        valid=valid.rows,
    )

    def score(model: Model) -> float:
        assert isinstance(model, Retriever)
        found = metric_of_ranks(valid.ranks(model), train.metric)
        if found is None:
            raise DataError(
                f"the validation split has no event of a known domain, and so no {train.metric}; "
                "prepare the data with another split"
            )
        return found

    state = checkpoint.latest(kept.checkpoints, reporter=reporter)
    told: dict[str, Any] = {"on_epoch": on_epoch, "on_partial": on_partial}
    state = fit(model, feed, score, train, state=state, reporter=reporter, **told)
    return model, state


def rank_splits(
    model: Retriever, prepared: Prepared, kept: Run, splits: Sequence[str]
) -> dict[str, RankMetrics]:
    """Rank the items of these splits' events, keep the ranks, and give their metrics."""
    metrics = {}
    own = kept.config["scope"] == "isolated"
    for split in splits:
        kept.log(scoring=split)  # so that the next line tells what scoring costs, and only that
        found = Held(prepared, split, own=own).ranks(model)
        kept.save_ranks(split, found)
        metrics[split] = evaluate_ranks(found)
    return metrics


def load_retriever(kept: Run) -> Retriever:
    """The model of a finished run, with its best weights."""
    kind, config = _configured(kept.config)
    schema, state = kept.schema, kept.model_state()
    model: Retriever
    if kept.config["scope"] == "isolated":
        model = IsolatedRetrievers(config, schema, kind, domains_in(state))
    elif kept.config["scope"] == "guarded":
        own, how = _configured(kept.config["guard"]["isolated"])
        parts = {d: DomainRetriever(how, schema, own, d) for d in domains_in(state)}
        model = GuardedRetriever(kind(config, schema), parts)
    else:
        model = kind(config, schema)
    model.load_state_dict(state)
    return model.eval()


def train_isolated(
    config: RunConfig, prepared: Prepared, kept: Run, reporter: Reporter
) -> tuple[Retriever, TrainingState]:
    """One model a domain, each trained and chosen on the domain's own events."""
    job = config.isolated_job(prepared.path, kept.checkpoints)
    workers = config.share.workers
    model, state = train_isolated_retrievers(job, workers=workers, reporter=reporter)
    held = Held(prepared, "valid", own=True)
    score = metric_of_ranks(held.ranks(model), config.train.metric)
    state.scores = [0.0 if score is None else score]
    return model, state


def training_rows(kind: type[Retriever], prepared: Prepared) -> Windows:
    """The rows that a model of this kind is trained on, by what it ``predicts``.

    Every known event of a user but the first is predicted; none is from an empty history.
    """
    stride = 1 if kind.predicts == "last" else prepared.schema.max_history
    return prepared.windows("train", stride=stride, least=1)


class Held:
    """A split's events, and what evaluation wants to know of them.

    ``own``: histories hold the events of the target's domain alone.
    """

    def __init__(self, prepared: Prepared, split: str, *, own: bool = False) -> None:
        self.rows, self.table = prepared.windows(split, own=own), prepared.table(split)
        self.item_domains = prepared.item_domains()

    def ranks(self, model: Retriever) -> Ranks:
        """Where each event's item stands."""
        return ranks(model, self.rows, self.table, self.item_domains)


def _configured(identity: Mapping[str, Any]) -> tuple[type[Retriever], ModelConfig]:
    """The class of a run's model, and its settings."""
    kind = _kind(identity["model"])
    return kind, kind.Config.model_validate(identity["settings"])


def _kind(name: str) -> type[Retriever]:
    kind = models.get(name)
    if not issubclass(kind, Retriever):
        raise ConfigError(f"{name!r} is a ranker; its run scores impressions, and no items")
    return kind
