"""A domain's own part of a joint model: which it is, and that training it moves nothing else."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from isthmus import models
from isthmus.data.feed import Feed
from isthmus.inference import probabilities
from isthmus.models.mamdr import Mamdr, MamdrConfig
from isthmus.testing import toy_histories, toy_impressions, toy_schema
from isthmus.training.fit import TrainConfig, fit
from isthmus.training.isolated import domain_score
from isthmus.training.own_part import own_slices, sample, tune_part

SMALL = {
    "mlp": {"hidden": [8]},
    "mmoe": {"num_experts": 4, "expert_hidden": [8], "tower_hidden": [4]},
    "aread": {
        "bottom_hidden": [8],
        "bottom_experts": 2,
        "experts": [2, 4],
        "expert_hidden": [[8], [8]],
    },
    "ple": {"levels": [[8, 6], [4]], "tower_hidden": [4]},
}
OWN = {
    "mlp": {"embed.domain.weight"},
    "mmoe": {
        "embed.domain.weight",
        "gate.weight",
        "gate.bias",
        *(f"tower.layers.{n}.{kind}" for n in (0, 1) for kind in ("weight", "bias")),
    },
    "aread": {"embed.domain.weight", "domain_head"},
    "ple": {
        "embed.domain.weight",
        "levels.0.shared_gate_own.weight",
        "levels.0.shared_gate_own.bias",
        *(
            f"levels.{n}.{part}.{kind}"
            for n in (0, 1)
            for part in ("gate", "specific.first")
            for kind in ("weight", "bias")
        ),
        # whose domains are counted by the second dimension
        "levels.0.specific.rest.0.weight",
        "levels.0.specific.rest.0.bias",
        *(f"tower.layers.{n}.{kind}" for n in (0, 1) for kind in ("weight", "bias")),
    },
}


def made(name, schema, **changes):
    torch.manual_seed(3)
    kind = models.get(name)
    settings = {"embedding_dim": 4, "dropout": 0, **SMALL.get(name, {}), **changes}
    return kind(kind.Config.model_validate(settings), schema)


@pytest.mark.parametrize("name", list(SMALL))
def test_own_rows_are_those_that_nobody_else_reads(name):
    """Three domains, so four ids: mmoe's four experts and aread's are as many, and shared."""
    schema = toy_schema()
    rows = sample(toy_impressions(schema, 400), schema.num_domains)
    model = made(name, schema)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert set(own_slices(model, 2, rows)) == OWN[name]
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_what_has_no_part_of_a_domain_has_none():
    schema = toy_schema()
    rows = sample(toy_impressions(schema, 400), schema.num_domains)
    assert own_slices(made("mlp", schema, domain_blind=True), 1, rows) == {}
    kind = models.get("mlp")
    model = Mamdr(kind.Config(hidden=(8,), embedding_dim=4), schema, kind, MamdrConfig())
    assert own_slices(model, 1, rows) == {}


def test_a_retrievers_start_and_gate_are_its_domains_own():
    schema = toy_schema().model_copy(update={"domain_items": (13, 13, 13)})
    rows = sample(toy_histories(schema, 300), schema.num_domains)
    found = own_slices(made("syncrec", schema, inference="both"), 2, rows)
    assert "start.weight" in found
    assert "single_head.gate.weight" in found
    assert own_slices(made("syncrec", schema, inference="cross"), 2, rows) == {}


def tasted(schema, rows, seed, *, opposed=None):
    """Items of higher ids are liked; in the domain ``opposed`` those of lower ids."""
    made = toy_impressions(schema, rows, seed)
    quality = made.features[:, 1] / 20 - 1
    sign = torch.where(made.domain == opposed, -1, 1) if opposed else 1
    draw = torch.rand(rows, generator=torch.Generator().manual_seed(seed))
    label = (draw < torch.sigmoid(4 * sign * quality)).float()
    return replace(made, label=label)


@pytest.mark.parametrize("name", ["mmoe", "aread", "ple"])
def test_training_it_helps_the_domain_and_moves_no_bit_of_others(name):
    """A joint model that learnt one taste for all; then one domain's turns out to be the opposite."""
    schema, domain = toy_schema(), 2
    model, config = made(name, schema), TrainConfig(lr=0.03, max_epochs=6, patience=6)
    feed = Feed(tasted(schema, 1500, 0), batch_size=64, seed=0)
    fit(model, feed, partial(domain_score, rows=tasted(schema, 600, 1)), config)
    rows, held = (tasted(schema, 900, seed, opposed=domain) for seed in (2, 3))
    own, held_own = (r[(r.domain == domain).nonzero().squeeze(1)] for r in (rows, held))
    assert domain_score(model, held_own) < 0.4
    slices = own_slices(model, domain, sample(rows, schema.num_domains))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    scores = probabilities(model, held)
    feed = Feed(own, batch_size=64, seed=0)
    tune_part(model, domain, slices, feed, partial(domain_score, rows=held_own), config)
    assert domain_score(model, held_own) > 0.6
    other = (held.domain != domain).numpy()
    assert probabilities(model, held)[other].tobytes() == scores[other].tobytes()
    for key, value in model.state_dict().items():
        changed = value != before[key]
        if key in slices:
            changed = changed.movedim(slices[key], 0)
            assert changed.flatten(1).any(1).nonzero().flatten().tolist() == [domain], key
        else:
            assert not changed.any(), key
