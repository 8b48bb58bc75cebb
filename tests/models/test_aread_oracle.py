"""AREAD against the plain version of itself: the same numbers, loop by loop."""

import pytest
import torch

from isthmus.batch import Impressions
from isthmus.models.aread import AREAD
from isthmus.nn import masks
from isthmus.testing import toy_impressions, toy_schema
from isthmus.training.fit import TrainConfig, make_optimizer
from tests.oracles import plain_aread

SCHEMA = toy_schema(4)
LEVELS = [(3,), (3, 4), (3, 6, 12), (2, 5, 4, 3)]
every_depth = pytest.mark.parametrize("experts", LEVELS, ids=lambda e: f"{len(e)} levels")


def build(experts=(3, 6, 12), seed=0, *, masked=True, dtype=torch.float64, **settings):
    """A model with random masks, running statistics and scales, in double precision.

    Positive shifts keep experts alive: a dead network would equal any other.
    """
    torch.manual_seed(seed)
    config = AREAD.Config(
        embedding_dim=4, bottom_experts=2, bottom_hidden=(8, 6), experts=experts, **settings
    )
    model = AREAD(config, SCHEMA).to(dtype)
    with torch.no_grad():
        for name, value in model.named_parameters():
            value += 0.3 * torch.randn_like(value) * (not name.endswith("table.weight"))
            if name.endswith("shift"):
                value += 0.7
        for name, value in model.named_buffers():
            if name.endswith("mean"):
                value.copy_(0.2 * torch.randn_like(value))
            elif name.endswith("var"):
                value.copy_(torch.rand_like(value) + 0.3)
    if masked and len(experts) > 1:
        model.hierarchy.set_mask(random_mask(model, 0.6, seed))
    return model


def random_mask(model, share, seed):
    """Every domain's edges kept with probability ``share``, with at least one way through."""
    g = torch.Generator().manual_seed(seed)
    mask = [torch.rand(level.shape, generator=g) < share for level in model.hierarchy.mask]
    for level in mask:
        level[:, 0, 0] = True
    return mask


def rows(number=200, seed=0, *, unknown=0.1):
    batch = toy_impressions(SCHEMA, number, seed)
    g = torch.Generator().manual_seed(seed)
    hidden = torch.rand(number, generator=g) < unknown
    return Impressions(batch.features, batch.domain.masked_fill(hidden, 0), batch.label.double())


@every_depth
@pytest.mark.parametrize("masked", [True, False])
def test_evaluation_equals_the_plain_version(experts, masked):
    model, batch = build(experts, masked=masked).eval(), rows()
    assert (batch.domain == 0).any()
    plain = plain_aread.like(model)
    with torch.no_grad():
        p = plain.probability(batch.features, batch.domain)
        torch.testing.assert_close(model(batch), torch.logit(p), rtol=1e-6, atol=1e-8)
        alive = model.hierarchy(model.first_inputs(batch)[0], batch.domain, plain.domain.weight)
        assert (alive.std(1).amax(1) > 1e-3).all(), "an expert gives every row the same"


def test_evaluation_equals_the_plain_version_in_single_precision():
    model = build(dtype=torch.float32).eval()
    batch = rows()
    with torch.no_grad():
        p = plain_aread.like(model).double().probability(batch.features, batch.domain)
        torch.testing.assert_close(model(batch).double(), torch.logit(p), rtol=1e-5, atol=1e-5)


@every_depth
@pytest.mark.parametrize("masked", [True, False])
def test_losses_gradients_and_running_statistics_equal_the_plain_version(experts, masked):
    model, batch = build(experts, masked=masked, dropout=0.0).train(), rows()
    plain = plain_aread.like(model)
    assert_same_step(model, plain, batch)


@pytest.mark.parametrize(
    "settings", [{"cross_layers": 0}, {"wide": False}, {"cross_layers": 0, "wide": False}]
)
def test_branches_are_optional_r11_r13(settings):
    """Published: every model but one crashes without, or with, the cross net."""
    model = build(dropout=0.0, **settings).train()
    assert_same_step(model, plain_aread.like(model), rows())


@pytest.mark.parametrize("number", [1, 2])
def test_a_batch_of_one_row_r7(number):
    """Published: squeeze() makes a scalar of it and the loss dies; batch norm is skipped."""
    model = build(dropout=0.0).train()
    batch = rows(number, seed=1, unknown=0)
    assert model(batch).shape == (number,)
    model = build(dropout=0.0).train()
    assert_same_step(model, plain_aread.like(model), batch)


