"""Steps on a device that waiting would show of: what the host reads of it, and what comes of a step."""

import pytest
import torch

from isthmus import models
from isthmus.data.feed import Feed
from isthmus.device import looked_up, moved, on_host, picked, written
from isthmus.errors import TrainingError
from isthmus.models import Ranker
from isthmus.nn import EmbeddingTable
from isthmus.optim import RowAdam, Watch, row_gradient, update
from isthmus.testing import toy_histories, toy_impressions, toy_schema
from isthmus.training.fit import TrainConfig, make_optimizer
from tests.pretend import PLACE, taken_there, watching

SCHEMA = toy_schema()
ROWS = {True: toy_impressions(SCHEMA, 320), False: toy_histories(SCHEMA, 320)}
LEARNT = [
    name
    for name in models.names()
    if name not in ("item_knn", "markov", "popularity", "repeat_own")
]
# Rows are routed by what the model learns, so that their number a network is not known beforehand.
ONE_WAIT = {"adl", "hinet"}
QUICK = {"adl", "aread", "gsasrec", "mmoe", "sasrec", "star", "syncrec"}
EACH = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in LEARNT]
CONFIG = TrainConfig(batch_size=64, clip=1.0)
SEARCHES = {"first": 2, "every": 2, "warmup_steps": 1, "updates": 2, "scorings": 2}


def trained(name, place, steps=5, **settings):
    """A model after some steps, and what the host waited for at each."""
    torch.manual_seed(0)
    kind = models.get(name)
    model = kind(kind.Config(**settings), SCHEMA).train()
    rows = ROWS[issubclass(kind, Ranker)]
    feed = Feed(rows, batch_size=64, seed=0, valid=rows[:64], unknown_share=0.05, device=place)
    waits, watch = [], Watch()
    if place == PLACE:
        taken_there(model)
    with watching() as waited:
        optimizer = make_optimizer(model, CONFIG)
        losses = model.epoch(feed.epoch(0))
        for _ in range(steps):
            update(optimizer, next(losses), clip=CONFIG.clip, watch=watch)
            waits.append(dict(waited))
            waited.clear()
        return {k: v.detach().cpu() for k, v in model.state_dict().items()}, waits


@pytest.mark.parametrize("name", EACH)
def test_a_step_waits_for_nothing_and_does_what_it_does_on_the_cpu(name):
    there, waits = trained(name, PLACE)
    here, none = trained(name, "cpu")
    assert none == [{}] * 5
    # Flags, and which domain is of which part, are read once, in the first steps.
    assert [sum(step.values()) for step in waits[2:]] == [name in ONE_WAIT] * 3, waits
    assert sum(waits[0].values()) + sum(waits[1].values()) <= 6
    for key, value in here.items():
        apart = (there[key].double() - value.double()).abs()
        # Adam takes whole steps by gradients that are nothing but rounding, so a few may be apart.
        assert apart.mean() < 1e-5, key
        assert apart.max() < 5e-3, key


def test_a_search_of_masks_waits_once_a_domain():
    there, waits = trained("aread", PLACE, 6, search=SEARCHES)
    here, _ = trained("aread", "cpu", 6, search=SEARCHES)
    searched = [sum(step.values()) for step in waits[1:]]
    assert max(searched) <= len(SCHEMA.domains) + 1
    assert searched.count(0) >= 2
    for key in ("hierarchy.mask_0", "hierarchy.mask_1"):
        assert torch.equal(there[key], here[key])
        assert not there[key].all()


def test_a_wait_is_seen():
    with watching() as waited:
        x = moved(torch.tensor([1.0, 0.0]), PLACE)
        assert not waited
        x.nonzero(), bool(x[0] > 0), x[x > 0], x.cpu(), torch.tensor([1, 2]).to(PLACE), x.unique()
        assert sum(waited.values()) == 6, waited
        with pytest.raises(AssertionError, match="operands at two places"):
            x + torch.ones(2)


def test_what_was_moved_is_known_until_it_is_written_to():
    with watching() as waited:
        table, ids = moved(torch.tensor([3, 4, 5]), PLACE), moved(torch.tensor([2, 0]), PLACE)
        found = looked_up(table, ids)
        assert on_host(found).tolist() == found.cpu().tolist() == [5, 3]
        assert on_host(picked(table, 0, [1])).tolist() == [4]
        waited.clear()
        assert on_host(table).tolist() == [3, 4, 5]
        assert not waited
        table += 1
        assert on_host(table).tolist() == [4, 5, 6]
        assert sum(waited.values()) == 1
        values = on_host(table)
        values[0] = 9
        written(table, values)
        assert on_host(table).tolist() == [9, 5, 6]
        assert sum(waited.values()) == 1
        assert table.cpu().tolist() == [9, 5, 6]


@pytest.mark.parametrize("seed", range(3))
def test_rows_are_summed_without_a_count(seed):
    g = torch.Generator().manual_seed(seed)
    ids, values = torch.randint(9, (40,), generator=g), torch.randn(40, 3, generator=g)
    dense = torch.zeros(9, 3).index_add_(0, ids, values)
    with watching() as waited:
        ids_1N, there = moved(ids[None], PLACE), moved(values, PLACE)
        sparse = torch.sparse_coo_tensor(ids_1N, there, (9, 3), check_invariants=False)
        found, sums = row_gradient(sparse)
        assert not waited.keys() & {"_coalesce", "_unique2"}
        found, sums = found.cpu(), sums.cpu()
    assert len(found) == 40  # as many as were given
    assert sorted(set(found.tolist())) == sorted(set(ids.tolist()))
    for i, row in zip(found, sums, strict=True):
        torch.testing.assert_close(row, dense[i])


def test_an_infinite_loss_is_told_later_but_exactly():
    table = EmbeddingTable(5, 2)
    with watching():
        taken_there(table)
        watch, optimizer = Watch(every=4), RowAdam(table.parameters())
        for step in range(3):
            loss = table(moved(torch.tensor([step]), PLACE)).sum()
            loss = loss / 0 if step == 1 else loss
            update(optimizer, {"fine": loss.new_ones(()), "bad": loss}, watch=watch)
        with pytest.raises(TrainingError, match=r"fine = 1.0, bad = -?inf"):
            watch.look()
        assert watch.bad == 1
        watch.look()  # it was told
