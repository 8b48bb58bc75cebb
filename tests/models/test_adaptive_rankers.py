"""Rankers that adapt shared weights to domains: against plain versions, and on planted data."""

import pytest
import torch
from torch import nn

from isthmus import models
from isthmus.batch import Impressions
from isthmus.data.feed import Feed
from isthmus.errors import ConfigError
from isthmus.nn.centres import Centres
from isthmus.nn.star import PartitionedNorm, StarLinear
from isthmus.testing import toy_impressions, toy_schema
from isthmus.training.fit import TrainConfig, fit
from tests.models.random_weights import randomise
from tests.oracles import plain_adaptive

SCHEMA = toy_schema(4)
SMALL = {
    "star": {"hidden": (6, 4), "auxiliary_hidden": 3},
    "adasparse": {"hidden": (6, 4)},
    "epnet": {"tower_hidden": (6, 4), "gate_hidden": 5},
    "epnet_s": {"hidden": (6, 4), "gate_hidden": 5},
    "pepnet": {"tower_hidden": (6, 4), "gate_hidden": 5},
    "adl": {"hidden": (6, 4)},
}
CASES = [
    *SMALL.items(),
    ("adasparse", {"hidden": (6, 4), "form": "binarisation"}),
    ("adasparse", {"hidden": (6, 4), "form": "scaling"}),
    *(
        (name, {**SMALL[name], "domains": "clusters", "clusters": (("a", "c"), ("b", "d"))})
        for name in ("star", "epnet", "pepnet")
    ),
]
OWN_WEIGHTS = {"star": ("norm.part", "layers"), "epnet": ("tower",), "pepnet": ("layers",)}


def build(name, *, dtype=torch.float64, **settings):
    """A model with random weights and running statistics, so that no factor is 0 or 1 by chance."""
    torch.manual_seed(0)
    cls = models.get(name)
    model = cls(cls.Config(embedding_dim=3, **settings), SCHEMA).to(dtype)
    randomise(model, weights=0.4, means=0.3).train()
    if name == "adasparse":
        model.taken.fill_(300)
    return model


def rows(number=48, seed=0):
    batch = toy_impressions(SCHEMA, number, seed)
    domain = batch.domain.clone()
    domain[::9] = 0
    return Impressions(batch.features, domain, batch.label.double())


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_scores_equal_the_plain_version(name, settings):
    model, batch = build(name, **settings).eval(), rows()
    with torch.no_grad():
        logit_B = model(batch)
    torch.testing.assert_close(logit_B, plain_adaptive.score(model, batch), rtol=1e-9, atol=1e-10)
    assert logit_B.std() > 0.05


@pytest.mark.parametrize("name", OWN_WEIGHTS)
def test_other_parts_weights_change_no_score(name):
    model, batch = build(name, **SMALL[name]).eval(), rows()
    with torch.no_grad():
        before = model(batch)
        for key, value in model.named_parameters():
            if key.startswith(OWN_WEIGHTS[name]) and len(value) == model.num_parts:
                value[2] += torch.randn_like(value[2])
        after = model(batch)
    own = batch.domain == 2
    assert torch.equal(before[~own], after[~own])
    assert (before[own] != after[own]).all()


def test_adl_other_distributions_weights_change_no_score():
    model, batch = build("adl", **SMALL["adl"]).eval(), rows()
    with torch.no_grad():
        before = model(batch)
        own = model.centres(model.embed(batch)) == 1
        for layer in model.layers:
            layer.part_weight[1] += 1
        model.layers[-1].part_bias[1] += 0.3  # dead units hide a change of weights
        after = model(batch)
    assert own.any()
    assert (~own).any()
    assert torch.equal(before[~own], after[~own])
    assert (before[own] != after[own]).all()


