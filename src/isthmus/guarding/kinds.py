"""What guarding does alike for rankers and for retrievers, each in its own way."""

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any, Protocol

import numpy as np
import torch

from isthmus import models
from isthmus.batch import Impressions
from isthmus.data.feed import Feed, thinned
from isthmus.data.prepared import Prepared
from isthmus.data.sequences import Windows
from isthmus.evaluation import Predictions, Ranks, evaluate, evaluate_ranks, metric_of_ranks
from isthmus.evaluation.either import Table
from isthmus.experiment import load_model, metric_of, predict, train_rows
from isthmus.inference import ranks
from isthmus.models import Model, Ranker, Retriever
from isthmus.models.guarded import Guarded, GuardedRetriever
from isthmus.models.isolated import DomainRanker
from isthmus.models.isolated_retrievers import DomainRetriever
from isthmus.next_item import Held, load_retriever, training_rows
from isthmus.store import Run
from isthmus.training.fit import TrainConfig
from isthmus.training.isolated import domain_score
from isthmus.training.own_part import own_slices, sample, tune_part

Score = Callable[[Model], float]


class Kind(Protocol):
    """A joint run with its isolated one and their data."""

    own: dict[int, Any]
    """Each domain's own model, by id."""

    def joint(self) -> Model:
        """The joint model, a new copy at each call."""

    def composed(self, joint: Model, own: Mapping[int, Any]) -> Model:
        """The joint model with own ones of some domains."""

    def table(self, model: Model, split: str) -> Table:
        """Scores, or ranks of items, of a split's rows."""

    def tuned(self, joint: Model, domain: int) -> list[str]:
        """Train the domain's part of ``joint`` further; the parameters it has a row of, maybe none."""

    def keep(self, run: Run, split: str, table: Table) -> None:
        """Store the table of a split."""

    def metrics(self, table: Table) -> Any:
        """All metrics of a table."""

    def score(self, table: Table) -> float:
        """The number by which the run's epochs were compared."""


def kind_of(kept: Run, isolated: Run, prepared: Prepared) -> Kind:
    """What there is to do for this pair of runs."""
    return (Retrievers if kept.of_items else Rankers)(kept, isolated, prepared)


class _Runs:
    def __init__(self, kept: Run, prepared: Prepared) -> None:
        self.kept, self.prepared = kept, prepared
        self.train = TrainConfig.model_validate(kept.config["train"])
        self.seed: int = kept.config["seed"]

    def _tuned(
        self, model: Model, domain: int, rows: Any, held: Any, score: Callable[[Any], Score]
    ) -> list[str]:
        """``rows`` are all domains' training rows, ``held`` the validation rows of this one."""
        own = (rows.domain == domain).nonzero().squeeze(1)
        if not len(own):
            return []
        domains = model.schema.num_domains
        slices = own_slices(model, domain, sample(rows, domains))
        if slices:
            own = rows.take(own) if isinstance(rows, Windows) else rows[own]
            feed = Feed(own, batch_size=self.train.batch_size, seed=self.seed)
            tune_part(model, domain, slices, feed, score(held if len(held) else own), self.train)
        return list(slices)


class Rankers(_Runs):
    """Impressions and AUC. Rows of which parts are tuned are read once, for all domains."""

    def __init__(self, kept: Run, isolated: Run, prepared: Prepared) -> None:
        super().__init__(kept, prepared)
        parts = load_model(isolated).get_submodule("parts")
        self.own: dict[int, DomainRanker] = {
            int(name): part
            for name, part in parts.named_children()
            if isinstance(part, DomainRanker)
        }

    def joint(self) -> Ranker:
        return load_model(self.kept)

    def composed(self, joint: Model, own: Mapping[int, DomainRanker]) -> Guarded:
        assert isinstance(joint, Ranker)
        return Guarded(joint, own)

    def table(self, model: Model, split: str) -> Predictions:
        assert isinstance(model, Ranker)
        return predict(model, self.prepared, split)

    @cached_property
    def rows(self) -> Impressions:
        return thinned(self.prepared.impressions("train"), self.train.max_rows, self.seed)

    @cached_property
    def valid(self) -> Impressions:
        return self.prepared.impressions("valid")

    def tuned(self, joint: Model, domain: int) -> list[str]:
        held = self.valid[(self.valid.domain == domain).nonzero().squeeze(1)]
        return self._tuned(
            joint, domain, self.rows, held, lambda rows: partial(domain_score, rows=rows)
        )

    def keep(self, run: Run, split: str, table: Table) -> None:
        assert isinstance(table, Predictions)
        run.save_predictions(split, table)

    def metrics(self, table: Table) -> Any:
        assert isinstance(table, Predictions)
        return evaluate(table, sizes=train_rows(self.prepared))

    def score(self, table: Table) -> float:
        return metric_of(self.metrics(table), self.train.metric)


class Retrievers(_Runs):
    """Histories and ranks of items. Own models read of a history what the joint model is given.

    Rows of which parts are tuned are read once, for all domains.
    """

    def __init__(self, kept: Run, isolated: Run, prepared: Prepared) -> None:
        super().__init__(kept, prepared)
        parts = load_retriever(isolated).get_submodule("parts")
        self.own: dict[int, DomainRetriever] = {
            int(name): part
            for name, part in parts.named_children()
            if isinstance(part, DomainRetriever)
        }

    def joint(self) -> Retriever:
        return load_retriever(self.kept)

    def composed(self, joint: Model, own: Mapping[int, DomainRetriever]) -> GuardedRetriever:
        assert isinstance(joint, Retriever)
        return GuardedRetriever(joint, own)

    def table(self, model: Model, split: str) -> Ranks:
        assert isinstance(model, Retriever)
        return Held(self.prepared, split).ranks(model)

    @cached_property
    def rows(self) -> Windows:
        kind = models.get(self.kept.config["model"])
        assert issubclass(kind, Retriever)
        return thinned(training_rows(kind, self.prepared), self.train.max_rows, self.seed)

    @cached_property
    def valid(self) -> Held:
        return Held(self.prepared, "valid")

    def tuned(self, joint: Model, domain: int) -> list[str]:
        places = (self.valid.rows.domain == domain).nonzero().squeeze(1)
        return self._tuned(joint, domain, self.rows, places, lambda _: partial(self._score, places))

    def _score(self, places: torch.Tensor, model: Model) -> float:
        """The metric on the domain's validation rows; without any, no epoch is better than another."""
        assert isinstance(model, Retriever)
        valid = self.valid
        table = {name: column[places.numpy()] for name, column in valid.table.items()}
        found = ranks(model, valid.rows.take(places), table, np.asarray(valid.item_domains))
        return metric_of_ranks(found, self.train.metric) or 0.0

    def keep(self, run: Run, split: str, table: Table) -> None:
        assert isinstance(table, Ranks)
        run.save_ranks(split, table)

    def metrics(self, table: Table) -> Any:
        assert isinstance(table, Ranks)
        return evaluate_ranks(table)

    def score(self, table: Table) -> float:
        assert isinstance(table, Ranks)
        return metric_of_ranks(table, self.train.metric) or 0.0
