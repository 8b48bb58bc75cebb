"""Losses of the next item against plain sums over the candidates."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from isthmus.batch import Histories
from isthmus.models import next_item_losses
from isthmus.models.next_item_losses import NextItemConfig, NextItemLoss, calibrated_power
from isthmus.nn import EmbeddingTable
from isthmus.schema import Schema

SIZES = (4, 0, 7, 1)
SCHEMA = Schema(features=(), domains=("a", "none", "c", "d"), items=13, domain_items=SIZES)
TARGET = torch.tensor([6, 1, 12, 11, 4, 5, 6])  # of domains c, a, d, c, a, c, c
DOMAIN_I = torch.tensor([0, 1, 1, 1, 1, 3, 3, 3, 3, 3, 3, 3, 4])


def built(**settings):
    torch.manual_seed(0)
    loss = NextItemLoss(NextItemConfig.model_validate({"embedding_dim": 5, **settings}), SCHEMA)
    items = nn.Embedding(13, 5).double()
    query_QNH = torch.randn(2, len(TARGET), 5, dtype=torch.float64, requires_grad=True)
    return loss, items, query_QNH


def candidates(kind, target):
    if kind == "all":
        return list(range(1, 13))
    return [i for i in range(1, 13) if DOMAIN_I[i] == DOMAIN_I[target]]


def each(query_QNH, of):
    """``of`` a query and its target, for every query."""
    rows = [[of(y, int(t)) for y, t in zip(ys, TARGET, strict=True)] for ys in query_QNH]
    return torch.stack([torch.stack(row) for row in rows])


@pytest.mark.parametrize("kind", ["domain", "all"])
def test_full_softmax(kind):
    loss, items, query_QNH = built(candidates=kind)

    def plain(y, target):
        among = candidates(kind, target)
        return -(items.weight[among] @ y).log_softmax(0)[among.index(target)]

    torch.testing.assert_close(loss(query_QNH, TARGET, items), each(query_QNH, plain))


@pytest.mark.parametrize("cells", [1, 20, 10_000])
def test_a_few_rows_at_a_time_are_all_rows(cells, monkeypatch):
    """Losses and gradients, each token with a weight of its own."""
    monkeypatch.setattr(next_item_losses, "CELLS", cells)
    loss, items, query_QNH = built(candidates="all")
    weight_N = torch.linspace(-1, 2, len(TARGET), dtype=torch.float64)
    found_QN = loss(query_QNH, TARGET, items)
    scores = (query_QNH @ items.weight[1:].T).flatten(0, 1)
    plain_QN = F.cross_entropy(scores, (TARGET - 1).repeat(2), reduction="none").view_as(found_QN)
    torch.testing.assert_close(found_QN, plain_QN)
    leaves = (query_QNH, items.weight)
    found, plain = (torch.autograd.grad((x * weight_N).sum(), leaves) for x in (found_QN, plain_QN))
    for one, other in zip(found, plain, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("kind", ["domain", "all"])
@pytest.mark.parametrize("power", [0.0, 0.5])
def test_sampled_softmax_is_the_full_one_in_the_limit(kind, power):
    loss, items, query_QNH = built(
        loss="sampled_softmax", candidates=kind, negatives=200_000, negative_power=power
    )
    loss.catalogue.count_I += torch.arange(13) * 3
    full, _, _ = built(candidates=kind)
    found, expected = (one(query_QNH, TARGET, items) for one in (loss, full))
    torch.testing.assert_close(found, expected, rtol=0, atol=0.03)
    grads = [torch.autograd.grad(x.sum(), query_QNH)[0] for x in (found, expected)]
    torch.testing.assert_close(*grads, rtol=0, atol=0.03)


@pytest.mark.parametrize(("name", "t"), [("bce", 0.75), ("gbce", 0.75), ("gbce", 0.0)])
@pytest.mark.parametrize("kind", ["domain", "all"])
def test_binary_losses(name, t, kind):
    loss, items, query_QNH = built(loss=name, candidates=kind, negatives=3, calibration=t)
    drawn_GM, _ = loss._drawn()

    def plain(y, target):
        group = int(DOMAIN_I[target]) if kind == "domain" else 0
        rate = min(1, 3 / max(1, len(candidates(kind, target)) - 1))
        beta = 1 if name == "bce" else rate * (t * (1 - 1 / rate) + 1 / rate)
        total = -beta * F.logsigmoid(y @ items.weight[target])
        for other in drawn_GM[group].tolist():
            if other != target:
                total = total - F.logsigmoid(-(y @ items.weight[other]))
        return total / 4

    torch.testing.assert_close(loss(query_QNH, TARGET, items), each(query_QNH, plain))


def test_calibration_goes_from_none_to_full():
    """beta is 1 at t = 0, and the sampling rate at t = 1 (gSASRec, eq. 19 and below)."""
    assert calibrated_power(5, 101, 0.0) == pytest.approx(1)
    assert calibrated_power(5, 101, 1.0) == pytest.approx(0.05)
    assert calibrated_power(200, 101, 0.5) == 1, "as many negatives as items, or more"


def test_negatives_are_the_groups_own_and_as_likely_as_said():
    loss, _, _ = built(negatives=60_000, negative_power=0.5)
    loss.catalogue.count_I += torch.tensor([0, 1, 4, 9, 16, 1, 1, 1, 1, 1, 1, 4, 1])
    drawn_GM, log_odds_GM = loss._drawn()
    for group, size in enumerate((0, *SIZES)):
        if not size:
            continue
        of_group = DOMAIN_I.eq(group).nonzero()[:, 0]
        assert set(drawn_GM[group].tolist()) == set(of_group.tolist())
        for item in drawn_GM[group].unique():
            hit = drawn_GM[group] == item
            odds = log_odds_GM[group][hit].exp()
            assert odds.unique().numel() == 1
            assert abs(hit.double().mean() - odds[0]) < 0.01
    assert log_odds_GM[1].exp().unique().tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_negatives_follow_seed_epoch_and_step():
    loss, _, _ = built(negatives=50)
    drawn = {}
    for step in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)):
        loss.step = step
        drawn[step] = loss._drawn()[0]
        assert torch.equal(drawn[step], loss._drawn()[0])
    assert len({tuple(d.flatten().tolist()) for d in drawn.values()}) == 4


def test_a_sampled_loss_touches_its_items_alone():
    loss, _, query_QNH = built(loss="gbce", negatives=1)
    items = EmbeddingTable(13, 5).double()
    loss(query_QNH, TARGET, items).sum().backward()
    touched = set(items.weight.grad.coalesce().indices()[0].tolist())
    drawn = loss._drawn()[0][[1, 3, 4]].flatten().tolist()
    assert touched == {*TARGET.tolist(), *drawn}


def test_domains_are_learned_from_rows_where_the_schema_does_not_say():
    schema = SCHEMA.model_copy(update={"domain_items": ()})
    loss = NextItemLoss(NextItemConfig(), schema)
    rows = ([[0, 3]], [[0, 1]], [7], [3])
    loss.catalogue.learn(Histories(*(torch.tensor(row) for row in rows)))
    rows = ([[7, 9]], [[1, 3]], [3], [4])  # the first domain that an item was met in stays
    loss.catalogue.learn(Histories(*(torch.tensor(row) for row in rows)))
    of = loss.catalogue.candidates("domain")
    assert of.items.tolist() == [3, 7, 9]
    assert of.sizes == [0, 1, 0, 2, 0]
    copy = NextItemLoss(NextItemConfig(), schema)
    copy.catalogue.candidates("domain")
    copy.load_state_dict(loss.state_dict())
    assert copy.catalogue.candidates("domain").items.tolist() == [3, 7, 9]


def test_the_worst_mistake_still_teaches():
    """Published code clips the log of a probability: at a logit of 17 its gradient is 0."""
    loss, items, query_QNH = built(loss="bce", negatives=3)
    value = loss(query_QNH * 1e3, TARGET, items)
    assert value.isfinite().all()
    (grad,) = torch.autograd.grad(value.sum(), query_QNH)
    assert grad.flatten(1).norm(dim=1).min() > 1
    assert math.isfinite(grad.sum())
