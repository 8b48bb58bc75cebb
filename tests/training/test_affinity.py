import numpy as np
import pytest
import torch

from isthmus.data.feed import Feed
from isthmus.models import get
from isthmus.testing import toy_impressions, toy_schema
from isthmus.training.affinity import Affinity, cosines
from isthmus.training.state import TrainingState


def plain_products(model, rows):
    """One gradient after another, dense, over all numbers at once."""
    gradients = []
    for domain in sorted(set(rows.domain.tolist())):
        model.zero_grad()
        sum(model.losses(rows[(rows.domain == domain).nonzero().squeeze(1)]).values()).backward()
        parts = [
            torch.zeros(p.numel()) if p.grad is None else p.grad.to_dense().flatten()
            for p in model.parameters()
        ]
        gradients.append(torch.cat(parts).double().numpy())
    model.zero_grad()
    whole = np.stack(gradients)
    users = (whole != 0).sum(0)
    shared = whole[:, users > 1]
    shared = shared / np.sqrt((shared**2).sum(0) / users[users > 1])
    return shared @ shared.T


@pytest.mark.parametrize("name", ["mlp", "shared_bottom", "aread"])
def test_products_are_those_of_plain_gradients(name):
    schema = toy_schema(3)
    rows = toy_impressions(schema, 300)
    torch.manual_seed(0)
    kind = get(name)
    model, twin = (kind(kind.Config(embedding_dim=4), schema) for _ in range(2))
    watch = Affinity(twin, Feed(rows, batch_size=64, seed=0))
    watch(TrainingState(model=model.state_dict()))
    if sum(p.numel() for p in model.parameters()) < 2**18:
        np.testing.assert_allclose(watch.products[0], plain_products(model.eval(), rows), rtol=1e-4)
    assert watch.domains == [1, 2, 3]


def test_a_random_choice_of_parameters_stands_for_all(monkeypatch):
    schema = toy_schema(3)
    rows = toy_impressions(schema, 300)
    kind = get("mlp")
    torch.manual_seed(0)
    model = kind(kind.Config(embedding_dim=4, hidden=(128, 64)), schema)
    feed = Feed(rows, batch_size=64, seed=0)
    whole = Affinity(kind(model.config, schema), feed)
    monkeypatch.setattr("isthmus.training.affinity._DENSE", 4000)
    part = Affinity(kind(model.config, schema), feed)
    for watch in (whole, part):
        watch(TrainingState(model=model.state_dict()))
    assert not np.array_equal(whole.products[0], part.products[0])
    np.testing.assert_allclose(
        cosines(part.products[0], np.eye(3)), cosines(whole.products[0], np.eye(3)), atol=0.08
    )


def test_cosines_of_groups_are_of_their_mean_gradients():
    gradient = np.random.default_rng(0).normal(size=(4, 9))
    share = np.array([[0.25, 0.75, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    mean = share @ gradient
    unit = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    found = cosines(gradient @ gradient.T, share)
    off = ~np.eye(3, dtype=bool)
    np.testing.assert_allclose(found[off], (unit @ unit.T)[off])
    assert np.isnan(np.diag(found)).all()
    assert np.isnan(cosines(np.zeros((3, 3)), np.eye(3))).all(), "no gradient has no direction"
