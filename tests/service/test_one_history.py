"""The query of one history against the forward pass of the whole model."""

import numpy as np
import pytest
import torch

from isthmus.batch import Histories
from isthmus.models import get
from isthmus.schema import Schema
from isthmus.service import one_history
from isthmus.service.one_history import OneHistory
from isthmus.service.retrieval import Search
from tests.models.random_weights import randomise

SCHEMA = Schema(features=(), domains=("a", "b", "c"), items=30, max_history=7)
KINDS = {
    "sasrec": ("sasrec", {}),
    "one layer": ("sasrec", {"layers": 1}),
    "norms after": ("sasrec", {"pre_norm": False, "layers": 3}),
    "blind to domains": ("sasrec", {"domain_blind": True}),
    "cosine": ("sasrec", {"cosine": True}),
    "syncrec": ("syncrec", {}),
    "one head": ("syncrec", {"heads": 1, "num_experts": 2}),
    "one layer of experts": ("syncrec", {"layers": 1, "pre_norm": False}),
}


def model(name, **changes):
    torch.manual_seed(3)
    settings = {"embedding_dim": 8, "heads": 2, **changes}
    return randomise(get(name)(get(name).Config(**settings), SCHEMA))


@pytest.mark.parametrize("length", [1, 5, 7, 12])
@pytest.mark.parametrize(("name", "changes"), KINDS.values(), ids=KINDS)
def test_the_query_of_the_forward_pass_for_every_domain(name, changes, length):
    made = model(name, **changes)
    draw = np.random.default_rng(length)
    item, domain = draw.integers(1, 30, length), draw.integers(1, 4, length)
    newest = slice(max(0, length - 7), None)
    items, domains = (torch.from_numpy(ids[newest])[None] for ids in (item, domain))
    found = Search(made).by_domain((item, domain), [0, 1, 3])
    for asked, query in found.items():
        row = Histories(items, domains, torch.zeros(1).long(), torch.tensor([asked]))
        with torch.inference_mode():
            wanted = made(row)[0].numpy()
        # a cosine is compared as one: divided by its temperature it is 20 times as coarse
        unit = made.config.cosine_temperature if made.config.cosine else 1
        np.testing.assert_allclose(unit * query, unit * wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "changes"),
    [("syncrec", {"inference": "both"}), ("sasrec", {"reads": "own"}), ("gru4rec", {})],
)
def test_other_retrievers_take_the_plain_way(name, changes):
    made = randomise(get(name)(get(name).Config(embedding_dim=8, **changes), SCHEMA))
    assert not OneHistory.fits(made)


def test_without_onnx_runtime_the_plain_way(monkeypatch):
    made = model("syncrec")
    past = (np.array([3, 5]), np.array([1, 2]))
    quick = Search(made).by_domain(past, [1])[1]
    monkeypatch.setattr(one_history, "can_compute", lambda: False)
    assert not OneHistory.fits(made)
    np.testing.assert_allclose(Search(made).by_domain(past, [1])[1], quick, rtol=1e-5, atol=1e-6)
