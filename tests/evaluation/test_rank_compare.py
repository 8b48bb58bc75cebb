"""Paired tests of ranks: against the plain t-test, false alarms, users as clusters, refusals."""

import numpy as np
import pytest
from scipy import stats

from isthmus.errors import ConfigError, DataError, MismatchError
from isthmus.evaluation import Rules, Verdict, compare_rank_means, compare_ranks
from isthmus.evaluation.rank_compare import RULES
from isthmus.evaluation.rules import holm
from tests.evaluation.test_ranks import ranks

DRAW = np.random.default_rng(3)
DOMAIN = DRAW.integers(1, 4, 300)
NAMES = ("a", "b", "c", "empty")


def drawn(better=0.0, seed=0, domain=DOMAIN, **columns):
    """Places among 50; in domain 1 nearer the top by ``better``."""
    draw = np.random.default_rng(seed)
    above = draw.integers(0, 50, len(domain))
    above = np.where((domain == 1) & (draw.random(len(domain)) < better), 0, above)
    return ranks(above, above * 0, domain=domain, domains=NAMES, **columns)


def test_with_one_row_a_user_it_is_the_paired_t_test():
    a, b = drawn(0.5, 1), drawn(0.0, 2)
    found = compare_ranks([a], [b])
    by_name = {row.domain: row for row in found.rows}
    expected = {}
    for d, name in enumerate(NAMES[:3], 1):
        own = d == DOMAIN
        test = stats.ttest_rel(a.values("ndcg@10")[own], b.values("ndcg@10")[own])
        low, high = test.confidence_interval()
        row = by_name[name]
        assert row.p_value == pytest.approx(test.pvalue)
        assert (row.difference.low, row.difference.high) == pytest.approx((low, high))
        expected[name] = test.pvalue
    adjusted = holm(list(expected.values()))
    assert [by_name[name].p_adjusted for name in NAMES[:3]] == pytest.approx(adjusted)
    assert by_name["a"].verdict is Verdict.gains
    assert by_name["empty"].verdict is Verdict.not_measurable
    assert by_name["empty"].reason == "no rows in this split"
    whole = stats.ttest_rel(a.values("ndcg@10"), b.values("ndcg@10"))
    assert found.overall_p_value == pytest.approx(whole.pvalue)
    assert found.metric == "ndcg@10"


def test_the_other_way_round_is_the_opposite():
    one, other = compare_ranks([drawn(0.5, 1)], [drawn(0, 2)]), compare_ranks([drawn(0, 2)], [drawn(0.5, 1)])  # fmt: skip
    assert one.rows[0].difference.value == -other.rows[0].difference.value
    assert other.rows[0].verdict is Verdict.hurt


def test_the_order_of_the_rows_changes_nothing():
    a, b = drawn(0.5, 1), drawn(0, 2)
    shuffled = a.take(np.random.default_rng(0).permutation(300))
    assert compare_ranks([shuffled], [b]) == compare_ranks([a], [b])


def test_rows_copied_within_a_user_add_no_certainty():
    """Ten copies of each row, all of one user: the p-values of the rows themselves."""
    a, b = drawn(0.3, 1), drawn(0, 2)
    user, domain = np.tile(np.arange(300), 10), np.tile(DOMAIN, 10)

    def many(r):
        return ranks(np.tile(r.above["domain"], 10), np.zeros(3000), domain=domain, user=user, domains=NAMES)  # fmt: skip

    one, copied = compare_ranks([a], [b]), compare_ranks([many(a)], [many(b)])
    for row, other in zip(one.rows[:3], copied.rows[:3], strict=True):
        assert other.p_value == pytest.approx(row.p_value)
    alone = compare_ranks([many(a)], [many(b)], rules=Rules(cluster="row"))
    assert alone.rows[0].p_value < copied.rows[0].p_value


def test_models_that_do_not_differ_seldom_seem_to():
    alarms = 0
    for seed in range(200):
        found = compare_ranks([drawn(0, 2 * seed)], [drawn(0, 2 * seed + 1)])
        alarms += any(row.p_adjusted is not None and row.p_adjusted < 0.05 for row in found.rows)
    assert alarms <= 20  # 10 expected


def test_seeds_are_averaged_and_their_noise_added():
    arms = [[drawn(0.5, s) for s in seeds] for seeds in ((1, 2, 3), (4, 5, 6))]
    found = compare_ranks(*arms, metric="mrr")
    mean = np.mean([a.values("mrr") - b.values("mrr") for a, b in zip(*arms, strict=True)])
    assert found.overall.value == pytest.approx(mean)
    assert found.seeds == 3
    assert "3 seeds" in found.protocol


def test_means_over_domains():
    a, b = drawn(0.5, 1), drawn(0, 2)
    difference = a.values("hr@10") - b.values("hr@10")
    means = [difference[d == DOMAIN].mean() for d in (1, 2, 3)]
    assert compare_rank_means([a], [b], "hr@10").value.value == pytest.approx(difference.mean())
    macro = compare_rank_means([a], [b], "macro_hr@10")
    assert macro.value.value == pytest.approx(np.mean(means))
    errors = [difference[d == DOMAIN].var(ddof=1) / (d == DOMAIN).sum() for d in (1, 2, 3)]
    half = stats.t.ppf(0.975, 299) * np.sqrt(sum(errors)) / 3
    assert macro.value.high - macro.value.value == pytest.approx(half, rel=0.02)
    nothing = a.take(np.zeros(300, bool))
    assert compare_rank_means([nothing], [nothing], "mrr") is None


def test_what_cannot_be_tested_says_why():
    domain = np.array([1] * 40 + [2] * 6 + [3] * 30)
    above = np.where(domain == 3, 40, np.arange(76) % 20)
    a = ranks(above, above * 0, domain=domain, domains=NAMES)
    b = ranks(above[::-1] % 20 + (domain == 3) * 20, above * 0, domain=domain, domains=NAMES)
    reasons = {row.domain: row.reason for row in compare_ranks([a], [b], metric="hr@10").rows}
    assert reasons["b"] == "6 users among 6 rows, fewer than 10"
    assert reasons["c"] == "neither model finds any of 30 items"


def test_refusals():
    a = drawn(0, 1)
    with pytest.raises(DataError, match="one entry a seed"):
        compare_ranks([a], [a, a])
    with pytest.raises(MismatchError, match="item column differs"):
        compare_ranks([a], [drawn(0, 1, item=np.full(300, 2))])
    with pytest.raises(MismatchError, match="rows"):
        compare_ranks([a], [a.take(np.arange(299))])
    with pytest.raises(MismatchError, match="other domains"):
        compare_ranks([a], [ranks([0], [0], domains=("x",))])
    with pytest.raises(ConfigError, match="bootstrap"):
        compare_ranks([a], [a], rules=RULES.model_copy(update={"method": "bootstrap"}))
    with pytest.raises(ConfigError, match="no metric"):
        compare_ranks([a], [a], metric="auc")


def test_twins_do_not_differ():
    found = compare_ranks([drawn(0, 1)], [drawn(0, 1)])
    assert found.overall.value == 0
    assert found.overall_p_value == 1
