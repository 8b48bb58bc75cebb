"""Variances against loops, resampling and simulation; intervals against their nominal level."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from isthmus.evaluation.ranking import Ranked
from isthmus.evaluation.variance import (
    Estimate,
    auc_interval,
    clustered,
    detectable,
    difference_interval,
    over_seeds,
    p_value,
)
from tests.evaluation.oracles import households, pair_delong, pair_obuchowski


def world(seed, users=40):
    rng = np.random.default_rng(seed)
    user, label, signal = households(rng, users)
    noise = rng.normal(size=users)[user] + 0.5 * rng.normal(size=len(user))
    noisy = np.round(2 * (signal + noise)) / 2  # with ties
    return user, label, signal, noisy


def estimate_of(label, score, user):
    ranked = Ranked.of(label, score)
    variance, units = clustered(ranked.influence(), label, user)
    return Estimate(ranked.auc, variance, units - 1, units)


def within(share, nominal, trials):
    """Three binomial standard errors."""
    return abs(share - nominal) <= 3 * math.sqrt(nominal * (1 - nominal) / trials)


def test_delong_by_hand():
    # V10 = V01 = (1, .75): variance .03125 each, over 2
    label, score = np.array([1, 1, 0, 0], np.int8), np.array([3.0, 2.0, 1.0, 2.0])
    variance, units = clustered(Ranked.of(label, score).influence(), label, None)
    assert (variance, units) == (pytest.approx(0.03125), 2)


def test_row_variance_is_delongs():
    _, label, score, other = world(0)
    one, two = Ranked.of(label, score).influence(), Ranked.of(label, other).influence()
    assert clustered(two, label, None)[0] == pytest.approx(pair_delong(label, other))
    assert clustered(one - two, label, None)[0] == pytest.approx(pair_delong(label, score, other))


def test_user_variance_is_obuchowskis():
    user, label, _, score = world(1)
    share = Ranked.of(label, score).influence()
    variance, units = clustered(share, label, user)
    assert variance == pytest.approx(pair_obuchowski(label, score, user))
    assert units == min(len(set(user[label == 1])), len(set(user[label == 0])))
    gaps = clustered(share, label, 7 * user + 3)  # codes may have gaps
    assert gaps == (pytest.approx(variance), units)


def test_one_row_a_user_is_delong():
    _, label, _, score = world(2)
    share, alone = Ranked.of(label, score).influence(), np.arange(len(label))
    assert clustered(share, label, alone)[0] == pytest.approx(clustered(share, label, None)[0])


def test_user_variance_is_that_of_drawing_users_anew():
    user, label, _, score = world(3, users=150)
    rng = np.random.default_rng(0)
    of_user = [np.flatnonzero(user == u) for u in range(150)]
    drawn = []
    for _ in range(800):
        rows = np.concatenate([of_user[u] for u in rng.integers(150, size=150)])
        drawn.append(roc_auc_score(label[rows], score[rows]))
    by_formula = clustered(Ranked.of(label, score).influence(), label, user)[0]
    assert math.sqrt(by_formula) == pytest.approx(np.std(drawn, ddof=1), rel=0.1)
    by_row = clustered(Ranked.of(label, score).influence(), label, None)[0]
    assert math.sqrt(by_row) < 0.9 * np.std(drawn, ddof=1)  # negative control


@pytest.mark.parametrize("labels", [[1, 0, 0, 0], [1, 1, 1, 0]])
def test_one_user_of_a_class_has_no_variance(labels):
    label = np.array(labels, np.int8)
    variance, units = clustered(Ranked.of(label, np.arange(4.0)).influence(), label, np.arange(4))
    assert math.isnan(variance)
    assert units == 1


def test_coverage_with_independent_rows():
    """Scores N(1, 1) and N(0, 1): the AUC is Phi(1 / sqrt 2)."""
    rng, truth, hits, trials = np.random.default_rng(4), stats.norm.cdf(1 / math.sqrt(2)), 0, 1000
    for _ in range(trials):
        label = (np.arange(90) < 30).astype(np.int8)
        interval = auc_interval(estimate_of(label, rng.normal(size=90) + label, None))
        hits += interval.low <= truth <= interval.high
    assert within(hits / trials, 0.95, trials)


def coverage_with_households(cluster, trials=600, users=120):
    """A user's rows share a label and half of the score's variance: the AUC is Phi(1 / sqrt 2)."""
    rng, truth, hits = np.random.default_rng(5), stats.norm.cdf(1 / math.sqrt(2)), 0
    for _ in range(trials):
        user = np.repeat(np.arange(users), 5)
        label = (rng.random(users) < 0.4).astype(np.int8)[user]
        noise = rng.normal(size=users)[user] + rng.normal(size=len(user))
        estimate = estimate_of(label, noise / math.sqrt(2) + label, user if cluster else None)
        interval = auc_interval(estimate)
        hits += interval.low <= truth <= interval.high
    return hits / trials


def test_coverage_with_households():
    assert within(coverage_with_households(cluster=True), 0.95, 600)
    assert coverage_with_households(cluster=False) < 0.85  # rows alone promise too much


@pytest.mark.parametrize(
    ("value", "variance", "units"),
    [(1.0, 0.0, 5), (0.0, 0.0, 5), (0.7, math.nan, 1), (1.0, math.nan, 1), (0.99, 0.01, 3)],
)
def test_an_interval_stays_within_0_and_1_and_is_never_a_point(value, variance, units):
    interval = auc_interval(Estimate(value, variance, max(units - 1, 1), units))
    assert 0 <= interval.low <= value <= interval.high <= 1
    assert interval.high - interval.low > 0.1


def test_a_perfect_auc_has_wilsons_interval():
    # all of 10 won: low end n / (n + z^2)
    assert auc_interval(Estimate(1.0, 0.0, 9, 10)).low == pytest.approx(10 / (10 + 1.959964**2))


def test_a_constant_score_is_a_half_for_certain():
    label = np.array([1, 0] * 20, np.int8)
    interval = auc_interval(estimate_of(label, np.full(40, 0.2), None))
    assert (interval.low, interval.value, interval.high) == (0.5, 0.5, 0.5)


def test_seeds_by_hand():
    estimate = over_seeds(np.array([0.1, 0.2, 0.3]), 0.0004, 101)
    assert estimate.value == pytest.approx(0.2)
    assert estimate.variance == pytest.approx(0.0004 + 0.01 / 3)
    between = 0.01 / 3
    freedom = estimate.variance**2 / (0.0004**2 / 100 + between**2 / 2)
    assert estimate.freedom == pytest.approx(freedom)


def test_difference_by_hand():
    estimate = Estimate(0.02, 0.0001, 1e9, 1000)  # t is normal
    assert p_value(estimate) == pytest.approx(2 * stats.norm.sf(2))
    interval = difference_interval(estimate)
    assert interval.low == pytest.approx(0.02 - 1.959964 * 0.01)
    assert interval.high == pytest.approx(0.02 + 1.959964 * 0.01)
    assert detectable(estimate, 0.05) == pytest.approx((1.959964 + 0.841621) * 0.01, rel=1e-5)


def test_the_detectable_difference_is_found_four_times_in_five():
    rng, error, trials = np.random.default_rng(6), 0.013, 4000
    smallest = detectable(Estimate(0.0, error**2, 200, 201), 0.01)
    found = [
        p_value(Estimate(value, error**2 * chi / 200, 200, 201)) < 0.01
        for value, chi in zip(
            rng.normal(smallest, error, trials), rng.chisquare(200, trials), strict=True
        )
    ]
    assert within(np.mean(found), 0.8, trials)


def test_equal_models_differ_by_nothing():
    estimate = Estimate(0.0, 0.0, 9, 10)
    assert p_value(estimate) == 1.0
    assert difference_interval(estimate).low == difference_interval(estimate).high == 0.0


def test_a_difference_without_variance_is_not_certain():
    """All of 10 against 10 rows gained: exactly, 2 of 184,756 orders are as extreme."""
    p = p_value(Estimate(0.5, 0.0, 9, 10))
    assert 2 / 184_756 / 10 < p < 0.01


def test_an_unknown_variance_has_the_widest_interval():
    interval = difference_interval(Estimate(0.1, math.nan, 1, 1))
    assert (interval.low, interval.high) == (-1.0, 1.0)
