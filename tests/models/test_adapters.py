"""HAMUR and M3oE against plain loops over rows, and M3oE's steps on validation rows."""

import itertools

import pytest
import torch

from isthmus import models
from isthmus.batch import Impressions
from isthmus.data.feed import Feed
from isthmus.optim import update
from isthmus.testing import toy_impressions, toy_schema
from isthmus.training.fit import TrainConfig, make_optimizer
from tests.models.random_weights import randomise
from tests.oracles import plain_adapters

SCHEMA = toy_schema(4)
SMALL = {
    "hamur": {"hidden": (8, 6, 5), "bottleneck": 4, "rank": 3, "hyper_hidden": (7,)},
    "m3oe": {
        "star_hidden": 9,
        "hidden": 8,
        "num_experts": 3,
        "expert_hidden": (6, 5),
        "tower_hidden": (4,),
    },
}
CLUSTERED = {"domains": "clusters", "clusters": (("a", "c"), ("b", "d"))}


def build(name, **settings):
    """A model whose every number, running statistics too, is random; in double precision."""
    torch.manual_seed(0)
    cls = models.get(name)
    return randomise(cls(cls.Config(embedding_dim=4, **SMALL[name], **settings), SCHEMA).double())


def rows(n, seed=0):
    batch = toy_impressions(SCHEMA, n, seed)
    hidden = torch.arange(n) % 5 == 0
    return Impressions(batch.features, batch.domain.masked_fill(hidden, 0), batch.label.double())


CASES = [
    ("hamur", {}),
    ("hamur", {"cells": 1}),
    ("hamur", CLUSTERED),
    ("m3oe", {}),
    ("m3oe", {"others": "all"}),
    ("m3oe", CLUSTERED),
]


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_scores_are_those_of_the_plain_version(name, settings):
    model, batch = build(name, **settings), rows(40)
    with torch.no_grad():
        wanted = getattr(plain_adapters, name)(model, batch)
        torch.testing.assert_close(model(batch), wanted, rtol=1e-10, atol=1e-10)
    assert wanted.std() > 0.03, "scores that hardly differ show nothing"


def feed(valid=200):
    return Feed(
        toy_impressions(SCHEMA, 500, 1),
        batch_size=50,
        seed=0,
        valid=toy_impressions(SCHEMA, valid, 2) if valid else None,
    )


def steps(model, epoch):
    """What each step of an epoch changed: names of parameters, and of buffers."""
    optimizer = make_optimizer(model, TrainConfig())
    model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    for losses in model.epoch(epoch):
        update(optimizer, losses)
        after = model.state_dict()
        yield set(losses), {k for k, v in after.items() if not torch.equal(v, before[k])}
        before = {k: v.clone() for k, v in after.items()}


def test_fusion_weights_are_tuned_on_validation_rows_and_nothing_else_is():
    model = build("m3oe", every=3).float()
    taken = list(steps(model, feed().epoch(0)))
    assert len(taken) == model.steps(feed().epoch(0)) == 10 + 4
    tuned = [changed for terms, changed in taken if terms == {"fusion"}]
    trained = [changed for terms, changed in taken if terms == {"bce"}]
    assert len(tuned) == 4
    assert all(changed == {"fusion"} for changed in tuned)
    assert all("fusion" not in changed for changed in trained)


def test_fusion_weights_may_be_learned_with_all_else():
    for model, given in ((build("m3oe", fusion="train"), feed()), (build("m3oe"), feed(valid=0))):
        taken = list(steps(model.float(), given.epoch(0)))
        assert len(taken) == model.steps(given.epoch(0)) == 10
        assert all(terms == {"bce"} and "fusion" in changed for terms, changed in taken)


def test_the_domains_mean_expert_costs_no_more_with_more_domains():
    """Rows times weights met: one expert's own, one mean; with "all", one for each domain."""
    from torch.utils.flop_counter import FlopCounterMode

    flops = {}
    for others, domains in itertools.product(("mean", "all"), (2, 6)):
        schema = toy_schema(domains)
        cls = models.get("m3oe")
        model = cls(cls.Config(**SMALL["m3oe"], others=others), schema).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(toy_impressions(schema, 600))
        flops[others, domains] = counter.get_total_flops()
    assert flops["mean", 6] == flops["mean", 2]
    assert flops["all", 6] > flops["all", 2]
