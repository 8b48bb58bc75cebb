"""Each sequence retriever against its paper's equations, a token at a time."""

import pytest
import torch

from isthmus import models
from isthmus.batch import Histories
from isthmus.models import cl4srec
from tests.models.test_syncrec import enlarged, histories, schema_of, users
from tests.oracles import plain_sequences

NAMES = ["sasrec", "gru4rec", "hstu", "mmoe_seq", "ple_seq", "c2dsr", "bert4rec"]
SIZES = {
    "mmoe_seq": {"expert_hidden": (6, 4)},
    "ple_seq": {"expert_levels": ((6, 5), (4,)), "shared_experts": 2, "specific_experts": 2},
}


def built(name, schema=None, **settings):
    torch.manual_seed(0)
    kind = models.get(name)
    values = {"embedding_dim": 8, "dropout": 0.0, **SIZES.get(name, {}), **settings}
    if "heads" in kind.Config.model_fields:
        values.setdefault("heads", 2)
    model = kind(kind.Config.model_validate(values), schema or schema_of(3)).double()
    return enlarged(model).eval()


@pytest.mark.parametrize("name", NAMES)
def test_queries_are_the_papers(name):
    model = built(name)
    with torch.no_grad():
        for buffer in (b for n, b in model.named_buffers() if "mean" in n or "var" in n):
            buffer.add_(torch.rand_like(buffer))  # running statistics of batch norm
        batch = histories(model.schema, 10)
        for row, (items, domains) in enumerate(users(batch)):
            expected = getattr(plain_sequences, name)(model, items, domains)[-1]
            torch.testing.assert_close(model(batch)[row], expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "bert4rec"])
