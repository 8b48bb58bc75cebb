"""Embeddings of a row's features and of its domain.

Shape letters: B rows, C columns, F features, K embedding width, R rows of the table, U unique ids.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from isthmus.batch import Impressions
from isthmus.distributed import is_sharded
from isthmus.schema import Schema


class _Lookup(torch.autograd.Function):
    """Rows of a table, whose gradient is a sparse tensor of the rows that were met.

    On the CPU it is coalesced. A GPU would have to tell the host how many rows differ, so there it
    has a row for each id that was asked for; the optimiser sums them.
    """

    @staticmethod
    def forward(ctx: Any, table_RK: Tensor, ids: Tensor) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.shape = table_RK.shape
        return nn.functional.embedding(ids, table_RK)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (ids,) = ctx.saved_tensors
        if ids.device.type != "cpu":
            rows_NK = grad.reshape(-1, grad.shape[-1])
            ids_1N = ids.reshape(1, -1)
            return torch.sparse_coo_tensor(ids_1N, rows_NK, ctx.shape, check_invariants=False), None
        ids_U, place = torch.unique(ids.flatten(), return_inverse=True)
        rows_UK = torch.ops.aten.embedding_dense_backward(
            grad.reshape(-1, grad.shape[-1]), place, len(ids_U), -1, False
        )
        sparse = torch.sparse_coo_tensor(
            ids_U[None], rows_UK, ctx.shape, is_coalesced=True, check_invariants=False
        )
        return sparse, None


def _drawn(rows: int, dim: int, std: float) -> Tensor:
    return torch.empty(rows, dim).normal_(std=std)


class _Making:
    """How the first values of tables are made; ``nn.sharded.made_sharded`` changes it for a while."""

    values: ClassVar[Callable[[int, int, float], Tensor]] = staticmethod(_drawn)


class EmbeddingTable(nn.Module):
    """A table of embeddings that the row-wise optimiser trains: ids [...] -> [..., K].

    Initialised from N(0, std^2) with a small std: rows that training never met stay near zero.
    """

    def __init__(self, rows: int, dim: int, *, std: float = 0.01) -> None:
        super().__init__()
        self.weight = nn.Parameter(_Making.values(rows, dim, std))

    def forward(self, ids: Tensor) -> Tensor:
        rows: Tensor = _Lookup.apply(self.weight, ids)
        return rows

    def answer(self) -> None:
        """Give rows to processes that still look some up, in all tables, until none does.

        Nobody asks for rows of whole tables: nothing to do.
        """

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *others: Any) -> None:
        """Take what other numbers of processes kept."""
        if (name := f"{prefix}weight") in state:
            state[name] = placed(state[name], self.weight)
        super()._load_from_state_dict(state, prefix, *others)


def own_rows(table: Tensor) -> tuple[Tensor, int]:
    """The rows of a table that this process holds, a view, and the number of the first one.

    All of them, but of a table that is sharded over processes (a ``DTensor``; see ``nn.sharded``).
    """
    if is_sharded(table):
        mesh = table.device_mesh
        return table.to_local(), share_of(len(table), mesh.get_local_rank(), mesh.size()).start
    return table, 0


def first_rows(table: nn.Embedding | EmbeddingTable, rows: int) -> Tensor:
    """So many rows from the first one on: of a sharded table they are looked up."""
    if is_sharded(table.weight):
        found: Tensor = table(torch.arange(rows, device=table.weight.device))
        return found
    return table.weight[:rows]


def placed(value: Tensor, like: Tensor) -> Tensor:
    """The same table sharded, where ``like`` is, or whole, where that one is."""
    if is_sharded(value) == is_sharded(like):
        return value
    if is_sharded(like):
        from isthmus.nn.sharded import shard

        return shard(value, like.device_mesh)
    assert is_sharded(value)
    return value.full_tensor()


def share_of(rows: int, rank: int, processes: int) -> range:
    """Which rows of a sharded table a process holds: the last ones have fewer, or none."""
    size = -(-rows // processes)
    return range(min(rank * size, rows), min((rank + 1) * size, rows))


class FeatureEmbedding(nn.Module):
    """All features of a row, each embedded in ``dim`` numbers: ``Impressions`` -> [B, F, K].

    One fused table serves all vocabularies. Histories are averaged over their known entries:
    padding (id 0) is masked out, and an empty history is the zero vector.
    """

    def __init__(self, schema: Schema, dim: int) -> None:
        super().__init__()
        self.starts, rows = {}, 0  # of each table in the fused one
        for table, size in schema.tables.items():
            self.starts[table] = rows
            rows += size
        self.lengths = [feature.length for feature in schema.features]
        self.pooled = [feature.kind == "history" for feature in schema.features]
        columns = [self.starts[f.table] for f in schema.features for _ in range(f.length)]
        self.register_buffer("offset_C", torch.tensor(columns), persistent=False)
        self.offset_C: Tensor
        self.table = EmbeddingTable(rows, dim)
        self.num_features, self.dim = len(schema.features), dim

    def forward(self, batch: Impressions) -> Tensor:
        rows_BCK = self.table(batch.features + self.offset_C)
        parts, column, run = [], 0, 0  # neighbouring one-column features are sliced together
        for length, pooled in zip(self.lengths, self.pooled, strict=True):
            if not pooled:
                run += length
                continue
            parts.append(rows_BCK[:, column : column + run])
            column, run = column + run, 0
            ids_BL = batch.features[:, column : column + length]
            parts.append(_known_mean(rows_BCK[:, column : column + length], ids_BL))
            column += length
        parts.append(rows_BCK[:, column : column + run])
        return torch.cat(parts, dim=1)


def _known_mean(rows_BLK: Tensor, ids_BL: Tensor) -> Tensor:
    """Mean over entries with id > 0: [B, L, K] -> [B, 1, K]."""
    known_B1L = (ids_BL > 0).to(rows_BLK.dtype)[:, None]
    return known_B1L @ rows_BLK / known_B1L.sum(2, keepdim=True).clamp(min=1)


class RowEmbedding(nn.Module):
    """Features and domain of a row, side by side: ``Impressions`` -> [B, (F + 1) * K].

    With ``domain=False`` the domain is left out: [B, F * K] (a domain-blind model).
    """

    def __init__(self, schema: Schema, dim: int, *, domain: bool = True) -> None:
        super().__init__()
        self.features = FeatureEmbedding(schema, dim)
        self.domain = nn.Embedding(schema.num_domains + 1, dim) if domain else None
        if self.domain is not None:
            nn.init.normal_(self.domain.weight, std=0.1)
        self.width = dim * (self.features.num_features + int(domain))

    def forward(self, batch: Impressions) -> Tensor:
        row_BI = self.features(batch).flatten(1)
        if self.domain is None:
            return row_BI
        return torch.cat([row_BI, self.domain(batch.domain)], dim=1)
