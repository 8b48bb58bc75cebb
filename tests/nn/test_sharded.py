"""Tables sharded over processes against one plain table: lookups, gradients, steps, and memory.

Each worker holds a plain table as well, and knows what every rank asks: the sum of all ranks'
losses, taken on the plain table, is the oracle.
"""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor

from isthmus import distributed
from isthmus import models as models_of
from isthmus.nn import EmbeddingTable
from isthmus.nn import sharded as sharding
from isthmus.nn.embedding import first_rows
from isthmus.nn.sequence import item_table
from isthmus.nn.sharded import ShardedTable, all_processes, made_sharded, shard_tables
from isthmus.optim import RowAdam
from isthmus.testing import toy_histories, toy_impressions, toy_schema
from tests.processes import together

ROWS, DIM = 10, 3  # shards of 4, 4 and 2 rows over three processes


class Two(nn.Module):
    """A model of two tables of other widths, one of them met twice."""

    def __init__(self, rows=ROWS):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = EmbeddingTable(rows, DIM, std=1.0), EmbeddingTable(5, 2, std=1.0)
        self.again = nn.ModuleDict({"first": self.first})


def models(rows=ROWS):
    plain, sharded = Two(rows).double(), Two(rows).double()
    shard_tables(sharded, all_processes())
    return plain, sharded


def whole(table):
    return table.weight.detach().full_tensor()


def asked(rank, case):
    """What a rank looks up in the case of this name."""
    g = torch.Generator().manual_seed(rank)
    return {
        "each its own": torch.randint(ROWS, (4, 2), generator=g),
        "again and again": torch.tensor([7, 7, 2, 7, 2, 9]),
        "none on one rank": torch.arange(0 if rank == 1 else 5),
        "none at all": torch.empty(0, 3, dtype=torch.int64),
        "all on one shard": torch.tensor([[1, 3], [0, 1]]),
        "all on the last shard": torch.tensor(9),
    }[case]


CASES = ["each its own", "again and again", "none on one rank", "none at all"]
CASES += ["all on one shard", "all on the last shard"]


def loss_of(model, rank, case, step=0):
    """Each place of each rank has a weight of its own."""
    ids = asked(rank, case)
    g = torch.Generator().manual_seed(100 * step + rank)
    first = model.first(ids) * torch.randn(*ids.shape, DIM, generator=g, dtype=torch.float64)
    second = model.second(ids % 5) * torch.randn(*ids.shape, 2, generator=g, dtype=torch.float64)
    return (first.square().sum() + second.sum() + first.sum()) / 3


def check_lookups(rank):
    number = dist.get_world_size()
    plain, sharded = models()
    assert isinstance(sharded.first, ShardedTable)
    assert sharded.again["first"] is sharded.first
    assert torch.equal(whole(sharded.first), plain.first.weight)
    for case in CASES:
        ids = asked(rank, case)
        assert torch.equal(sharded.first(ids), plain.first(ids)), case
        plain.zero_grad()
        sharded.zero_grad()
        loss_of(sharded, rank, case).backward()
        sum(loss_of(plain, r, case) for r in range(number)).backward()
        for ours, theirs in zip(sharded.parameters(), plain.parameters(), strict=True):
            check_gradient(ours, theirs.grad.coalesce(), rank)


