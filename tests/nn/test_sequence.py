"""Tokens of histories against a plain reading of them; attention, dropout and tables of sequences."""

import math

import pytest
import torch
from torch import nn

from isthmus.batch import Histories
from isthmus.nn import EmbeddingTable
from isthmus.nn.sequence import Tokens, item_table
from isthmus.nn.transformer import StackedAttention, Transformers, dropout


def batch():
    """Padded left, padded inside, empty, full; the last one's next item is not known."""
    items = [[0, 0, 5, 6], [7, 0, 8, 0], [0, 0, 0, 0], [1, 2, 3, 4], [0, 0, 0, 9]]
    domains = [[0, 0, 1, 2], [2, 0, 2, 0], [0, 0, 0, 0], [1, 2, 1, 2], [0, 0, 0, 1]]
    rows = (items, domains, [10, 11, 12, 13, 0], [1, 2, 1, 1, 2])
    return Histories(*(torch.tensor(row) for row in rows))


def plain(rows, longest):
    """(user, target, domain, cross input, own input) a token; inputs: item, domain, position."""
    found = []
    for user, (items, domains, target, domain) in enumerate(
        zip(
            *(getattr(rows, f).tolist() for f in ("items", "domains", "target", "domain")),
            strict=True,
        )
    ):
        recent = list(zip(items, domains, strict=True))[-longest:]
        events = [e for e in recent if e[0]] + [(target, domain)]
        for t, (item, d) in enumerate(events):
            own = [e for e in events[:t] if e[1] == d]
            cross_input = (*events[t - 1], t) if t else (0, d, 0)
            own_input = (*own[-1], len(own)) if own else (0, d, 0)
            found.append((user, item, d, cross_input, own_input))
    return found


@pytest.mark.parametrize("longest", [4, 3, 2])
def test_each_token_reads_what_came_before_it(longest):
    tokens = Tokens.of(batch(), longest)
    columns = [
        [tuple(x) for x in torch.stack([i.item, i.domain, i.position], 1).tolist()]
        for i in (tokens.cross, tokens.own)
    ]
    ids = (tokens.user.tolist(), tokens.target.tolist(), tokens.domain.tolist())
    assert list(zip(*ids, *columns, strict=True)) == plain(batch(), longest)
    assert tokens.target[tokens.last].tolist() == [10, 11, 12, 13, 0]


def test_rows_are_full_and_nobody_shares_a_slot():
    g = torch.Generator().manual_seed(0)
    size = torch.randint(0, 31, (200, 1), generator=g)
    items = torch.ones(200, 30, dtype=torch.int64).masked_fill(torch.arange(30) < 30 - size, 0)
    tokens = Tokens.of(Histories(items, items, items[:, 0] + 1, items[:, 0] + 1), 30)
    assert len(set(tokens.place.tolist())) == len(tokens.place)
    assert len(tokens.place) / (tokens.rows * tokens.slots) > 0.97
    row = tokens.place // tokens.slots
    for user in range(200):
        assert len(set(row[tokens.user == user].tolist())) == 1, "a user lies in one row"
        assert (tokens.place[tokens.user == user].diff() == 1).all(), "old to new"


@pytest.mark.parametrize("own", [False, True])
def test_masks_let_a_token_see_its_user_so_far(own):
    tokens = Tokens.of(batch(), 4)
    mask = tokens.mask(torch.float32, own=own)
    assert mask.shape == (tokens.rows, 1, tokens.slots, tokens.slots)
    for n, at in enumerate(tokens.place.tolist()):
        row, slot = divmod(at, tokens.slots)
        seen = {s for s in range(tokens.slots) if mask[row, 0, slot, s] == 0}
        expected = {
            tokens.place[m].item() % tokens.slots
            for m in range(n + 1)
            if tokens.user[m] == tokens.user[n]
            and (not own or tokens.domain[m] == tokens.domain[n])
        }
        assert seen == expected
    assert (mask == 0).any(-1).all(), "every slot sees one at least"


def test_attention_is_the_textbooks():
    torch.manual_seed(0)
    experts, rows, slots, width, heads = 3, 2, 5, 6, 2
    layer = StackedAttention(experts, width, heads).double()
    for p in layer.parameters():
        nn.init.normal_(p)
    x = torch.randn(experts, rows * slots, width, dtype=torch.float64)
    mask = torch.zeros(rows, 1, slots, slots, dtype=torch.float64)
    mask = mask.masked_fill(~torch.ones(slots, slots).bool().tril(), -math.inf)
    found = layer(x, mask).view(experts, rows, slots, width)
    for k in range(experts):
        for r in range(rows):
            own = x[k].view(rows, slots, width)[r] @ layer.project.weight[k] + layer.project.bias[k]
            q, key, v = own.view(slots, 3, heads, -1).unbind(1)
            score = torch.einsum("shw,thw->hst", q, key) / math.sqrt(width / heads) + mask[r]
            mixed = torch.einsum("hst,thw->shw", score.softmax(-1), v).reshape(slots, width)
            expected = mixed @ layer.out.weight[k] + layer.out.bias[k]
            torch.testing.assert_close(found[k, r], expected)
    apart = layer(x, mask.repeat(experts, 1, 1, 1)).view_as(found)
    torch.testing.assert_close(apart, found)


def test_experts_side_by_side_are_experts_alone():
    torch.manual_seed(0)
    together = Transformers(3, 8, 2, layers=2, hidden=16, dropout=0.5).eval()
    tokens = Tokens.of(batch(), 4)
    x, mask = torch.randn(3, tokens.rows * tokens.slots, 8), tokens.mask(torch.float32)
    out = together(x, mask)
    assert out.isfinite().all()
    for k in range(3):
        alone = Transformers(1, 8, 2, layers=2, hidden=16, dropout=0.5).eval()
        alone.load_state_dict({n: p[k : k + 1] for n, p in together.state_dict().items()})
        torch.testing.assert_close(alone(x[k : k + 1], mask)[0], out[k], rtol=1e-5, atol=1e-5)


def test_dropout_keeps_the_mean_and_its_gradient_is_its_mask():
    torch.manual_seed(0)
    x = torch.ones(40_001, requires_grad=True)
    out = dropout(x, 0.25, True)
    assert out.detach().unique().tolist() == pytest.approx([0, 256 / 192])
    assert abs(out.mean().item() - 1) < 0.02
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())
    assert dropout(x, 0.25, False) is x
    assert dropout(x, 0.0, True) is x


@pytest.mark.parametrize("sparse", [False, True])
def test_padding_has_no_vector(sparse):
    table = item_table(5, 3, sparse=sparse)
    assert isinstance(table, EmbeddingTable) == sparse
    assert not table.weight[0].any()
    assert table.weight[1:].all()
