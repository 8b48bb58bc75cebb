"""A model whose embedding tables are as an export stores them.

Shape letters: R rows of a table, K embedding width.
"""

import copy
from typing import cast

import torch
from torch import Tensor, nn

from isthmus.export.tables import Precision, Table, stored
from isthmus.models import Ranker
from isthmus.nn import EmbeddingTable
from isthmus.nn.embedding import FeatureEmbedding


class StoredTable(nn.Module):
    """In place of an ``EmbeddingTable``: ids [...] -> [..., K] float32."""

    def __init__(self, table: Table) -> None:
        super().__init__()
        self.register_buffer("values_RK", torch.from_numpy(table.values))
        scale = None if table.scale is None else torch.from_numpy(table.scale)
        self.register_buffer("scale_R1", scale)
        self.values_RK: Tensor
        self.scale_R1: Tensor | None

    def forward(self, ids: Tensor) -> Tensor:
        rows = self.values_RK[ids].float()
        return rows if self.scale_R1 is None else rows * self.scale_R1[ids]

    def rows(self, start: int, stop: int) -> Table:
        """A slice of the rows, as they are stored."""
        scale = None if self.scale_R1 is None else self.scale_R1[start:stop].numpy()
        return Table(self.values_RK[start:stop].numpy(), scale)

    @property
    def nbytes(self) -> int:
        return self.rows(0, len(self.values_RK)).nbytes


def with_stored_tables(model: Ranker, precision: Precision) -> Ranker:
    """A copy of the model in which all tables of rows are kept in this precision.

    Raises:
        ConfigError: a number is beyond the range of float16.
    """
    changed = copy.deepcopy(model).eval()
    for module in list(changed.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, EmbeddingTable):
                table = stored(child.weight.detach().cpu().numpy(), precision)
                setattr(module, name, StoredTable(table))
    return changed


def table_bytes(model: nn.Module) -> int:
    """Bytes of all tables of such a copy."""
    return sum(m.nbytes for m in model.modules() if isinstance(m, StoredTable))


def by_vocabulary(embedding: FeatureEmbedding, sizes: dict[str, int]) -> dict[str, Table]:
    """The fused table of such a copy's features, vocabulary by vocabulary."""
    table, starts = cast(StoredTable, embedding.table), embedding.starts
    return {name: table.rows(starts[name], starts[name] + size) for name, size in sizes.items()}