def test_every_token_has_the_query_that_its_history_would_have(name):
    """The loss at every position is that of so many histories."""
    model = built(name)
    tokens = model.tokens(batch := histories(model.schema, 4))
    states = model.queries(model.states(tokens))
    plain = [getattr(plain_sequences, name)(model, *user) for user in users(batch)]
    torch.testing.assert_close(states, torch.cat(plain), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", [*NAMES, "gsasrec", "cl4srec", "cgrec", "syncrec"])
def test_the_next_item_is_never_read(name):
    model = built(name)
    batch = histories(model.schema, 6)
    other = Histories(batch.items, batch.domains, batch.target * 0, batch.domain)
    assert torch.equal(model(batch), model(other))


@pytest.mark.parametrize("name", [*NAMES, "gsasrec", "cl4srec", "cgrec", "syncrec"])
def test_no_history_is_scored(name):
    model = built(name)
    empty = torch.zeros(3, 5, dtype=torch.int64)
    batch = Histories(empty, empty, torch.tensor([1, 2, 3]), torch.tensor([1, 2, 3]))
    assert model.scores(batch).isfinite().all()
    assert all(value.isfinite() for value in model.train().losses(batch).values())


def test_sasrec_of_the_own_domain_reads_that_alone():
    model = built("sasrec", reads="own")
    batch = histories(model.schema, 10)
    for row, (items, domains) in enumerate(users(batch)):
        own = [t for t, d in enumerate(domains) if d == domains[-1]]
        cut = ([items[t] for t in own], [domains[t] for t in own])
        torch.testing.assert_close(model(batch)[row], plain_sequences.sasrec(model, *cut)[-1])


def test_bert4rec_guesses_what_it_does_not_read():
    model = built("bert4rec")
    batch = histories(model.schema, 6)
    tokens = model.tokens(batch)
    hidden_N = torch.arange(len(tokens.user)) % 3 == 0
    one = model.guesses(tokens, hidden_N)
    changed = torch.where(hidden_N, tokens.target % 30 + 1, tokens.target)
    tokens.target.copy_(changed)
    torch.testing.assert_close(model.guesses(tokens, hidden_N), one, rtol=0, atol=0)
    assert not torch.allclose(model.guesses(tokens, ~hidden_N), one)


def full(rows=200, length=10):
    items = torch.arange(1, length + 1).expand(rows, length).clone()
    items[rows // 2 :, :3] = 0
    ones = torch.ones(rows, dtype=torch.int64)
    return Histories(items, items.clamp(max=1), ones, ones)


def test_views_of_cl4srec():
    torch.manual_seed(0)
    batch = full()
    sizes = (batch.items > 0).sum(1)
    cropped = cl4srec.cropped(batch, 0.6).items
    for row, size in zip(cropped, sizes, strict=True):
        kept = row[row > 0]
        assert len(kept) == -(-6 * int(size) // 10)
        assert (kept.diff() == 1).all(), "one span"
    assert len(cropped[:100].gt(0).float().argmax(1).unique()) == 5, "anywhere"
    masked = cl4srec.masked(batch, 0.3, 99)
    assert ((masked.items == 99).sum(1) == (sizes * 0.3).floor()).all()
    assert ((masked.items == batch.items) | (masked.items == 99)).all()
    assert (masked.domains[masked.items == 99] == 0).all()
    shuffled = cl4srec.reordered(batch, 0.5).items
    assert torch.equal(shuffled.sort(1).values, batch.items)
    assert ((shuffled == 0) == (batch.items == 0)).all(), "padding stays"
    moved = (shuffled != batch.items).int()
    assert (moved.sum(1) <= (sizes * 0.5).ceil()).all()
    assert moved.sum() > 400


def test_agreement_of_views_by_hand():
    one, other = torch.tensor([[1.0, 0], [0, 2]]), torch.tensor([[3.0, 0], [1, 0]])
    e = torch.tensor(1.0).exp()
    # cosines: a1 with a2 0, b1 1, b2 1; a2 with all 0; b1 with a1 1, a2 0, b2 1; b2 the same
    terms = [-(e / (1 + 2 * e)).log(), torch.tensor(3.0).log(), -(e / (1 + 2 * e)).log()]
    expected = (sum(terms) - (1 / (1 + 2 * e)).log()) / 4
    torch.testing.assert_close(cl4srec.agreement_loss(one, other, 1.0), expected)


def test_values_of_cgrec_add_up_to_what_the_coalition_gains():
    """Each order of joining hands out the worth of all members, no more and no less."""
    model = built("cgrec", momentum=0.0, orders=3).train()
    batch = histories(model.schema, 12)
    model.note(batch)
    model._estimate(batch)
    losses, alone = {}, {}
    item_domain = model.next_item.catalogue.domain_I
    for items, domains in users(batch):
        together = plain_sequences.sasrec(model, items, domains)
        for t, (item, d) in enumerate(zip(items, domains, strict=True)):
            own = [s for s in range(t + 1) if domains[s] == d]
            single = plain_sequences.sasrec(model, [items[s] for s in own], [d] * len(own))[-1]
            among = (item_domain == d).nonzero()[:, 0]
            place = among.tolist().index(item)
            for found, y in ((losses, together[t]), (alone, single)):
                loss = -(model.items.weight[among] @ y).log_softmax(0)[place]
                found.setdefault(d, []).append(loss.detach())
    gain = sum(sum(alone[d]) / len(alone[d]) - sum(losses[d]) / len(losses[d]) for d in losses)
    torch.testing.assert_close(model.value_D.sum(), gain)
    assert (model.value_D[1:] != 0).all()
    weight_D = model.weights()
    torch.testing.assert_close(weight_D[1:].mean(), torch.ones((), dtype=torch.float64))
    assert weight_D[1:].argmax() == model.value_D[1:].argmax()
    assert model.training


def test_c2dsr_replaces_other_domains_items_by_theirs():
    model = built("c2dsr")
    batch = histories(model.schema, 40)
    model.note(batch)
    domain_B = torch.arange(40) % 3 + 1
    other = model._corrupted(batch, domain_B)
    kept = (batch.items == 0) | (batch.domains == domain_B[:, None])
    assert torch.equal(other.items[kept], batch.items[kept])
    assert (other.items != batch.items)[~kept].float().mean() > 0.7
    domain_I = model.next_item.catalogue.domain_I
    assert torch.equal(domain_I[other.items], domain_I[batch.items])
    one = model._one_domain(tokens := model.tokens(batch))
    assert all(int(d) in tokens.domain[tokens.user == u] for u, d in enumerate(one))
