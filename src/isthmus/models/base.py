"""What the trainer, the evaluation and the service may expect of a model."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from isthmus.batch import Histories, Impressions
from isthmus.errors import ConfigError
from isthmus.nn.precision import exact
from isthmus.schema import Frozen, Schema

if TYPE_CHECKING:
    from isthmus.data.feed import EpochFeed

Losses = dict[str, Tensor]
"""Named scalars, each already weighted; their sum is minimised."""
Told = dict[str, dict[str, float]]
"""Figures by what they are, in words, and by the domain's name."""
_registered: dict[str, type["Model"]] = {}
M = TypeVar("M", bound="type[Model]")
E = TypeVar("E", bound="Callable[..., Iterator[Losses]]")


Widths = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
"""Numbers of a level or a layer each, where there must be one."""


def resumable(epoch: E) -> E:
    """Mark an ``epoch`` that may be entered again in its middle, so that training can be resumed there.

    Between two steps it keeps nothing to itself: its batches come from ``feed.numbered`` or
    ``feed.round_robin``, which pass over those of before, all other randomness from ``feed.rng`` and
    torch's own generator, and what it learns is in the state dict.
    """
    epoch.resumable = True  # type: ignore[attr-defined]
    return epoch


class ModelConfig(Frozen):
    """Settings common to all models."""

    embedding_dim: PositiveInt = 32
    dropout: NonNegativeFloat = Field(0.2, lt=1)


class Model(nn.Module):
    """A model knows its parameters, its losses and what one epoch of training consists of."""

    Config: ClassVar[type[ModelConfig]] = ModelConfig
    name: ClassVar[str]
    paper: ClassVar[str]

    def __init__(self, config: ModelConfig, schema: Schema) -> None:
        super().__init__()
        self.config, self.schema = config, schema

    def losses(self, batch: Any) -> Losses:
        """The terms to minimise on ``batch``."""
        raise NotImplementedError

    @resumable
    def epoch(self, feed: "EpochFeed") -> Iterator[Losses]:
        """One epoch: each loss yielded is one optimiser step, taken before the next line runs."""
        for batch in feed.shuffled():
            yield self.losses(batch)

    def expert_masks(self) -> list[Tensor]:
        """Which experts feed which, by domain: [D, n_below, n_above] Booleans a level; none here."""
        return []

    def told(self) -> Told:
        """What the model knows of domains now, for the log and the report; nothing here.

        It is asked at the end of each epoch. All of it follows from the state dict.
        """
        return {}

    def gate_shares(self, batch: Any) -> dict[str, Tensor]:
        """What each row takes of each expert, by the gate's name: [B, E], rows sum to 1; none here."""
        return {}

    def steps(self, feed: "EpochFeed") -> int:
        """How many steps ``epoch`` takes: what a progress bar counts."""
        return feed.num_batches


class Ranker(Model):
    """Scores impressions: ``forward`` maps ``Impressions`` to logits [B].

    ``reads_other_domains``: whether a row's score depends on parts of domains other than its own;
    then no domain can be added or changed without changing the scores of all.
    """

    reads_other_domains: ClassVar[bool] = False

    def choose_parts(self, feed: "EpochFeed") -> None:
        """Choose anew, on the feed's rows, what is searched and not learned, such as masks; nothing here."""

    def losses(self, batch: Impressions) -> Losses:
        return {"bce": F.binary_cross_entropy_with_logits(exact(self(batch)), batch.label)}


class Retriever(Model):
    """Scores the whole catalogue: ``forward`` maps ``Histories`` to query vectors [B, H].

    ``predicts`` says what ``losses`` learns from a row, and so which rows it is trained on. "last":
    its target alone; every event that has a history is a row. "every": the target, and each item of
    the history from those before it; a user's events are cut into rows of a history's length, so
    that each is predicted once an epoch.
    """

    predicts: ClassVar[Literal["last", "every"]] = "last"

    def item_vectors(self) -> Tensor:
        """Vectors of all items, [I, H]."""
        raise NotImplementedError

    def scores(self, batch: Histories) -> Tensor:
        """Scores of all items, [B, I]."""
        scores: Tensor = self(batch) @ self.item_vectors().T
        return scores

    def losses(self, batch: Histories) -> Losses:
        return {"softmax": F.cross_entropy(self.scores(batch), batch.target)}


def register(name: str, *, paper: str) -> Callable[[M], M]:
    """Class decorator: make a model known as ``name``.

    The same class defined anew, as in a notebook, takes the place of what it was.

    Raises:
        ConfigError: another class has this name.
    """

    def add(cls: M) -> M:
        other = _registered.get(name, cls)
        if _place(other) != _place(cls):
            raise ConfigError(
                f"model {name!r} is registered twice: by {_place(other)} and by {_place(cls)}; "
                "choose another name for yours"
            )
        cls.name, cls.paper = name, paper
        _registered[name] = cls
        return cls

    return add


def _place(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"