def check_gradient(weight, expected, rank):
    """The own touched rows, as the gradient of the plain table has them, and nothing else."""
    size = -(-len(weight) // dist.get_world_size())
    ids = expected.indices()[0]
    own = (ids >= rank * size) & (ids < (rank + 1) * size)
    assert weight.grad.shape == weight.shape
    assert torch.equal(weight.grad.coalesce().indices()[0], ids[own])
    torch.testing.assert_close(weight.grad.coalesce().values(), expected.values()[own])


def check_steps(rank):
    """Row-wise Adam over several steps, and the state of each process is its share."""
    number = dist.get_world_size()
    plain, sharded = models()
    ours, theirs = (RowAdam(m.parameters(), 0.05, l2=0.01) for m in (sharded, plain))
    for step in range(6):
        case = CASES[step]
        for optimizer in (ours, theirs):
            optimizer.zero_grad()
        loss_of(sharded, rank, case, step).backward()
        sum(loss_of(plain, r, case, step) for r in range(number)).backward()
        ours.step()
        theirs.step()
    for weight, expected in zip(sharded.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(weight.detach().full_tensor(), expected.detach())
        for name in ("mean", "square"):
            found = ours.state[weight][name]
            torch.testing.assert_close(found.full_tensor(), theirs.state[expected][name])


def check_memory(rank):
    """Weights and moments of a process are a share of the whole, with nothing behind a view."""
    number, rows = dist.get_world_size(), 1001
    _, sharded = models(rows)
    optimizer = RowAdam(sharded.first.parameters(), 0.05)
    sharded.first(torch.tensor([0, 500, 1000])).sum().backward()
    optimizer.step()
    share = -(-rows // number) if rank < number - 1 else rows - rank * -(-rows // number)
    state = optimizer.state[sharded.first.weight]
    for tensor in (sharded.first.weight, state["mean"], state["square"]):
        assert isinstance(tensor, DTensor)
        local = tensor.to_local()
        assert local.untyped_storage().nbytes() == share * DIM * 8
    assert sharded.first.weight.grad.coalesce().values().numel() <= 3 * DIM


def check_uneven(rank):
    """One looks up more often than the others, and in another table; all get what they asked."""
    plain, sharded = models()

    @torch.no_grad()
    def turns():
        for turn in range(3 * rank):
            name = ("first", "second")[(turn + rank) % 2]
            ids = torch.tensor([[turn % 5, 4], [0, turn % 3]])
            assert torch.equal(getattr(sharded, name)(ids), getattr(plain, name)(ids))
        return 3 * rank

    made = distributed.each(turns, then=sharded.second.answer)
    assert made == [3 * r for r in range(dist.get_world_size())]
    ids = torch.tensor([rank])  # and then all go on together
    assert torch.equal(sharded.first(ids), plain.first(ids))


def check_made_without_a_whole(rank):
    """The bytes of whole tables, whatever blocks they are drawn in, and of what is drawn next."""
    for rows, dim, block in ((1001, 3, 16), (40, 16, 48), (7, 2, 16), (2, 3, 16), (1003, 1, 2**20)):
        torch.manual_seed(1)
        plain, then = EmbeddingTable(rows, dim), torch.randn(5)
        torch.manual_seed(1)
        before, sharding._BLOCK = sharding._BLOCK, block
        with made_sharded(all_processes()):
            made = EmbeddingTable(rows, dim)
        sharding._BLOCK = before
        assert torch.equal(torch.randn(5), then)
        assert torch.equal(whole(made), plain.weight)
        own = made.weight.to_local()
        assert own.untyped_storage().nbytes() == own.numel() * 4
    assert not distributed.is_sharded(EmbeddingTable(7, 2).weight)


def check_items(rank):
    """Row 0 is padding, wherever it lies; the first rows are those of a whole table."""
    torch.manual_seed(1)
    plain = item_table(11, 4, sparse=True)
    torch.manual_seed(1)
    with made_sharded(all_processes()):
        made = item_table(11, 4, sparse=True)
    model = nn.ModuleList([made])
    shard_tables(model, all_processes())
    assert torch.equal(whole(model[0]), plain.weight)
    assert torch.equal(first_rows(model[0], 9), first_rows(plain, 9))
    assert not first_rows(model[0], 1).any()


def check_models(rank):
    """A retriever's items, by which it scores, and both tables of a ranker."""
    schema = toy_schema()
    for name, settings, number in (("sasrec", {"loss": "bce"}, 1), ("deepfm", {}, 2)):
        kind = models_of.get(name)
        torch.manual_seed(0)
        plain = kind(kind.Config(**settings), schema).eval()
        torch.manual_seed(0)
        with made_sharded(all_processes()):
            model = kind(kind.Config(**settings), schema).eval()
        shard_tables(model, all_processes())
        assert sum(isinstance(m, ShardedTable) for m in model.modules()) == number
        with torch.inference_mode():
            if name == "sasrec":
                rows = toy_histories(schema, 5 + rank, seed=rank)
                torch.testing.assert_close(model.scores(rows), plain.scores(rows))
            else:
                rows = toy_impressions(schema, 5 + rank, seed=rank)
                torch.testing.assert_close(model(rows), plain(rows))


def check_refusals(rank):
    _, sharded = models()
    for bad in (ROWS, -1):
        with pytest.raises(IndexError, match=f"a table of {ROWS} rows"):
            sharded.first(torch.tensor([0, bad]))


def check_fewer_rows_than_processes(rank):
    plain, sharded = models(rows=2)
    ids = torch.tensor([1, 0, 1])
    assert torch.equal(sharded.first(ids), plain.first(ids))
    sharded.first(ids).sum().backward()
    assert len(sharded.first.weight.grad.coalesce().indices()[0]) == int(rank < 2)


def check_all(rank):
    check_lookups(rank)
    check_steps(rank)
    check_memory(rank)
    check_uneven(rank)
    check_made_without_a_whole(rank)
    check_items(rank)
    check_models(rank)
    check_refusals(rank)
    check_fewer_rows_than_processes(rank)


@pytest.mark.parametrize("processes", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_sharded_tables_are_the_plain_ones(processes, tmp_path):
    together(processes, check_all, tmp_path)


def test_nobody_asks_a_whole_table():
    assert distributed.each(lambda: 1, then=Two().first.answer) == [1]
