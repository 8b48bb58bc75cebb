"""Floors: retrievers that count. What a network of the next item is worth is what it adds to them.

Shape letters: B histories, L places, N pairs, I items.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from isthmus import distributed
from isthmus.batch import Histories
from isthmus.models.base import Losses, ModelConfig, Retriever
from isthmus.schema import Schema

if TYPE_CHECKING:
    from isthmus.data.feed import EpochFeed


class Counted(Retriever):
    """A retriever without parameters: one pass over the training rows is all of its training.

    It gives scores and no vectors. Settings of networks (``embedding_dim``, ``dropout``) do
    nothing. ``count_I`` [I] is how often an item came next; a user's first event comes after
    nothing and is not counted.
    """

    predicts = "every"

    def __init__(self, config: ModelConfig, schema: Schema) -> None:
        super().__init__(config, schema)
        self.register_buffer("count_I", torch.zeros(schema.items, dtype=torch.float64))
        self.count_I: Tensor

    def epoch(self, feed: "EpochFeed") -> Iterator[Losses]:
        self.count_I.zero_()
        with distributed.apart():  # to count is quick: each of several processes does it all
            self.learn(self._noted(feed))
        yield from ()

    def learn(self, rows: Iterator[Histories]) -> None:
        """Count what there is in all training rows beside ``count_I``."""
        for _ in rows:
            pass

    def losses(self, batch: Histories) -> Losses:
        return {}

    def forward(self, batch: Histories) -> Tensor:
        raise NotImplementedError(f"{self.name} counts: it has scores of items, and no vectors")

    def popularity(self) -> Tensor:
        """Counts scaled below 1, [I]: they part what nothing else does."""
        return self.count_I / (self.count_I.max() + 1)

    def _noted(self, feed: "EpochFeed") -> Iterator[Histories]:
        for batch in feed.shuffled():
            _, next_N = pairs(batch)
            self.count_I += torch.bincount(next_N, minlength=len(self.count_I))
            yield batch


class CountMatrix(nn.Module):
    """A sparse matrix of items by items, of any number of entries, in the state dict whole."""

    def __init__(self, items: int) -> None:
        super().__init__()
        self.register_buffer("start_I", torch.zeros(items + 1, dtype=torch.int64))
        self.register_buffer("column_N", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("value_N", torch.zeros(0, dtype=torch.float64))
        self.start_I: Tensor
        self.column_N: Tensor
        self.value_N: Tensor

    def set(self, matrix: sparse.csr_matrix) -> None:
        """Hold this matrix, [I, I]."""
        matrix.sort_indices()
        self.start_I = torch.from_numpy(matrix.indptr.astype(np.int64))
        self.column_N = torch.from_numpy(matrix.indices.astype(np.int64))
        self.value_N = torch.from_numpy(matrix.data.astype(np.float64))

    def get(self) -> sparse.csr_matrix:
        """The matrix, without a copy."""
        parts = (self.value_N, self.column_N, self.start_I)
        size = len(self.start_I) - 1
        return sparse.csr_matrix(tuple(t.cpu().numpy() for t in parts), shape=(size, size))

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        for name in ("column_N", "value_N"):  # there may be more of them, or fewer
            if f"{prefix}{name}" in state_dict:
                setattr(self, name, torch.empty_like(state_dict[f"{prefix}{name}"]))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def pairs(batch: Histories) -> tuple[Tensor, Tensor]:
    """Each item of the rows and the one that came next, the target last: [N] and [N]."""
    chain_BL = torch.cat([batch.items, batch.target[:, None]], dim=1)
    before_BL, next_BL = chain_BL[:, :-1], chain_BL[:, 1:]
    there_BL = (before_BL > 0) & (next_BL > 0)
    return before_BL[there_BL], next_BL[there_BL]


def counted(before: Tensor, after: Tensor, items: int) -> sparse.csr_matrix:
    """How often each pair occurs, [I, I]."""
    ones = np.ones(len(before))
    places = (before.cpu().numpy(), after.cpu().numpy())
    matrix: sparse.csr_matrix = sparse.coo_matrix((ones, places), (items, items)).tocsr()
    return matrix
