"""Embedding tables sharded by rows: each process holds, trains and stores its share of them alone.

A table's weight is a ``DTensor`` with placement ``Shard(0)`` over a mesh of all processes, the last
shard ragged. A lookup asks the owners for the unique rows of its ids, and its gradient goes back to
them, as touched rows alone: what is sent depends on the ids of a batch, never on the table's size.
(torch's own embedding of such a weight gathers all ids, adds up a row for each id over all
processes, and has a dense gradient; measured side by side in docs/sharded-embeddings.md.)

Shape letters: P processes, R rows of a table, S rows of a shard, K embedding width, U unique ids,
A rows that others ask of this process.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Shard

from isthmus.distributed import is_sharded, peers
from isthmus.distributed import sent as counted
from isthmus.nn.embedding import EmbeddingTable, _Making, own_rows, share_of

_BLOCK = 2**20  # numbers of a table that are drawn at a time, of which 16 are a divisor
_NONE = -1  # in place of a table's number: this process asks nothing more


_meshes: list[DeviceMesh] = []


def all_processes(device: str = "cpu") -> DeviceMesh:
    """The mesh of all processes; their default group must be there."""
    _meshes.append(init_device_mesh(device, (dist.get_world_size(),)))
    return _meshes[-1]


def let_go() -> None:
    """Take their group from all meshes, which caches of ``DTensor`` keep for good.

    Its threads would live until Python ends, and may abort the process then.
    """
    for mesh in _meshes:
        getattr(mesh, "_pg_registry", {}).clear()  # of torch from 2.9 on
    _meshes.clear()


def shard(whole: Tensor, mesh: DeviceMesh) -> DTensor:
    """This process's rows of what all processes hold: [R, ...] -> ``Shard(0)``, nothing is sent."""
    own = share_of(len(whole), mesh.get_local_rank(), mesh.size())
    rows = whole.detach()[own.start : own.stop].clone()  # a view would keep the whole in memory
    return sharded(rows, whole.shape, mesh)


def sharded(rows: Tensor, shape: Sequence[int], mesh: DeviceMesh) -> DTensor:
    """The tensor of this shape of which this process has these rows."""
    stride = torch.empty(shape, device="meta").stride()
    return DTensor.from_local(
        rows, mesh, [Shard(0)], run_check=False, shape=torch.Size(shape), stride=stride
    )


@contextmanager
def made_sharded(mesh: DeviceMesh) -> Iterator[None]:
    """Make the tables of models without any process holding a whole one; ``shard_tables`` follows.

    Values are the very bytes of whole tables, and so is what is drawn after them.
    """
    before, _Making.values = _Making.values, partial(_drawn, mesh)
    try:
        yield
    finally:
        _Making.values = staticmethod(before)


def _drawn(mesh: DeviceMesh, rows: int, dim: int, std: float) -> DTensor:
    """What ``torch.empty(rows, dim).normal_(std=std)`` draws, block by block, and its own rows kept.

    torch draws normal numbers in sixteens, but for the last of a tensor, so that blocks of a multiple
    of 16 hold what one tensor would: a test holds it to that.
    """
    own, end = share_of(rows, mesh.get_local_rank(), mesh.size()), rows * dim
    kept, first = torch.empty(len(own) * dim), own.start * dim
    starts = [*range(0, end - 15, _BLOCK)] or [0]
    for start, stop in pairwise([*starts, end]):
        block = torch.empty(stop - start).normal_(std=std)
        common = range(max(start, first), min(stop, own.stop * dim))
        if common:
            kept[common.start - first : common.stop - first] = block[
                common.start - start : common.stop - start
            ]
    return sharded(kept.view(len(own), dim), (rows, dim), mesh)


def shard_tables(model: nn.Module, mesh: DeviceMesh) -> None:
    """Turn every ``EmbeddingTable`` of a model, the same in all processes, into a sharded one.

    Values stay as they are. Tables that are whole until then are in memory once.
    """
    exchange = Exchange(mesh)
    made: dict[EmbeddingTable, ShardedTable] = {}
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is EmbeddingTable:
                if child not in made:
                    made[child] = ShardedTable(child, exchange)
                setattr(parent, name, made[child])


class Route(NamedTuple):
    """Which rows of its own a process gave to whom, and how many it got of whom."""

    given_A: Tensor
    given: list[int]
    got: list[int]


