"""Retrievers that read a user's history: what they share.

Shape letters: B histories, N tokens (targets, see ``nn.sequence``), H width, I items.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import PositiveInt, model_validator
from torch import Tensor

from isthmus.batch import Histories
from isthmus.models.base import Losses, Retriever
from isthmus.models.next_item_losses import NextItemConfig, NextItemLoss
from isthmus.nn.sequence import Tokens, item_table
from isthmus.schema import Schema

if TYPE_CHECKING:
    from isthmus.data.feed import EpochFeed


class TransformerConfig(NextItemConfig):
    """Size of a transformer; ``feed_forward`` is a multiple of the width."""

    layers: PositiveInt = 2
    heads: PositiveInt = 1
    feed_forward: PositiveInt = 4
    pre_norm: bool = True

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> "TransformerConfig":
        if self.embedding_dim % self.heads:
            raise ValueError(
                f"{self.heads} heads cannot share a width of {self.embedding_dim}; choose "
                "settings.heads as a divisor of settings.embedding_dim"
            )
        return self


class SequentialRetriever(Retriever):
    """A retriever whose ``states`` predict every item of a history from the items before it.

    Queries and items are compared by inner product, by one item table for input and output. An
    empty history is one token that reads the start of a sequence.
    """

    Config = NextItemConfig
    config: NextItemConfig

    def __init__(self, config: NextItemConfig, schema: Schema) -> None:
        super().__init__(config, schema)
        self.items = item_table(schema.items, config.embedding_dim, sparse=config.loss != "softmax")
        self.next_item = NextItemLoss(config, schema)

    def states(self, tokens: Tokens) -> Tensor:
        """What each token is predicted by, [N, H]; the token itself is not read."""
        raise NotImplementedError

    def tokens(self, batch: Histories) -> Tokens:
        """The batch as tokens, each history's newest ``schema.max_history`` items."""
        return Tokens.of(batch, self.schema.max_history)

    def forward(self, batch: Histories) -> Tensor:
        tokens = self.tokens(batch)
        return self.states(tokens)[tokens.last]

    def item_vectors(self) -> Tensor:
        return self.items.weight

    def losses(self, batch: Histories) -> Losses:
        tokens = self.note(batch)
        loss_QN = self.next_item(self.states(tokens)[None], tokens.target, self.items)
        return {self.config.loss: loss_QN.mean()}

    def note(self, batch: Histories) -> Tokens:
        """Tokens of a batch to train on, whose items are candidates from now on."""
        tokens = self.tokens(batch)
        self.next_item.catalogue.learn(batch)
        if self.training:
            self.next_item.catalogue.count(tokens.target)
        return tokens

    def epoch(self, feed: "EpochFeed") -> Iterator[Losses]:
        train: Any = feed.train
        if isinstance(train, Histories) and not self.schema.domain_items:
            self.next_item.catalogue.learn(train)
        for step, batch in enumerate(feed.shuffled()):
            self.next_item.step = (feed.feed.seed, feed.number, step)
            yield self.losses(batch)
