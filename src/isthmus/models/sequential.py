"""Retrievers that read a user's history: what they share.

Shape letters: B histories, N tokens (targets, see ``nn.sequence``), H width, I items.
"""

from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch.nn.functional as F
from pydantic import PositiveInt, model_validator
from torch import Tensor

from isthmus import distributed
from isthmus.batch import Histories
from isthmus.models.base import Losses, Retriever, resumable
from isthmus.models.next_item_losses import NextItemConfig, NextItemLoss
from isthmus.nn.embedding import first_rows
from isthmus.nn.sequence import Tokens, item_table
from isthmus.nn.transformer import Transformers
from isthmus.schema import Schema

if TYPE_CHECKING:
    from isthmus.data.feed import EpochFeed


class LayersConfig(NextItemConfig):
    """How many layers, and into how many heads each divides its width."""

    layers: PositiveInt = 2
    heads: PositiveInt = 1

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> "LayersConfig":
        if self.embedding_dim % self.heads:
            raise ValueError(
                f"{self.heads} heads cannot share a width of {self.embedding_dim}; choose "
                "settings.heads as a divisor of settings.embedding_dim"
            )
        return self


class TransformerConfig(LayersConfig):
    """``feed_forward`` is a multiple of the width; ``pre_norm``: norms come before sublayers."""

    feed_forward: PositiveInt = 4
    pre_norm: bool = True

    def transformers(self, number: int = 1) -> Transformers:
        """So many encoders of these settings, side by side."""
        return Transformers(
            number,
            self.embedding_dim,
            self.heads,
            layers=self.layers,
            hidden=self.feed_forward * self.embedding_dim,
            dropout=self.dropout,
            pre_norm=self.pre_norm,
        )


class SequentialRetriever(Retriever):
    """A retriever whose ``states`` predict every item of a history from the items before it.

    Queries and items are compared by inner product, by one item table for input and output. An
    empty history is one token that reads the start of a sequence. ``special`` rows of the table come
    after the items: vectors of what is read but never predicted, such as a mask.
    """

    Config = NextItemConfig
    config: NextItemConfig
    predicts: ClassVar[Literal["last", "every"]] = "every"
    special: ClassVar[int] = 0

    def __init__(self, config: NextItemConfig, schema: Schema) -> None:
        super().__init__(config, schema)
        rows, sparse = schema.items + self.special, config.loss != "softmax"
        self.items = item_table(rows, config.embedding_dim, sparse=sparse)
        self.next_item = NextItemLoss(config, schema)

    def states(self, tokens: Tokens) -> Tensor:
        """What each token is predicted by, [N, H]; the token itself is not read."""
        raise NotImplementedError

    def tokens(self, batch: Histories) -> Tokens:
        """The batch as tokens, each history's newest ``schema.max_history`` items."""
        return Tokens.of(batch, self.schema.max_history)

    def forward(self, batch: Histories) -> Tensor:
        tokens = self.tokens(batch)
        return self.queries(self.states(tokens)[tokens.last])

    def queries(self, state_BH: Tensor) -> Tensor:
        """States as they are compared with items; of any shape [..., H]."""
        if self.config.cosine:
            return F.normalize(state_BH, dim=-1) / self.config.cosine_temperature
        return state_BH

    def vectors(self, ids: Tensor) -> Tensor:
        """Items as they are compared with queries: [...] -> [..., H]."""
        vectors: Tensor = self.items(ids)
        return F.normalize(vectors, dim=-1) if self.config.cosine else vectors

    def item_vectors(self) -> Tensor:
        vectors_IH = first_rows(self.items, self.schema.items)
        return F.normalize(vectors_IH, dim=-1) if self.config.cosine else vectors_IH

    def losses(self, batch: Histories) -> Losses:
        tokens = self.note(batch)
        loss_N = self.token_losses(self.states(tokens), tokens.target)
        return {self.config.loss: distributed.mean(loss_N)}

    def token_losses(self, state: Tensor, target_N: Tensor) -> Tensor:
        """Loss of each token, [N], predicted from its state [N, H]; or [Q, N] from [Q, N, H]."""
        several = state if state.dim() == 3 else state[None]
        loss_QN: Tensor = self.next_item(self.queries(several), target_N, self.vectors)
        return loss_QN if state.dim() == 3 else loss_QN[0]

    def note(self, batch: Histories) -> Tokens:
        """Tokens of a batch to train on, whose items are candidates from now on."""
        tokens = self.tokens(batch)
        if not self.schema.domain_items:  # else there is nothing to learn
            self.next_item.catalogue.learn(whole(batch))
        if self.training:
            self.next_item.catalogue.count(distributed.gathered(tokens.target))
        return tokens

    @resumable
    def epoch(self, feed: "EpochFeed") -> Iterator[Losses]:
        train: Any = feed.train
        if isinstance(train, Histories) and not self.schema.domain_items:
            self.next_item.catalogue.learn(train)
        for step, batch in feed.numbered():
            self.next_item.step = (feed.feed.seed, feed.number, step)
            yield self.losses(batch)


def whole(batch: Histories) -> Histories:
    """The present batch, of which this process may have a part."""
    return Histories(*(distributed.gathered(getattr(batch, f.name)) for f in fields(batch)))
