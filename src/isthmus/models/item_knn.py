"""Item-kNN: what is taken together with the items of the history."""

from collections.abc import Iterator

import numpy as np
import torch
from pydantic import NonNegativeFloat, PositiveInt
from scipy import sparse
from torch import Tensor

from isthmus.batch import Histories
from isthmus.models.base import ModelConfig, register
from isthmus.models.counted import Counted, CountMatrix
from isthmus.schema import Schema

_ROWS = 4096  # rows of the similarity matrix at a time: all of them before the cut would not fit


class ItemKNNConfig(ModelConfig):
    """``neighbours`` kept an item; ``shrink`` is added to the denominator: rare items count less."""

    neighbours: PositiveInt = 200
    shrink: NonNegativeFloat = 0.0


@register("item_knn", paper="https://doi.org/10.1145/371920.372071")
class ItemKNN(Counted):
    """The sum of an item's cosine similarities to the distinct items of the history.

    A floor: Sarwar et al., WWW 2001, on binary rows. similarity(i, j) = n_ij / (sqrt(n_i n_j) +
    shrink), where n counts the training rows that hold i, j, or both. Rows are a user's events, cut
    where they are longer than a history. An item is no neighbour of its own, so what is scored is
    never that it was there before.
    """

    Config = ItemKNNConfig
    config: ItemKNNConfig

    def __init__(self, config: ItemKNNConfig, schema: Schema) -> None:
        super().__init__(config, schema)
        self.similar = CountMatrix(schema.items)

    def learn(self, rows: Iterator[Histories]) -> None:
        held = [
            self._binary(torch.cat([batch.items, batch.target[:, None]], dim=1)) for batch in rows
        ]
        self.similar.set(self._similarities(sparse.vstack(held).tocsr()))

    def scores(self, batch: Histories) -> Tensor:
        found = self._binary(batch.items) @ self.similar.get()
        return torch.from_numpy(found.toarray())

    def _binary(self, item_BL: Tensor) -> sparse.csr_matrix:
        """1 where a row holds an item, [B, I]."""
        row_N, place_N = (item_BL > 0).nonzero().cpu().T
        items = item_BL.cpu()[row_N, place_N].numpy()
        shape = (len(item_BL), self.schema.items)
        matrix = sparse.csr_matrix((np.ones(len(items)), (row_N.numpy(), items)), shape)
        matrix.sum_duplicates()
        matrix.data[:] = 1.0
        return matrix

    def _similarities(self, held: sparse.csr_matrix) -> sparse.csr_matrix:
        """Cosines of columns, the largest of each row alone; of equals the smaller id."""
        size = np.asarray(held.sum(axis=0)).ravel()
        by_item = held.T.tocsr()
        parts = []
        for start in range(0, self.schema.items, _ROWS):
            block = (by_item[start : start + _ROWS] @ held).tocoo()
            row, column = block.row + start, block.col
            value = block.data / (np.sqrt(size[row] * size[column]) + self.config.shrink)
            other = row != column
            row, column, value = row[other], column[other], value[other]
            order = np.lexsort((column, -value, row))
            row, column, value = row[order], column[order], value[order]
            rank = np.arange(len(row)) - np.searchsorted(row, row)
            kept = rank < self.config.neighbours
            parts.append((row[kept], column[kept], value[kept]))
        row, column, value = (np.concatenate(part) for part in zip(*parts, strict=True))
        items = self.schema.items
        return sparse.csr_matrix((value, (row, column)), (items, items))
