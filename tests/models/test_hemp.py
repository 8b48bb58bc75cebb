"""The mask search against a plain loop over candidates, and what it must leave alone."""

import itertools

import pytest
import torch

from isthmus.models.hemp import Draws, SearchConfig, StackedHead, candidates, search_domain
from isthmus.nn import masks
from tests.models.test_aread_oracle import build, rows
from tests.oracles import plain_aread, plain_search

DOMAIN = 2


def batches(number, seed, size=64):
    """Batches of one domain."""
    drawn = []
    for n in range(number):
        batch = rows(6 * size, seed * 100 + n, unknown=0)
        drawn.append(batch[(batch.domain == DOMAIN).nonzero()[:, 0]])
    return drawn


def search(model, config, fit, score, seed=0):
    draws = Draws(itertools.cycle(fit), itertools.cycle(score))
    rng = torch.Generator().manual_seed(seed)
    return search_domain(
        model.hierarchy,
        model.head,
        DOMAIN,
        model.embed.domain.weight.detach(),
        model._frozen_inputs,
        draws,
        config,
        rng,
    )


def starts(model, config, seed=0):
    """The masks that the same search starts from."""
    present = [level[DOMAIN] for level in model.hierarchy.mask]
    gates = model.hierarchy.gates(model.embed.domain.weight.detach(), masked=not config.regrow)
    gates = [g[DOMAIN].detach() for g in gates]
    start = candidates(present, gates, config, torch.Generator().manual_seed(seed))
    if config.incumbent and model.hierarchy.searched:
        start = [torch.cat([p[None], s[1:]]) for p, s in zip(present, start, strict=True)]
    return start


@pytest.mark.parametrize("experts", [(3, 4), (3, 6, 12), (2, 5, 4, 3)], ids=str)
@pytest.mark.parametrize("masked", [True, False], ids=["later search", "first search"])
def test_search_equals_a_plain_loop_over_candidates(experts, masked):
    """W2, W5: gates are read from the present table, and all are scored on the same batches."""
    model = build(experts, masked=masked).eval()
    config = SearchConfig(candidates=4, updates=3, scorings=2, lr=3e-3)
    fit, score = batches(3, seed=1), batches(2, seed=2)
    mask, loss_Z = search(model, config, fit, score)
    plain_masks, plain_losses = plain_search.search(
        plain_aread.like(model),
        DOMAIN,
        starts(model, config),
        fit,
        score,
        config,
        keeps_first=masked,
    )
    torch.testing.assert_close(loss_Z.double(), plain_losses, rtol=1e-4, atol=1e-6)
    best = int(plain_losses.argmin())
    for level, expected in zip(mask, plain_masks[best], strict=True):
        assert torch.equal(level, expected)
    assert len({tuple(torch.cat([x.flatten() for x in m]).tolist()) for m in plain_masks}) > 1