def sorted_rows(sizes, width=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    parts = [2 * n + torch.randn(s, width, generator=g).double() for n, s in enumerate(sizes)]
    return torch.cat(parts)


def test_partitioned_norm_is_batch_norm_part_by_part():
    """Output, gradients and running statistics, over several batches; one part is absent once."""
    norm = PartitionedNorm(3, 3, few_rows=0).double().train()
    norm.started.fill_(True)
    torches = [nn.BatchNorm1d(3).double().train() for _ in range(3)]
    with torch.no_grad():
        for value in norm.parameters():
            value += 0.3 * torch.randn_like(value)
        for part, torch_norm in enumerate(torches):
            torch_norm.weight.copy_(norm.scale * norm.part_scale[part])
            torch_norm.bias.copy_(norm.shift + norm.part_shift[part])
    for seed, sizes in enumerate([[5, 2, 9], [4, 0, 3], [2, 7, 6]]):
        x = sorted_rows(sizes, seed=seed).requires_grad_()
        y = x.detach().clone().requires_grad_()
        out = norm(x, sizes)
        split = zip(torches, y.split(sizes), strict=True)
        expected = torch.cat([torch_norm(part) for torch_norm, part in split if len(part)])
        torch.testing.assert_close(out, expected)
        (out**3).sum().backward()
        (expected**3).sum().backward()
        torch.testing.assert_close(x.grad, y.grad)
    for part, torch_norm in enumerate(torches):
        torch.testing.assert_close(norm.mean[part], torch_norm.running_mean)
        torch.testing.assert_close(norm.var[part], torch_norm.running_var)
    total = sum(torch_norm.weight.grad / norm.scale for torch_norm in torches)
    assert total.isfinite().all()
    for part, torch_norm in enumerate(torches):
        expected = torch_norm.weight.grad * norm.scale
        torch.testing.assert_close(norm.part_scale.grad[part], expected.detach())


def test_parts_of_few_rows_lean_on_running_statistics():
    """Worked by hand: 4 rows of 4 + 12 count a quarter; one row is normalised by what went before."""
    norm = PartitionedNorm(2, 1, few_rows=12).double().train()
    norm.started.fill_(True)
    norm.mean.copy_(torch.tensor([[10.0], [20.0]]))
    norm.var.copy_(torch.tensor([[8.0], [4.0]]))
    x = torch.tensor([[0.0], [4.0], [4.0], [8.0], [26.0]]).double()  # mean 4, variance 8
    out = norm(x, [4, 1])[:, 0]
    mean, var = 10 + 0.25 * (4 - 10), 8.0
    torch.testing.assert_close(out[:4], (x[:4, 0] - mean) / (var + 1e-5) ** 0.5)
    torch.testing.assert_close(out[4], (x[4, 0] - 20) / (4 + 1e-5) ** 0.5)
    quarter, thirteenth = 0.1 * 4 / 16, 0.1 * 1 / 13
    expected = torch.tensor([[10 + quarter * (4 - 10)], [20 + thirteenth * (26 - 20)]]).double()
    torch.testing.assert_close(norm.mean, expected)
    seen = torch.tensor([[8 + quarter * (32 / 3 - 8)], [4 + thirteenth * (36 - 4)]]).double()
    torch.testing.assert_close(norm.var, seen)


def test_a_part_with_one_row_trains():
    model = build("star", **SMALL["star"]).train()
    batch = rows()
    once = torch.cat([(batch.domain != 3).nonzero()[:, 0], (batch.domain == 3).nonzero()[:1, 0]])
    model.losses(batch[once])["bce"].backward()
    for layer in model.layers:
        assert layer.part_weight.grad[3].abs().sum() > 0
    assert all(p.grad.to_dense().isfinite().all() for p in model.parameters())


def test_star_layer_has_the_gradients_of_its_definition():
    torch.manual_seed(0)
    layer, sizes = StarLinear(4, 3, 2).double(), [3, 0, 1, 4]
    with torch.no_grad():
        for value in layer.parameters():
            value += 0.3 * torch.randn_like(value)
    x = sorted_rows(sizes).requires_grad_()
    inputs = [x, *layer.parameters()]
    found = torch.autograd.grad((layer(x, sizes) ** 2).sum(), inputs)
    weight, bias = layer.weight * layer.part_weight, layer.bias + layer.part_bias
    plain = [part @ weight[n] + bias[n] for n, part in enumerate(x.split(sizes))]
    expected = torch.autograd.grad((torch.cat(plain) ** 2).sum(), inputs)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_star_starts_as_its_shared_network():
    torch.manual_seed(0)
    layer, x = StarLinear(3, 5, 2), torch.randn(6, 5)
    torch.testing.assert_close(layer(x, [1, 2, 3]), x @ layer.weight + layer.bias)


@pytest.mark.parametrize("name", ["epnet", "epnet_s", "pepnet"])
def test_a_gate_sends_no_gradient_to_the_embeddings_it_reads(name):
    """With gates that are held still, embeddings have the same gradient."""
    model, batch = build(name, **SMALL[name]).eval(), rows()
    holder = model if name == "pepnet" else model.embed
    gate = holder.embedding_gate if name == "pepnet" else holder.gate
    table = holder.features.table.weight
    found = torch.autograd.grad(model.losses(batch)["bce"], table, retain_graph=False)[0]
    with torch.no_grad():
        e = holder.features(batch).flatten(1)
        still = gate(e, batch.domain) / e
    gate.forward = lambda e_BI, domain_B: still * e_BI
    expected = torch.autograd.grad(model.losses(batch)["bce"], table)[0]
    torch.testing.assert_close(found.to_dense(), expected.to_dense())


def test_pepnet_reads_the_largest_id_of_each_role_or_what_it_is_told():
    cls = models.get("pepnet")
    assert cls(cls.Config(), SCHEMA).prior == [0, 1]
    assert cls(cls.Config(prior=("hour",)), SCHEMA).prior == [2]
    with pytest.raises(ConfigError, match=r"'author', which the data lack.*user, item, hour"):
        cls(cls.Config(prior=("author",)), SCHEMA)


def trained(name, epochs, **settings):
    torch.manual_seed(0)
    cls = models.get(name)
    model = cls(cls.Config(**settings), SCHEMA)
    feed = Feed(toy_impressions(SCHEMA, 2048), batch_size=64, seed=0)
    state = fit(model, feed, lambda _: 0.0, TrainConfig(lr=1e-2, max_epochs=epochs, patience=99))
    model.load_state_dict(state.model)
    return model.eval()


@pytest.mark.parametrize("form", ["fusion", "binarisation"])
def test_adasparse_prunes_within_its_bounds(form):
    """The term holds the batches' share to .15 to .25; single batches scatter about it."""
    model = trained("adasparse", 12, form=form, hidden=(32, 16))
    assert int(model.taken) == 12 * 32
    with torch.no_grad():
        _, pruned_L = model.score(toy_impressions(SCHEMA, 2048))
        batch = toy_impressions(SCHEMA, 1)
        factor, _ = model.pruners[0](
            model.embed(batch), model.embed.domain(batch.domain), model.alpha()
        )
    assert ((pruned_L > 0.13) & (pruned_L < 0.27)).all(), pruned_L
    assert (factor == 0).any()


def test_adasparse_without_its_term_prunes_otherwise():
    model = trained("adasparse", 4, hidden=(32, 16), sparsity=0, sparsity_growth=0)
    with torch.no_grad():
        _, pruned_L = model.score(toy_impressions(SCHEMA, 2048))
    assert ((pruned_L < 0.13) | (pruned_L > 0.27)).any(), pruned_L


def test_adasparse_hardens_and_presses_more_with_every_step():
    model, batch = build("adasparse", dropout=0, alpha_start=1, alpha_end=3).train(), rows()
    model.taken.fill_(0)
    assert model.alpha() == 1
    first = model.losses(batch)["sparsity"]
    model.taken.fill_(500)
    assert model.alpha() == 2
    model.taken.fill_(50)
    assert model.losses(batch)["sparsity"] > first
    model.taken.fill_(5000)
    assert model.alpha() == 3
    most = model.losses(batch)["sparsity"]
    assert int(model.taken) == 5001
    assert model.losses(batch)["sparsity"] == most > first
    assert int(model.taken) == 5002
    model.eval().losses(batch)
    assert int(model.taken) == 5002


def test_adasparse_refuses_bounds_out_of_order():
    with pytest.raises(ValueError, match="prune_min must be the smaller"):
        models.get("adasparse").Config(prune_min=0.5)


@pytest.mark.parametrize("iterations", [1, 3])
def test_centres_move_as_the_plain_routing_says(iterations):
    torch.manual_seed(0)
    settings = {"iterations": iterations, "momentum": 0.7, "temperature": 0.2}
    router = Centres(3, 5, **settings).double().train()
    router.started.fill_(True)
    x, before = torch.randn(20, 5).double(), router.centre.clone()
    assigned = router(x)
    torch.testing.assert_close(router.centre, plain_adaptive.centres(before, x, **settings))
    assert not torch.allclose(before, router.centre, atol=0.01)
    held = router.centre.clone()
    assert torch.equal(router.eval()(x), assigned)
    assert torch.equal(router.centre, held)


def test_centres_do_not_start_at_fewer_rows_than_they_are():
    router = Centres(3, 4, iterations=2, momentum=0.9, temperature=0.1).train()
    before = router.centre.clone()
    router(torch.randn(2, 4))
    assert torch.equal(router.centre, before)
    router(torch.randn(3, 4))
    assert (router.centre @ router.centre.T - torch.eye(3)).abs().max() < 0.99


@pytest.mark.parametrize("seed", range(5))
def test_planted_distributions_are_separated(seed):
    """Three directions with noise, of very different sizes: each gets a centre of its own."""
    g = torch.Generator().manual_seed(seed)
    planted = torch.nn.functional.normalize(torch.randn(3, 16, generator=g), dim=1)
    router = Centres(3, 16, iterations=3, momentum=0.9, temperature=0.1).train()
    shares = torch.tensor([0.7, 0.2, 0.1])
    for _ in range(30):
        group = shares.multinomial(128, replacement=True, generator=g)
        assigned = router(planted[group] + 0.1 * torch.randn(128, 16, generator=g))
    pairs = {(int(a), int(b)) for a, b in zip(group, assigned, strict=True)}
    assert len(pairs) == 3
    assert len({b for _, b in pairs}) == 3
