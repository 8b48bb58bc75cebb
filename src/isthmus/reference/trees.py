"""LightGBM over rates, counts and bins: gradient-boosted trees, the usual choice without networks."""

import re
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from isthmus.batch import Impressions
from isthmus.data.feed import Feed
from isthmus.errors import ConfigError, IntegrityError
from isthmus.models.base import ModelConfig, Ranker
from isthmus.progress import Reporter, quiet
from isthmus.reference.encoding import Encoding, EncodingConfig
from isthmus.reference.rates import Floats, Table
from isthmus.schema import Schema
from isthmus.training.state import TrainingState

if TYPE_CHECKING:
    from lightgbm import Booster

_TABLE = ("keys", "rows", "positives")


class TreesConfig(EncodingConfig):
    """How the trees are grown, and the rates that they read.

    ``trees`` at most; validation rows are scored after every ``every``, and growing ends once
    ``patience`` looks in a row have found no better ``train.metric``. It is the one setting of
    ``train`` that trees have, with ``max_rows``. A leaf has ``min_rows`` training rows or more; a
    tree is grown on a share of the rows and of the columns.
    """

    trees: PositiveInt = 1000
    every: PositiveInt = 10
    patience: PositiveInt = 10
    learning_rate: PositiveFloat = 0.05
    leaves: int = Field(31, ge=2)
    min_rows: PositiveInt = 100
    row_share: PositiveFloat = Field(0.8, le=1)
    column_share: PositiveFloat = Field(0.8, le=1)
    l2: NonNegativeFloat = 1.0
    threads: NonNegativeInt = 1

    def parameters(self, seed: int) -> dict[str, Any]:
        """What LightGBM is told: the same rows, settings and seed give the same trees to the bit."""
        return {
            "objective": "binary",
            "learning_rate": self.learning_rate,
            "num_leaves": self.leaves,
            "min_data_in_leaf": self.min_rows,
            "bagging_fraction": self.row_share,
            "bagging_freq": 1,
            "feature_fraction": self.column_share,
            "lambda_l2": self.l2,
            "num_threads": self.threads,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }


class Trees(Ranker):
    """LightGBM (Ke et al., NeurIPS 2017) on target rates out of fold, counts and bins: a reference.

    Made by ``fit`` or ``load``. Its state are the tables that rates come from, and the values of
    the leaves, which are its parameters as those of a network are counted; its trees are a text.
    """

    name = "lightgbm"
    paper = "https://proceedings.neurips.cc/paper/2017/hash/6449f44a102fde848669bdd9eb6b76fa-Abstract.html"
    Settings = TreesConfig
    file = "lightgbm.txt"

    def __init__(self, encoding: Encoding, text: str) -> None:
        super().__init__(ModelConfig(), encoding.schema)  # no setting of networks is any of its own
        self.encoding, self.text = encoding, text
        self.booster: Booster = library().Booster(model_str=text)
        leaves = torch.tensor(_leaf_values(text), dtype=torch.float64)
        self.leaves = nn.Parameter(leaves, requires_grad=False)
        for number, table in enumerate((encoding.total, *encoding.tables)):
            for column in _TABLE:
                self.register_buffer(f"{column}_{number}", torch.from_numpy(getattr(table, column)))

    def forward(self, batch: Impressions) -> Tensor:
        table_BC = self.encoding(batch)
        raw_B = self.booster.predict(table_BC, raw_score=True) if len(batch) else np.zeros(0)
        return torch.from_numpy(np.asarray(raw_B, np.float64))

    @classmethod
    def fit(
        cls,
        config: TreesConfig,
        schema: Schema,
        feed: Feed,
        score: Callable[[Floats], float],
        *,
        on_look: Callable[[TrainingState], None] = lambda _: None,
        reporter: Reporter = quiet,
    ) -> tuple["Trees", TrainingState]:
        """Grow trees on the feed's training rows until ``score`` of its validation rows' P(1) stays.

        The state has one score, and one training loss, for every look at the validation rows.

        Raises:
            ConfigError: LightGBM is not installed.
        """
        encoding = Encoding.learn(config, schema, feed.splits["train"])
        booster = _untrained(config, encoding, feed)
        valid_NC = encoding(feed.splits["valid"])
        raw_N, state = np.zeros(len(valid_NC)), TrainingState()
        looks = -(-config.trees // config.every)
        with reporter.task("trees", looks) as advance:
            while state.epochs < looks and not _stale(state, config.patience):
                start = state.epochs * config.every
                more = min(config.every, config.trees - start)
                for _ in range(more):
                    booster.update()
                raw_N += booster.predict(
                    valid_NC, start_iteration=start, num_iteration=more, raw_score=True
                )
                state.scores.append(score(1 / (1 + np.exp(-raw_N))))
                state.losses.append({"bce": float(booster.eval_train()[0][2])})
                on_look(state)
                advance(1)
        best = min((state.best_epoch + 1) * config.every, config.trees)
        model = cls(encoding, booster.model_to_string(num_iteration=best))
        state.best = dict(model.state_dict())
        return model, state

    @classmethod
    def load(
        cls, config: TreesConfig, schema: Schema, state: Mapping[str, Tensor], text: str
    ) -> "Trees":
        """The reference as it was stored."""
        count = sum(name.startswith("keys_") for name in state)
        tables = [
            Table(*(state[f"{column}_{number}"].numpy() for column in _TABLE))
            for number in range(count)
        ]
        model = cls(Encoding(config, schema, tables[0], tuple(tables[1:])), text)
        if not torch.equal(model.leaves, state["leaves"]):
            raise IntegrityError("the trees are not those of the stored leaves; train again")
        return model


def library() -> ModuleType:
    """LightGBM.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import lightgbm
    except ImportError as error:
        raise ConfigError(
            f'model "lightgbm" needs LightGBM, which is not there ({error}); '
            "install the extra: pip install 'isthmus[bench]'"
        ) from None
    return lightgbm


def _untrained(config: TreesConfig, encoding: Encoding, feed: Feed) -> "Booster":
    rows, parameters = feed.splits["train"], config.parameters(feed.seed)
    data = library().Dataset(
        encoding.training(rows, feed.seed),
        rows.label.numpy(),
        feature_name=[_clean(n, name) for n, name in enumerate(encoding.names())],
        params=parameters,
    )
    booster: Booster = library().Booster({**parameters, "metric": "binary_logloss"}, data)
    return booster


def _clean(number: int, name: str) -> str:
    """A name that LightGBM takes; the number keeps apart what is the same without its signs."""
    return f"{number}_{re.sub(r'[^A-Za-z0-9]+', '_', name)}"


def _stale(state: TrainingState, patience: int) -> bool:
    return bool(state.epochs) and state.epochs - 1 - state.best_epoch >= patience


def _leaf_values(text: str) -> list[float]:
    lines = (line for line in text.splitlines() if line.startswith("leaf_value="))
    return [float(value) for line in lines for value in line.removeprefix("leaf_value=").split()]
