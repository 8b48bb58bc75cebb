"""AUC, its structural components and the calibration error, against loops and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from isthmus.evaluation.ranking import Ranked
from tests.evaluation.oracles import pair_auc, pair_components, ties_as_wins

rows = st.lists(st.tuples(st.integers(0, 1), st.integers(-8, 8)), min_size=2, max_size=40).filter(
    lambda values: len({label for label, _ in values}) == 2
)
quick = settings(deadline=None, derandomize=True, max_examples=150)


def arrays(values):
    label, score = zip(*values, strict=True)
    return np.array(label, np.int8), np.array(score, float)


def random_rows(seed, count=300, ties=False):
    rng = np.random.default_rng(seed)
    label = (rng.random(count) < 0.3).astype(np.int8)
    score = rng.normal(size=count) + label
    return label, np.round(score * 2) / 2 if ties else score


def test_hand_worked_case():
    # positives 3 and 2, negatives 1 and 2: wins 1, 1, 1 and a tie
    ranked = Ranked.of(np.array([1, 0, 1, 0], np.int8), np.array([3.0, 1.0, 2.0, 2.0]))
    assert ranked.auc == 0.875
    # V10 = 1, .75 and V01 = 1, .75: each is .125 away from .875, over 2 rows of its class
    assert ranked.influence().tolist() == [0.0625, 0.0625, -0.0625, -0.0625]


def test_a_constant_score_is_a_half():
    assert Ranked.of(np.array([1, 0, 0, 1, 0], np.int8), np.full(5, 0.3)).auc == 0.5


@pytest.mark.parametrize("ties", [False, True])
def test_auc_is_that_of_scikit_learn_and_of_all_pairs(ties):
    label, score = random_rows(1, ties=ties)
    auc = Ranked.of(label, score).auc
    assert auc == pytest.approx(roc_auc_score(label, score), abs=1e-12)
    assert auc == pytest.approx(pair_auc(label, score), abs=1e-12)


def test_ties_counted_as_wins_would_be_found():
    """Negative control: the tie tests above fail for the wrong rule."""
    label, score = random_rows(1, ties=True)
    assert abs(pair_auc(label, score, ties_as_wins) - roc_auc_score(label, score)) > 0.01
    assert pair_auc(np.array([1, 0, 0]), np.zeros(3), ties_as_wins) == 1.0


@pytest.mark.parametrize("ties", [False, True])
def test_influence_is_delongs_components(ties):
    label, score = random_rows(2, ties=ties)
    auc, influence = pair_auc(label, score), Ranked.of(label, score).influence()
    v10, v01 = pair_components(label, score)
    np.testing.assert_allclose(influence[label == 1], (v10 - auc) / len(v10), atol=1e-15)
    np.testing.assert_allclose(influence[label == 0], (v01 - auc) / len(v01), atol=1e-15)


def test_influence_by_midranks():
    """Sun and Xu (2014): V10 = (rank among all - rank among positives) / n."""
    label, score = random_rows(3, count=5000, ties=True)
    v10 = (rankdata(score)[label == 1] - rankdata(score[label == 1])) / (label == 0).sum()
    expected = (v10 - v10.mean()) / len(v10)
    np.testing.assert_allclose(
        Ranked.of(label, score).influence()[label == 1], expected, atol=1e-15
    )


@pytest.mark.parametrize("label", [[], [1], [0], [1, 1], [0, 0, 0]])
def test_one_class_has_no_auc(label):
    ranked = Ranked.of(np.array(label, np.int8), np.linspace(0, 1, len(label)))
    assert ranked.auc is None
    assert not ranked.influence().any()


@quick
@given(rows)
def test_auc_of_any_rows_is_that_of_all_pairs(values):
    label, score = arrays(values)
    assert Ranked.of(label, score).auc == pytest.approx(pair_auc(label, score), abs=1e-12)


@quick
@given(rows)
def test_a_monotone_transform_changes_nothing(values):
    label, score = arrays(values)
    one, other = Ranked.of(label, score), Ranked.of(label, np.exp(score / 3) + 7)
    assert one.auc == other.auc
    assert np.array_equal(one.influence(), other.influence())


@quick
@given(rows)
def test_complements(values):
    """Reversed scores, or swapped labels, give 1 - AUC; both together give the AUC."""
    label, score = arrays(values)
    auc = Ranked.of(label, score).auc
    assert Ranked.of(label, -score).auc == pytest.approx(1 - auc, abs=1e-12)
    assert Ranked.of(1 - label, score).auc == pytest.approx(1 - auc, abs=1e-12)
    assert Ranked.of(1 - label, -score).auc == pytest.approx(auc, abs=1e-12)


@quick
@given(rows, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(values, random):
    label, score = arrays(values)
    order = list(range(len(label)))
    random.shuffle(order)
    one, other = Ranked.of(label, score), Ranked.of(label[order], score[order])
    assert one.auc == other.auc
    assert np.array_equal(one.influence()[order], other.influence())
    assert one.calibration_error(3) == other.calibration_error(3)


@quick
@given(rows, st.lists(st.integers(0, 3), min_size=40, max_size=40))
def test_weighted_auc_is_that_of_repeated_rows(values, times):
    label, score = arrays(values)
    times = np.array(times[: len(label)])
    repeated = Ranked.of(np.repeat(label, times), np.repeat(score, times)).auc
    weighted = Ranked.of(label, score).weighted_auc(times.astype(float))
    assert np.isnan(weighted) if repeated is None else weighted == pytest.approx(repeated)


def test_calibration_error_by_hand():
    # bins of 2: promised .1 + .3 against 0 came; .6 + .8 against 2
    ranked = Ranked.of(np.array([0, 1, 0, 1], np.int8), np.array([0.3, 0.8, 0.1, 0.6]))
    assert ranked.calibration_error(2) == pytest.approx((0.4 + 0.6) / 4)
    assert ranked.calibration_error(1) == pytest.approx(abs(1.8 - 2) / 4)


def test_calibration_error_is_that_of_a_loop():
    label, score = random_rows(4, count=1000)
    score = 1 / (1 + np.exp(-score))
    bins = np.array_split(np.argsort(score), 20)
    gaps = [len(b) * abs(score[b].mean() - label[b].mean()) for b in bins]
    assert Ranked.of(label, score).calibration_error(20) == pytest.approx(sum(gaps) / 1000)


def test_a_tie_over_a_bins_edge_is_shared_out():
    # one group of four equal scores in two bins: each gets half of the two positives
    ranked = Ranked.of(np.array([1, 1, 0, 0], np.int8), np.full(4, 0.5))
    assert ranked.calibration_error(2) == 0.0
