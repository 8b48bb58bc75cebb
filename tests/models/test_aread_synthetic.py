"""AREAD on the synthetic source: masks agree more within a planted cluster than between clusters."""

import numpy as np
import pytest
import torch

from isthmus import models
from isthmus.data.feed import Feed
from isthmus.data.prepare import prepare
from isthmus.data.sources import get
from isthmus.data.sources.synthetic import read_truth
from isthmus.nn import masks
from isthmus.training.fit import TrainConfig, fit

SEARCH = {"first": 320, "every": 128, "flips": 0.05, "batch_size": 256, "candidates": 6}


def found_masks(folder, seed):
    """Domain masks after eight epochs, and which pairs of domains share a planted cluster."""
    made = get("synthetic")(
        folder / "raw",
        rows=40_000,
        domains=12,
        clusters=3,
        harmful_pairs=0,
        users=40,
        items=40,
        seed=seed,
    )
    prepared, truth = prepare(made, folder / "prepared"), read_truth(folder / "raw")
    torch.manual_seed(seed)
    kind = models.get("aread")
    # Heads of a domain's own would carry what tells domains apart past the hierarchy.
    config = kind.Config(
        embedding_dim=16,
        bottom_hidden=(64, 32),
        bottom_experts=2,
        domain_head=False,
        search=SEARCH,
    )
    model = kind(config, prepared.schema)
    feed = Feed(
        prepared.impressions("train"),
        batch_size=500,
        seed=seed,
        valid=prepared.impressions("valid"),
        unknown_share=0.01,
    )
    epochs = iter(range(100))  # the last epoch counts as the best: its masks are looked at
    fit(
        model,
        feed,
        lambda _: float(next(epochs)),
        TrainConfig(lr=1e-2, max_epochs=8, patience=99),
    )
    places = [truth.domains.index(name) for name in prepared.schema.domains]
    cluster = np.array(truth.cluster)[places]
    return [level[1:] for level in model.hierarchy.mask], cluster[:, None] == cluster


def separation(overlap, related):
    """P(overlap of a related pair > of an unrelated one), ties half, and the ratio of their means."""
    pairs = np.triu_indices(len(overlap), 1)
    values, same = overlap[pairs], related[pairs]
    one, other = values[same], values[~same]
    wins = (one[:, None] > other).mean() + 0.5 * (one[:, None] == other).mean()
    return wins, one.mean() / other.mean()


@pytest.mark.slow
def test_masks_overlap_more_within_a_planted_cluster(tmp_path):
    """The paper's mask analysis, where the answer is known; chance would give .5 and 1."""
    wins, ratios = [], []
    for seed in range(6):
        mask, related = found_masks(tmp_path / str(seed), seed)
        win, ratio = separation(masks.overlap(mask).numpy(), related)
        wins.append(win)
        ratios.append(ratio)
    error = np.std(ratios, ddof=1) / len(ratios) ** 0.5
    assert np.mean(ratios) - 2 * error > 1.05, ratios
    assert min(ratios) > 1, ratios
    assert np.mean(wins) > 0.65, wins


def test_masks_that_know_nothing_of_clusters_do_not_separate_them():
    """The measure itself: random masks stay at chance."""
    rng = torch.Generator().manual_seed(0)
    related = np.arange(30)[:, None] % 3 == np.arange(30) % 3
    mask = [torch.rand(30, 3, 6, generator=rng) < 0.6, torch.rand(30, 6, 12, generator=rng) < 0.6]
    win, ratio = separation(masks.overlap(mask).numpy(), related)
    assert win == pytest.approx(0.5, abs=0.1)
    assert ratio == pytest.approx(1.0, abs=0.03)
