"""AREAD folded for serving against AREAD itself, with every part on and off."""

import numpy as np
import pytest
import torch

from isthmus.batch import Impressions
from isthmus.inference import probabilities
from isthmus.models.aread import AREAD
from isthmus.nn import masks
from isthmus.schema import Feature, Schema
from isthmus.service import folded, graph
from isthmus.service.features import columns
from isthmus.service.ranking import Plain, scorer
from tests.models.aread_parts import PARTS
from tests.models.random_weights import randomise

SCHEMA = Schema(
    features=(
        Feature(name="brand", size=7, role="item"),
        Feature(name="user", size=9, role="user"),
        Feature(name="recent", kind="history", size=30, table="item", role="user", length=3),
        Feature(name="hour", size=5),
        Feature(name="item", size=30, role="item"),
        Feature(name="price", kind="number", size=4, role="item"),
    ),
    domains=("a", "b", "c"),
)
SMALL = {"embedding_dim": 4, "bottom_experts": 3, "bottom_hidden": (8, 6), "experts": (3, 4, 5)}


def model(searched=True, **changes):
    torch.manual_seed(1)
    made = randomise(AREAD(AREAD.Config(**{**SMALL, **changes}), SCHEMA))
    full = made.hierarchy.mask
    if searched and full:
        kept = [torch.rand(level.shape) < 0.6 for level in full]
        alive = masks.has_output(masks.repaired(kept))[:, None, None]
        made.hierarchy.set_mask([torch.where(alive, k, f) for k, f in zip(kept, full, strict=True)])
    return made


def candidates(number=40, seed=2):
    """A user's shared columns, items' columns and domains, unknown ones among them."""
    draw = np.random.default_rng(seed)
    shared = np.zeros(SCHEMA.num_columns, np.int64)
    shared[SCHEMA.columns["user"]] = 4
    shared[SCHEMA.columns["recent"]] = [3, 0, 7]
    shared[SCHEMA.columns["hour"]] = 2
    items = np.stack([draw.integers(0, size, number) for size in (7, 30, 4)], 1)
    return shared, items, draw.integers(0, 4, number)


def whole(shared, items, domain):
    """The same rows as a batch."""
    features = torch.from_numpy(np.tile(shared, (len(items), 1)))
    for column, name in enumerate(("brand", "item", "price")):
        features[:, SCHEMA.columns[name].start] = torch.from_numpy(items[:, column])
    return Impressions(features, torch.from_numpy(domain), torch.zeros(len(domain)))


@pytest.mark.parametrize("changes", PARTS.values(), ids=PARTS)
def test_the_same_probabilities(changes):
    made = model(**changes)
    shared, items, domain = candidates()
    wanted = probabilities(made, whole(shared, items, domain))
    assert np.ptp(wanted) > 0.05
    found = scorer(made, columns(SCHEMA, "item"))
    assert isinstance(found, folded.Folded)
    for only in (domain, np.full_like(domain, 2)):
        wanted = probabilities(made, whole(shared, items, only))
        np.testing.assert_allclose(found(shared, items, only), wanted, rtol=0, atol=1e-6)
        plain = Plain(made, columns(SCHEMA, "item"))(shared, items, only)
        np.testing.assert_array_equal(plain, wanted)


def test_before_the_first_search():
    made = model(searched=False)
    shared, items, domain = candidates()
    found = folded.Folded(made)(shared, items, domain)
    wanted = probabilities(made, whole(shared, items, domain))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)


def test_histories_of_items_take_the_plain_way():
    features = (
        *SCHEMA.features,
        Feature(name="tags", kind="history", size=4, role="item", length=2),
    )
    made = AREAD(AREAD.Config(**SMALL), Schema(features=features, domains=("a",)))
    assert isinstance(scorer(made, columns(made.schema, "item")), Plain)


def test_without_onnx_runtime_the_plain_way(monkeypatch):
    made = model()
    monkeypatch.setattr(folded, "can_compute", lambda: False)
    assert isinstance(scorer(made, columns(SCHEMA, "item")), Plain)


def test_it_can_compute_where_both_packages_are_there(monkeypatch):
    assert graph.can_compute()
    monkeypatch.setattr(graph, "find_spec", lambda name: None if name == "onnxruntime" else name)
    assert not graph.can_compute()
