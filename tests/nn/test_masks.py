"""Masks against walks over a graph and sets of edges, for any shape that hypothesis thinks of."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.nn import masks
from tests.oracles import plain_masks

fast = settings(max_examples=60, deadline=None)
widths = st.lists(st.integers(1, 5), min_size=2, max_size=5)
seeds = st.integers(0, 2**31)
shares = st.floats(0, 1)


def random_mask(sizes, share, seed, *lead):
    g = torch.Generator().manual_seed(seed)
    pairs = itertools.pairwise(sizes)
    return [torch.rand(*lead, s, t, generator=g) < share for s, t in pairs]


def random_weight(mask, seed):
    g = torch.Generator().manual_seed(seed)
    return [torch.rand(level.shape, generator=g) for level in mask]


@fast
@given(widths, shares, seeds)
def test_repaired_keeps_exactly_the_edges_on_a_path_w7(sizes, share, seed):
    """Published: an inner loop overwrote its own index; from 4 levels on, edges led nowhere."""
    mask = random_mask(sizes, share, seed)
    assert plain_masks.edges(masks.repaired(mask)) == plain_masks.on_a_path(mask)


@fast
@given(shares, seeds)
def test_repaired_is_valid_at_five_levels_and_in_batches_w7(share, seed):
    batch = random_mask([2, 3, 4, 3, 2], share, seed, 6)
    before = [level.clone() for level in batch]
    repaired = masks.repaired(batch)
    for n in range(6):
        one = [level[n] for level in batch]
        assert plain_masks.edges([level[n] for level in repaired]) == plain_masks.on_a_path(one)
    assert all(torch.equal(a, b) for a, b in zip(batch, before, strict=True)), "input changed"


def test_repaired_by_hand():
    lower = torch.tensor([[1, 1], [0, 0]], dtype=torch.bool)  # both read source 0
    upper = torch.tensor([[1, 0], [0, 0]], dtype=torch.bool)  # only source 0 is read
    assert plain_masks.edges(masks.repaired([lower, upper])) == {(0, 0, 0), (1, 0, 0)}


@fast
@given(widths, shares, seeds)
def test_active_experts_are_those_on_a_path(sizes, share, seed):
    mask = masks.repaired(random_mask(sizes, share, seed))
    kept = plain_masks.on_a_path(mask)
    for level, used in enumerate(masks.active(mask, sizes)):
        below = {t for n, _, t in kept if n == level - 1}
        above = {s for n, s, _ in kept if n == level}
        assert set(used.nonzero()[:, 0].tolist()) == below | above
    assert bool(masks.has_output(mask)) == bool(kept)


@fast
@given(widths, shares, shares, seeds)
def test_keep_strongest_equals_sorting_w6(sizes, kept, share, seed):
    """Published: one threshold for all levels left the narrow ones untouched; each has its share."""
    mask = masks.repaired(random_mask(sizes, kept, seed))
    weight = random_weight(mask, seed + 1)
    chosen = plain_masks.strongest(mask, weight, share)
    for number, level in enumerate(mask):
        wanted = min(int(level.sum()), max(1, round(share * level.numel())))
        assert sum(n == number for n, _, _ in chosen) == wanted
    loose = [torch.zeros_like(level) for level in mask]
    for n, s, t in chosen:
        loose[n][s, t] = True
    expected = plain_masks.on_a_path(loose) or plain_masks.edges(mask)
    assert plain_masks.edges(masks.keep_strongest(mask, weight, share)) == expected


def test_each_level_keeps_its_own_share_w6():
    """Published: nominally 66.5 % kept, in fact 97 % of the lower level and 67 % of the upper."""
    torch.manual_seed(0)
    mask = [torch.ones(3, 6, dtype=torch.bool), torch.ones(6, 12, dtype=torch.bool)]
    gates = [torch.randn(3, 6).softmax(0), torch.randn(6, 12).softmax(0)]
    kept = masks.keep_strongest(mask, masks.importance(gates), 2 / 3)
    for level, before in zip(kept, mask, strict=True):
        assert level.sum() / before.numel() == pytest.approx(2 / 3, abs=0.1)
    torch.testing.assert_close(masks.importance(gates)[1].mean(), torch.tensor(1.0))


@fast
@given(widths, shares, shares, seeds)
def test_flipped_keeps_the_number_of_edges_and_flips_both_ways(sizes, kept, share, seed):
    """Published: edges were only ever added while the mask was sparse (1.10, row 5)."""
    mask = random_mask(sizes, kept, seed)
    new = masks.flipped(mask, torch.tensor(share), torch.Generator().manual_seed(seed))
    for before, after in zip(mask, new, strict=True):
        number, absent = int(before.sum()), int((~before).sum())
        wanted = min(int(torch.tensor(share * number).round()), absent)
        assert abs(int((before & ~after).sum()) - wanted) <= 1  # a half may round either way
        assert (before & ~after).sum() == (~before & after).sum()
        assert after.sum() == before.sum()


def test_every_edge_can_be_flipped():
    mask = [torch.eye(4, dtype=torch.bool)]
    g = torch.Generator().manual_seed(0)
    flips = torch.stack(
        [masks.flipped(mask, torch.tensor(0.5), g)[0] ^ mask[0] for _ in range(400)]
    )
    rate = flips.double().mean(0)
    assert rate[mask[0]].mean() == pytest.approx(0.5)
    assert rate[mask[0]].min() > 0.35
    assert rate[~mask[0]].min() > 0.08
    assert rate[~mask[0]].mean() == pytest.approx(2 / 12)


@fast
@given(widths, shares, seeds)
def test_overlap_equals_sets(sizes, share, seed):
    mask = random_mask(sizes, share, seed, 4)
    overlap = masks.overlap(mask)
    for a in range(4):
        for b in range(4):
            one, other = ([level[n] for level in mask] for n in (a, b))
            assert float(overlap[a, b]) == pytest.approx(plain_masks.jaccard(one, other))


@fast
@given(widths, shares, seeds)
def test_density_counts_edges(sizes, share, seed):
    mask = random_mask(sizes, share, seed)
    total = sum(level.numel() for level in mask)
    assert float(masks.density(mask)) == pytest.approx(len(plain_masks.edges(mask)) / total)