class Exchange:
    """Rows of the sharded tables of a model, from their owners to whoever asks.

    All processes go through the same rounds. In a round each asks for rows of one table, or, once
    it is done with a part of the work that is not the same in all, answers the others only.
    """

    def __init__(self, mesh: DeviceMesh) -> None:
        self.mesh, self.group = mesh, mesh.get_group()
        self.processes, self.rank = mesh.size(), mesh.get_local_rank()
        self.tables: list[ShardedTable] = []

    def rows(self, table: int, ids_U: Tensor) -> tuple[Tensor, Route]:
        """Rows of sorted unique ids, [U, K], and the way back of their gradient."""
        size = self.tables[table].shard_rows
        got_P = torch.bincount(ids_U // size, minlength=self.processes)
        rows_UK, route = self._round(table, ids_U, got_P)
        assert route is not None
        return rows_UK, route

    def serve(self) -> None:
        """Answer the others until all have come here."""
        weight = self.tables[0].own_rows
        nothing = torch.empty(0, dtype=torch.int64, device=weight.device)
        none_P = nothing.new_zeros(self.processes)
        while self._round(_NONE, nothing, none_P)[1] is not None:
            pass

    def gradient(self, table: int, grad_UK: Tensor, route: Route) -> Tensor:
        """The gradient of the own rows, summed over all processes: coalesced sparse [R, K]."""
        weight = self.tables[table].weight
        grad_AK = self._send(grad_UK.contiguous(), route.got, route.given)
        own_ids, place_A = torch.unique(route.given_A, return_inverse=True)
        rows = grad_AK.new_zeros(len(own_ids), grad_AK.shape[1]).index_add_(0, place_A, grad_AK)
        ids = own_ids + self.rank * self.tables[table].shard_rows
        return torch.sparse_coo_tensor(
            ids[None], rows, weight.shape, is_coalesced=True, check_invariants=False
        )

    def _round(self, table: int, ids_U: Tensor, got_P: Tensor) -> tuple[Tensor, Route | None]:
        asks_P2 = torch.stack([torch.full_like(got_P, table), got_P], dim=1)
        even = [1] * self.processes
        asked = self._send(asks_P2, even, even).tolist()
        if table == _NONE and all(number == _NONE for number, _ in asked):
            return ids_U, None
        got, given = got_P.tolist(), [count for _, count in asked]
        given_A = self._send(ids_U, got, given)
        parts = [
            self._part(number, ids)
            for (number, _), ids in zip(asked, given_A.split(given), strict=True)
        ]
        width = self.tables[table].weight.shape[1] if table != _NONE else 0
        values = self._send(
            torch.cat([rows.flatten() for rows, _ in parts]),
            [rows.numel() for rows, _ in parts],
            [count * width for count in got],
        )
        own_A = torch.cat([own for _, own in parts])
        return values.view(len(ids_U), width), Route(own_A, given, got)

    def _part(self, table: int, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Rows that a process asked for, and where they stand in the own shard."""
        if table == _NONE:
            return self.tables[0].own_rows[:0], ids
        own = ids - self.rank * self.tables[table].shard_rows
        return self.tables[table].own_rows.index_select(0, own), own

    def _send(self, values: Tensor, sent: list[int], received: list[int]) -> Tensor:
        """Give each process its rows of ``values``; what came in, in the order of processes."""
        handed = len(values) - sent[self.rank]  # the own part stays here
        counted["rows"] += handed * values[:1].numel() * values.element_size()
        found = values.new_empty(sum(received), *values.shape[1:])
        dist.all_to_all_single(found, values, received, sent, group=self.group)
        return found


class _Rows(torch.autograd.Function):
    """Rows of a sharded table, whose gradient is, in each process, that of its own rows."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids_U: Tensor, exchange: Exchange, table: int) -> Tensor:
        rows_UK, route = exchange.rows(table, ids_U)
        ctx.exchange, ctx.table, ctx.route = exchange, table, route
        return rows_UK

    @staticmethod
    def backward(ctx: Any, grad_UK: Tensor) -> tuple[Tensor, None, None, None]:
        return ctx.exchange.gradient(ctx.table, grad_UK, ctx.route), None, None, None


class ShardedTable(EmbeddingTable):
    """An ``EmbeddingTable`` of which each process holds a share: ids [...] -> [..., K].

    Every process must call it as often as the others, and take gradients of it as often, whatever
    ids it has (none, too). Inside ``distributed.each`` it may do so as often as it likes, without
    gradients, and answers the others then. A gradient is the sum over processes, of losses that
    are scaled by their shares of the batch.
    """

    def __init__(self, table: EmbeddingTable, exchange: Exchange) -> None:
        nn.Module.__init__(self)
        weight = table.weight.detach()
        self.weight = nn.Parameter(weight if is_sharded(weight) else shard(weight, exchange.mesh))
        self.shard_rows = max(1, -(-len(table.weight) // exchange.processes))
        self._exchange, self._number = exchange, len(exchange.tables)
        exchange.tables.append(self)

    @property
    def own_rows(self) -> Tensor:
        """The rows that this process holds, [S, K]: a view."""
        return own_rows(self.weight)[0]

    def forward(self, ids: Tensor) -> Tensor:
        ids_U, place = torch.unique(ids.flatten(), return_inverse=True)
        if len(ids_U) and not 0 <= int(ids_U[0]) <= int(ids_U[-1]) < len(self.weight):
            raise IndexError(
                f"ids from {int(ids_U[0])} to {int(ids_U[-1])} in a table of {len(self.weight)} rows"
            )
        assert peers().together or not torch.is_grad_enabled(), "apart there are no gradients"
        rows_UK = _Rows.apply(self.weight, ids_U, self._exchange, self._number)
        return nn.functional.embedding(place.view(ids.shape), rows_UK)

    def answer(self) -> None:
        self._exchange.serve()
