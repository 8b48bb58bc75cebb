"""Counterfactual augmentation against hand-worked cases and the published formulas."""

import math

import numpy as np
import pytest
from scipy.stats import chisquare

from isthmus.data.augment import (
    AugmentConfig,
    counterfactual,
    item_popularity,
    target_probabilities,
)
from isthmus.errors import DataError


def planted(rows: int = 10_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Six domains: 1 and 2 major, 3 between, 4 to 6 minor (at 2 %), 400 items."""
    rng = np.random.default_rng(seed)
    domain = rng.choice([1, 2, 3, 4, 5, 6], rows, p=[0.5, 0.435, 0.025, 0.02 * 0.9, 0.015, 0.007])
    item = np.minimum(1 + rng.geometric(0.02, rows), 400)
    label = (rng.random(rows) < 0.3).astype(np.int64)
    return item, domain, label


def draw(columns, seed: int = 1, num_domains: int = 6, **settings):
    config = AugmentConfig(**settings)
    rng = np.random.default_rng(seed)
    return counterfactual(*columns, num_domains=num_domains, config=config, rng=rng)


def test_hand_worked_case():
    # 20 rows: domain 1 has 18, domain 2 has 2; limit .1 * 20 = 2 -> 2 is minor; 18 > 3 -> 1 is major
    domain = np.array([1] * 18 + [2] * 2)
    item = np.array([1] * 14 + [2] * 2 + [3] * 2 + [4, 3])
    label = np.array([1] * 14 + [1, 0] + [0, 1] + [1, 1])
    # counts: item 1: 14, 2: 2, 3: 3, 4: 1. Cold at count <= 3: 2, 3, 4.
    # Cold positives of domain 1: row 14 (item 2, weight 1/2) and row 17 (item 3, weight 1/3).
    result = draw((item, domain, label), num_domains=2, cold=3, minor_share=0.1, ratio=0.5)
    assert (result.minor, result.major, result.reason) == ((2,), (1,), "")
    assert len(result.rows) == 10
    assert set(result.rows.tolist()) == {14, 17}
    assert set(result.domain.tolist()) == {2}


def test_rows_are_cold_positives_of_major_domains_and_targets_are_minor():
    item, domain, label = planted()
    result = draw((item, domain, label))
    assert (result.minor, result.major) == ((4, 5, 6), (1, 2))
    assert (label[result.rows] == 1).all()
    assert set(domain[result.rows]) == {1, 2}
    assert set(result.domain) == {4, 5, 6}
    counts = np.bincount(item)
    limit = np.sort(counts[counts > 0])[math.floor(0.5 * ((counts > 0).sum() - 1))]
    assert counts[item[result.rows]].max() <= limit


@pytest.mark.parametrize("kind", ["count", "rate"])
def test_draws_follow_one_over_popularity(kind):
    item, domain, label = planted(2_000)
    cold = 0.2 if kind == "rate" else 30
    config = {"popularity": kind, "cold": cold, "ratio": 1.0}
    rows = np.concatenate([draw((item, domain, label), seed=s, **config).rows for s in range(10)])
    popularity = {}
    for i in set(item.tolist()):  # the formula, item by item
        n = sum(item == i)
        popularity[i] = n if kind == "count" else (sum(label[item == i]) + 1) / (n + 2)
    cold_items = {i for i, p in popularity.items() if (p < cold if kind == "rate" else p <= cold)}
    sources = [
        r for r in range(len(item)) if item[r] in cold_items and label[r] and domain[r] in (1, 2)
    ]
    weight = np.array([1 / popularity[item[r]] for r in sources])
    observed = np.array([(rows == r).sum() for r in sources])
    assert observed.sum() == len(rows)
    assert chisquare(observed, weight / weight.sum() * len(rows)).pvalue > 0.001
    uniform = chisquare(observed, np.full(len(sources), len(rows) / len(sources)))
    assert uniform.pvalue < 1e-6  # and the test could tell


def test_targets_follow_the_published_softmax():
    item, domain, label = planted()
    result = draw((item, domain, label), ratio=1.0)
    sizes = [(domain == d).sum() for d in (4, 5, 6)]
    want = [max(100, (sum(sizes) + 10_000) / 3 - n) for n in sizes]
    q30 = np.quantile(want, 0.3)
    expected = np.array([math.exp(w / q30) for w in want])
    observed = [(result.domain == d).sum() for d in (4, 5, 6)]
    assert chisquare(observed, expected / expected.sum() * 10_000).pvalue > 0.001


def test_softmax_of_one_far_smaller_domain_does_not_overflow():
    # many domains at the top of what is minor want the least (100), one wants 350,000 rows
    sizes = np.array([400_000] * 9 + [10])
    want = np.maximum(100, (sizes.sum() + 1000) / 10 - sizes)
    with np.errstate(over="ignore"):
        assert np.isinf(np.exp(want / np.quantile(want, 0.3))).any()  # the published expression
    probability = target_probabilities(sizes, 1000)
    assert np.isfinite(probability).all()
    assert probability.sum() == pytest.approx(1)
    assert probability.argmax() == 9


@pytest.mark.parametrize(
    ("ratio", "expected"), [(0.05, 500), (0.1, 1000), (0.15, 1500), (0.29, 2900)]
)
def test_ratio_is_exact(ratio, expected):
    assert len(draw(planted(), ratio=ratio).rows) == expected


def test_same_generator_state_same_rows_another_seed_others():
    one, two, other = draw(planted()), draw(planted()), draw(planted(), seed=2)
    assert (one.rows == two.rows).all()
    assert (one.domain == two.domain).all()
    assert (one.rows != other.rows).any()


def test_only_the_rows_that_are_passed_matter():
    item, domain, label = planted()
    train = slice(0, 8_000)
    before = draw((item[train], domain[train], label[train]))
    label[8_000:] = 1 - label[8_000:]  # the labels of later rows change
    item[8_000:] = 7
    after = draw((item[train], domain[train], label[train]))
    assert (before.rows == after.rows).all()
    assert len(before.rows) == 800  # of training rows, not of all


def test_unknown_domain_and_unknown_item_are_never_used():
    item, domain, label = planted()
    domain = np.where(domain == 6, 0, domain)  # unknown and as small as a minor domain
    item = np.where(item > 100, 0, item)
    result = draw((item, domain, label))
    assert result.minor == (4, 5)
    assert (item[result.rows] != 0).all()
    all_unknown = np.zeros_like(domain)
    assert draw((item, all_unknown, label)).reason == "no domain is minor"
    some_unknown = np.where(domain <= 2, 0, domain)  # what was major is unknown
    assert draw((item, some_unknown, label)).reason == "no domain is major"


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ((np.array([1, 2, 3]), np.array([1, 1, 2]), np.array([1, 1, 1])), "no domain is minor"),
        ((np.arange(1, 101), np.arange(100) % 50 + 1, np.ones(100)), "no domain is major"),
        ((np.arange(1, 101), np.array([1] * 99 + [2]), np.zeros(100)), "no positive"),
        ((np.array([1] * 40), np.array([1] * 40), np.array([1] * 40)), "no domain is minor"),
        ((np.array([]), np.array([]), np.array([])), "the ratio asks for no row"),
    ],
)
def test_nothing_to_draw_is_defined_and_explained(columns, reason):
    result = draw(columns, num_domains=50, ratio=0.5)
    assert len(result.rows) == len(result.domain) == 0
    assert result.rows.dtype == result.domain.dtype == np.int64
    assert reason in result.reason


def test_a_domain_between_the_thresholds_is_neither():
    result = draw(planted())
    assert 3 not in result.minor + result.major


def test_a_known_domain_without_rows_is_no_target():
    assert draw(planted(), num_domains=9).minor == (4, 5, 6)


def test_popularity_definitions():
    item, label = np.array([1, 1, 1, 3]), np.array([1, 0, 0, 1])
    assert item_popularity(item, label, "count").tolist() == [0, 3, 0, 1]
    assert item_popularity(item, label, "rate").tolist() == [0, 2 / 5, 0, 2 / 3]


def test_default_threshold_finds_cold_items_whatever_their_counts():
    item, domain, label = (
        np.tile(column, 20) for column in planted()
    )  # no item has 4 rows or less
    assert draw((item, domain, label), cold=4).reason
    assert not draw((item, domain, label)).reason


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([1, 2], [1], [1, 1]), "2 items, 1 domains and 2 labels"),
        (([1, 2], [1, 7], [1, 1]), r"expected 0 \.\. 6"),
        (([1, 2], [1, 1], [1, 2]), "neither 0 nor 1"),
        (([1, -2], [1, 1], [1, 1]), "item id -2"),
    ],
)
def test_wrong_input_is_named(columns, message):
    with pytest.raises(DataError, match=message):
        draw(columns)


def test_rows_of_either_label_when_asked_for() -> None:
    rng = np.random.default_rng(0)
    item, label = rng.integers(1, 50, 4000), rng.integers(0, 2, 4000)
    domain = np.where(rng.random(4000) < 0.01, 2, 1)
    config = AugmentConfig(ratio=0.5, labels="all")
    drawn = counterfactual(item, domain, label, num_domains=2, config=config, rng=rng)
    assert 0.4 < label[drawn.rows].mean() < 0.6
    assert set(domain[drawn.rows]) == {1}
    assert set(drawn.domain) == {2}
