"""Two domains that inform each other and one of noise: the running gap says which is which."""

import pytest
import torch

from isthmus.batch import Histories
from isthmus.data.feed import Feed
from isthmus.models.syncrec import SyNCRec
from isthmus.schema import Schema
from isthmus.training.fit import TrainConfig, fit

ITEMS = 12  # of each domain
NOISE = 3
SCHEMA = Schema(
    features=(),
    domains=("a", "b", "noise"),
    items=1 + 3 * ITEMS,
    max_history=15,
    domain_items=(ITEMS,) * 3,
)


def planted(rows, seed):
    """A hidden state moves on by one with each event of "a" or "b", whichever; noise has none."""
    g = torch.Generator().manual_seed(seed)
    length = SCHEMA.max_history + 1
    domains = torch.randint(1, 4, (rows, length), generator=g)
    start = torch.randint(ITEMS, (rows, 1), generator=g)
    state = (start + (domains != NOISE).cumsum(1)) % ITEMS
    chance = torch.randint(ITEMS, (rows, length), generator=g)
    items = 1 + (domains - 1) * ITEMS + torch.where(domains == NOISE, chance, state)
    return Histories(items[:, :-1], domains[:, :-1], items[:, -1], domains[:, -1])


def trained(seed, **settings):
    torch.manual_seed(seed)
    values = {
        "embedding_dim": 16,
        "num_experts": 3,
        "cross_ratio": 0.6,
        "layers": 1,
        "dropout": 0.0,
        "temperature": 0.5,
        **settings,
    }
    model = SyNCRec(SyNCRec.Config.model_validate(values), SCHEMA)
    feed = Feed(planted(256, seed), batch_size=32, seed=seed)  # type: ignore[arg-type]
    config = TrainConfig(lr=5e-3, max_epochs=10, patience=99)
    fit(model, feed, lambda m: float(m.next_item.step[1]), config)
    return model


def cross_loss(model, seed):
    """Of the two domains that inform each other, on new users."""
    tokens = model.eval().tokens(planted(512, 100 + seed))
    with torch.no_grad():
        loss_N = model.token_losses(model._cross(tokens), tokens.target)
    return loss_N[tokens.domain != NOISE].mean().item()


@pytest.fixture(scope="module")
def pairs():
    """With and without correction, from the same start."""
    return [[trained(seed, correction=c) for c in (True, False)] for seed in range(3)]


def test_the_gap_singles_out_the_noise(pairs):
    for model in (model for pair in pairs for model in pair):
        a, b, noise = model.gap_D[1:].tolist()
        assert min(a, b) > 0.4, "sharing helps both"
        assert abs(noise) < 0.1, "and has nothing to give to noise"


def test_the_noise_loses_its_weight(pairs):
    for model, _ in pairs:
        weight_D = model._weights(torch.zeros(2, 3), torch.tensor([1, 2, 3]))
        assert weight_D[NOISE] < 0.5
        assert weight_D[1:3].min() > 1


def test_the_others_do_better_for_it(pairs):
    losses = [[cross_loss(model, seed) for model in pair] for seed, pair in enumerate(pairs)]
    assert all(corrected < plain for corrected, plain in losses)
