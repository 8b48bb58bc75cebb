"""Paired tests of means over domains: their values, their variance, their rate of false alarms."""

import numpy as np
import pytest

from isthmus.evaluation import compare, compare_means, evaluate
from isthmus.evaluation.aggregate import AGGREGATES
from isthmus.evaluation.panel import Arm, Panel
from tests.evaluation.oracles import households, squash, table

DOMAINS = 12
SIZES = {f"d{i + 1}": 10 * (DOMAINS - i) for i in range(DOMAINS)}


def two_models(rng, users, seeds=1, noise=0.0, drift=0.0, better=0.0):
    """Models a and b over domains of uneven size; ``better`` is the noise that a has less.

    ``noise`` is a seed's on each row, ``drift`` that of its quality as a whole.
    """
    user, label, signal = households(rng, users)
    chance = 1 / np.arange(1, DOMAINS + 1) ** 0.5
    domain = 1 + rng.choice(DOMAINS, size=len(user), p=chance / chance.sum())
    arms = []
    for gain in (better, 0.0):
        own = rng.normal(size=users)[user] + 0.5 * rng.normal(size=len(user))
        scores = [
            (1 + drift * rng.normal()) * signal
            + (1 - gain) * own
            + noise * rng.normal(size=len(user))
            for _ in range(seeds)
        ]
        arms.append(
            [
                table(label, squash(score), domain=domain, user=user, domains=list(SIZES))
                for score in scores
            ]
        )
    return arms


def means_of(a, b):
    panel = Panel.of(a[0])
    return compare_means(panel, Arm.of(panel, a), Arm.of(panel, b), sizes=SIZES)


def test_values_are_the_differences_of_what_evaluate_says():
    a, b = two_models(np.random.default_rng(0), 200, seeds=3, noise=0.3)
    found = means_of(a, b)
    assert set(found) == set(AGGREGATES)
    for name in AGGREGATES:
        one, other = (
            np.mean([getattr(evaluate(p, sizes=SIZES), name) for p in arm]) for arm in (a, b)
        )
        assert found[name].value.value == pytest.approx(one - other, abs=1e-12), name


def test_domain_auc_is_that_of_compare():
    a, b = two_models(np.random.default_rng(1), 200, seeds=2, noise=0.3)
    found, known = means_of(a, b)["domain_auc"], compare(a, b)
    assert found.value == known.overall
    assert found.p_value == known.overall_p_value


@pytest.mark.parametrize("name", ["domain_auc", "minor10"])
def test_the_variance_is_that_of_drawing_users_anew(name):
    """Bootstrap over users, of the figures that ``evaluate`` gives for the drawn rows."""
    a, b = (arm[0] for arm in two_models(np.random.default_rng(2), 150))
    rng, drawn = np.random.default_rng(3), []
    users = np.unique(a.user)
    for _ in range(300):
        times = np.bincount(rng.integers(len(users), size=len(users)), minlength=len(users))
        which = np.repeat(np.arange(len(a)), times[a.user])
        both = [
            table(
                p.label[which],
                p.score[which],
                domain=p.domain[which],
                user=p.user[which],
                domains=p.domains,
            )
            for p in (a, b)
        ]
        one, other = (getattr(evaluate(p, sizes=SIZES), name) for p in both)
        drawn.append(one - other)
    interval = means_of([a], [b])[name].value
    error = (interval.high - interval.low) / 2 / 1.98  # Student's t with about 100 users
    assert error == pytest.approx(np.std(drawn), rel=0.2)


@pytest.mark.parametrize(("seeds", "noise", "drift"), [(1, 0.0, 0.0), (3, 0.3, 0.0), (3, 0.3, 0.3)])
def test_false_alarms_are_as_rare_as_promised(seeds, noise, drift):
    """Models that are equally good: p < .05 in one of twenty worlds, whatever the mean."""
    rng, trials, alarms = np.random.default_rng(4), 400, []
    for _ in range(trials):
        found = means_of(*two_models(rng, 120, seeds, noise, drift))
        alarms.append([found[name].p_value < 0.05 for name in ("domain_auc", "minor10")])
    allowed = 0.05 + 3 * (0.05 * 0.95 / trials) ** 0.5
    for name, rate in zip(("domain_auc", "minor10"), np.mean(alarms, axis=0), strict=True):
        assert 0.005 < rate < allowed, (name, rate)


def test_a_better_model_is_found():
    rng, found = np.random.default_rng(5), []
    for _ in range(40):
        result = means_of(*two_models(rng, 300, seeds=3, noise=0.2, better=0.6))
        found.append([result[name].p_value < 0.05 for name in ("domain_auc", "minor10")])
        assert result["domain_auc"].value.value > 0
    assert (np.mean(found, axis=0) > 0.8).all()


def test_minor10_is_blind_to_the_largest_domains():
    a, _ = two_models(np.random.default_rng(6), 300)
    p = a[0]
    large = p.domain <= DOMAINS - 10
    spoiled = table(
        p.label, np.where(large, 1 - p.score, p.score), domain=p.domain, user=p.user,
        domains=p.domains,
    )  # fmt: skip
    found = means_of([p], [spoiled])
    assert found["minor10"].value.value == 0
    assert found["minor10"].p_value == 1
    assert found["domain_auc"].p_value < 1e-3


def test_means_of_too_few_domains_are_left_out():
    a, b = two_models(np.random.default_rng(7), 100)
    few = [[p.take(p.domain <= 6) for p in arm] for arm in (a, b)]
    assert set(means_of(*few)) == {"domain_auc", "major5", "minor5"}
    one_class = [[p.take(p.label == 1) for p in arm] for arm in (a, b)]
    assert means_of(*one_class) == {}
