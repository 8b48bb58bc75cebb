"""The calibration shift: by hand, by a slow version, and at its nominal error rate."""

import math

import numpy as np
import pytest
from scipy import stats

from isthmus.evaluation import Predictions, Rules, Shift
from isthmus.evaluation.calibration import calibration_shifts
from isthmus.evaluation.panel import Panel
from tests.evaluation.oracles import table


def shifts(joint, isolated, rules=Rules()):
    return calibration_shifts(Panel.of(joint[0]), joint, isolated, rules)


def scored(rng, rows=400, *, times=1.0, rate=0.3, domain=1, seed_noise=0.0):
    """Labels of varying rate; scores that promise ``times`` their probability."""
    chance = rng.uniform(0.2 * rate, 1.8 * rate, rows)
    label = (rng.random(rows) < chance).astype(np.int8)
    score = np.clip(chance * times * math.exp(rng.normal(0, seed_noise)), 0, 1)
    return label, score, np.full(rows, domain)


def test_ratios_are_sums_of_scores_by_sums_of_labels():
    rng = np.random.default_rng(0)
    label, score, domain = scored(rng)
    other = np.clip(score * 1.3, 0, 1)
    joint, isolated = (table(label, s, domain=domain) for s in (other, score))
    found = shifts([joint], [isolated])["a"]
    assert found.joint.value == pytest.approx(other.sum() / label.sum())
    assert found.isolated.value == pytest.approx(score.sum() / label.sum())
    assert found.shift.value == pytest.approx(other.sum() / score.sum())


def slow_interval(seeds, user):
    """exp(mean log ratio +- t se), a user at a time; ``seeds``: pairs of summed columns, each [N]."""
    logs = [math.log(sum(a) / sum(b)) for a, b in seeds]
    users = sorted(set(user))
    shares = [
        np.mean([sum(a[user == u]) / sum(a) - sum(b[user == u]) / sum(b) for a, b in seeds])
        for u in users
    ]
    count, number = len(users), len(seeds)
    rows = count / (count - 1) * sum(s * s for s in shares)
    between = np.var(logs, ddof=1) / number if number > 1 else 0.0
    total = rows + between
    parts = rows**2 / (count - 1) + (between**2 / (number - 1) if number > 1 else 0.0)
    half = stats.t.ppf(0.975, total**2 / parts) * math.sqrt(total)
    mean = float(np.mean(logs))
    return [math.exp(mean + side * half) for side in (-1, 0, 1)]


@pytest.mark.parametrize("seeds", [1, 3])
def test_intervals_are_those_of_a_slow_version(seeds):
    rng = np.random.default_rng(seeds)
    label, score, domain = scored(rng)
    user = rng.integers(0, 60, len(label))
    arms = [
        [np.clip(score * rng.uniform(0.6, 1.4) * rng.uniform(0.8, 1.2, len(label)), 0, 1)
         for _ in range(seeds)] for _ in range(2)
    ]  # fmt: skip
    tables = [[table(label, s, domain=domain, user=user) for s in arm] for arm in arms]
    found = shifts(*tables)["a"]
    for interval, pairs in (
        (found.shift, list(zip(*arms, strict=True))),
        (found.joint, [(s, label.astype(float)) for s in arms[0]]),
        (found.isolated, [(s, label.astype(float)) for s in arms[1]]),
    ):
        assert [interval.low, interval.value, interval.high] == pytest.approx(
            slow_interval(pairs, user)
        )


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ((1.5, 1.0), Shift.farther),
        ((1.0, 1.5), Shift.nearer),
        ((0.6, 0.97), Shift.farther),
        ((1.0, 1.0), Shift.none),
    ],
)
def test_who_promises_what_comes_true(times, said):
    rng = np.random.default_rng(4)
    label, score, domain = scored(rng, 3000)
    joint, isolated = (table(label, np.clip(t * score, 0, 1), domain=domain) for t in times)
    assert shifts([joint], [isolated])["a"].verdict == said


def test_a_shift_that_labels_cannot_place_is_only_a_shift():
    """30 positives tell neither of two promises 6 % apart to be wrong; the shift itself is certain."""
    rng = np.random.default_rng(1)
    label, score, domain = scored(rng, 100)
    score = score * label.sum() / score.sum()
    joint, isolated = (table(label, s, domain=domain) for s in (score * 1.03, score * 0.97))
    found = shifts([joint], [isolated])["a"]
    assert found.p_adjusted < 0.001
    assert found.verdict == Shift.moved


def test_what_cannot_be_tested_says_why():
    rng = np.random.default_rng(2)
    label, score, domain = scored(rng, 60)
    domain[label == 1] = np.where(np.arange(label.sum()) < 4, 1, 2)
    found = shifts(*[[table(label, s, domain=domain)] for s in (score, score / 2)])
    assert found["a"].verdict == Shift.not_measurable
    assert found["a"].reason.startswith("4 positives among")
    assert found["b"].reason.startswith("no negatives among")
    assert found["c"].reason == "no rows in this split"
    user = np.zeros(len(label), int)
    one = shifts(*[[table(label, s, domain=1 + 0 * domain, user=user)] for s in (score, score / 2)])
    assert one["a"].reason == "all rows are of one user"
    none = shifts([table(label, 0 * score, domain=1 + 0 * domain)], [table(label, score, domain=1 + 0 * domain)])  # fmt: skip
    assert none["a"].reason == "a model scores all rows 0"


def test_false_alarms_stay_at_alpha():
    """Two promises with independent noise a user, no shift in truth: one table in twenty at most."""
    rng = np.random.default_rng(7)
    alarms, worlds = 0, 300
    for _ in range(worlds):
        label = (rng.random(180) < 0.4).astype(np.int8)
        domain, user = np.repeat([1, 2, 3], 60), np.arange(180) // 3
        noise = [np.exp(rng.normal(0, 0.3, 60))[user] for _ in range(2)]
        arms = [[table(label, 0.3 * n.clip(0, 3), domain=domain, user=user)] for n in noise]
        found = shifts(*arms, Rules(min_class=2)).values()
        alarms += any(one.p_adjusted is not None and one.p_adjusted < 0.05 for one in found)
    assert stats.binomtest(alarms, worlds, 0.05, alternative="greater").pvalue > 0.001
    assert alarms > 0


def test_the_order_of_rows_and_equal_models_change_nothing():
    rng = np.random.default_rng(5)
    label, score, domain = scored(rng)
    one = table(label, score, domain=domain)
    order = rng.permutation(len(one))
    other = Predictions(one.row, one.domain, one.user, one.label, one.score**1.1, one.domains)
    assert shifts([one], [other])["a"] == shifts([one.take(order)], [other.take(order)])["a"]
    same = shifts([one], [one])["a"]
    assert (same.verdict, same.p_value, same.shift.value) == (Shift.none, 1.0, 1.0)