def test_an_expert_with_one_active_row():
    """Its statistics are that row's own: it enters no running statistic, and nothing is NaN."""
    model = build(dropout=0.0)
    mask = [torch.zeros_like(level) for level in model.hierarchy.mask]
    for level in mask:
        level[:, 0, 0] = True
    mask[-1][1, 0, 5] = True  # domain 1 alone reads the last level's expert 5
    model.hierarchy.set_mask(mask)
    model.train()
    batch = rows(unknown=0)
    once = torch.cat([(batch.domain != 1).nonzero()[:, 0], (batch.domain == 1).nonzero()[:1, 0]])
    batch, before = batch[once], model.hierarchy.levels[2].layers[0].mean.clone()
    assert_same_step(model, plain_aread.like(model), batch)
    after = model.hierarchy.levels[2].layers[0].mean
    assert torch.equal(after[5], before[5])
    assert not torch.equal(after[0], before[0])


def assert_same_step(model, plain, batch):
    """One loss, its gradients, and what batch norm notes: equal."""
    losses = model.losses(batch)
    loss = sum(losses.values())
    expected = plain.loss(batch.features, batch.domain, batch.label)
    torch.testing.assert_close(loss, expected, rtol=1e-7, atol=1e-9)
    loss.backward()
    expected.backward()
    compared = 0
    for mine, gradient in plain_aread.gradient_pairs(plain, model):
        plain_gradient = torch.zeros_like(mine) if mine.grad is None else mine.grad
        torch.testing.assert_close(gradient, plain_gradient, rtol=1e-5, atol=1e-8)
        compared += mine.numel()
    assert compared == sum(p.numel() for p in model.parameters())
    for mine, theirs in plain_aread.pairs(plain, model):
        torch.testing.assert_close(theirs, mine.detach(), rtol=1e-5, atol=1e-7)


def test_several_steps_equal_dense_adam_where_every_row_is_touched():
    """Lazy row-wise Adam is Adam as long as every row of the tables is in every batch."""
    model = build(dropout=0.0).train()
    plain = plain_aread.like(model)
    config = TrainConfig(weight_decay=2e-4, embedding_l2=1e-4)
    ours = make_optimizer(model, config)
    dense = torch.optim.Adam(plain.parameters(), config.lr, betas=(0.9, 0.99), weight_decay=2e-4)
    for step in range(6):
        batch = touching_every_row(seed=step)
        for optimizer, loss in (
            (ours, sum(model.losses(batch).values())),
            (dense, plain.loss(batch.features, batch.domain, batch.label)),
        ):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    moved = 0
    for mine, theirs in plain_aread.pairs(plain, model):
        torch.testing.assert_close(theirs, mine.detach(), rtol=1e-5, atol=1e-7)
        moved += mine.numel()
    assert moved > 5000


def touching_every_row(seed):
    """A batch that meets every id of every table."""
    batch = rows(200, seed)
    features, column = batch.features.clone(), 0
    for feature in SCHEMA.features:
        features[: feature.size, column] = torch.arange(feature.size)
        column += feature.length
    return Impressions(features, batch.domain, batch.label)


def test_masked_gates_are_the_published_ones():
    """Softmax over the kept edges is softmax over all, masked, renormalised (aread.md 1.3)."""
    model = build()
    gates = model.hierarchy.gates(model.embed.domain.weight)
    for gate, mask in zip(gates, model.hierarchy.mask, strict=True):
        assert (gate[~mask] == 0).all()
        columns = gate.sum(1)
        torch.testing.assert_close(columns, mask.any(1).to(columns.dtype))


def test_experts_of_other_domains_get_no_gradient():
    """An expert that only domain 2 uses is untouched by a batch of domain 1: weights and norms."""
    model = build(dropout=0.0).train()
    mask = [torch.zeros_like(level) for level in model.hierarchy.mask]
    for level in mask:
        level[:, 0, 0] = True
    mask[0][2, 1, 3] = mask[1][2, 3, 7] = True
    model.hierarchy.set_mask(mask)
    batch = rows(unknown=0)
    batch = batch[(batch.domain == 1).nonzero()[:, 0]]
    before = model.hierarchy.levels[1].layers[0].mean.clone()
    sum(model.losses(batch).values()).backward()
    layer = model.hierarchy.levels[1].layers[0]
    assert (layer.weight.grad[3] == 0).all()
    assert (layer.scale.grad[3] == 0).all()
    assert torch.equal(layer.mean[3], before[3])
    assert (layer.weight.grad[0] != 0).any()


def test_density_after_set_mask_counts_what_is_used():
    model = build()
    assert masks.has_output(model.hierarchy.mask).all()
    assert masks.density(model.hierarchy.mask)[0] == 1, "the unknown domain keeps all edges"
    assert (masks.density(model.hierarchy.mask)[1:] < 1).all()
