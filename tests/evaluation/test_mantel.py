from itertools import permutations

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from isthmus.evaluation.mantel import mean_ranks, rank_agreement, spearman


def tables(groups, seed, likeness=0.0):
    """Two tables whose rows differ in level, as sources of different size do."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(groups, groups)) + 2 * rng.normal(size=(groups, 1))
    b = likeness * a + rng.normal(size=(groups, groups)) + 2 * rng.normal(size=(groups, 1))
    return a, b


@pytest.mark.parametrize("different", [1, 3, 40, 10**6])
@pytest.mark.parametrize("number", [0, 1, 2, 300])
def test_ranks_are_those_of_scipy(number, different):
    values = np.random.default_rng(number).integers(different, size=number).astype(float)
    assert mean_ranks(values).tolist() == rankdata(values).tolist()


def test_the_correlation_is_spearmans_off_the_diagonal():
    a, b = tables(6, 0, likeness=0.5)
    a = a.round(0)  # ties
    off = ~np.eye(6, dtype=bool)
    assert spearman(a, b) == pytest.approx(spearmanr(a[off], b[off])[0])
    assert rank_agreement(a, b).correlation.value == pytest.approx(spearman(a, b))


def test_the_p_value_is_the_share_of_relabellings_that_agree_as_much():
    a, b = tables(5, 1, likeness=0.5)
    value = abs(spearman(a, b))
    found = [
        abs(spearman(a, b[np.ix_(order, order)])) >= value - 1e-12
        for order in map(list, permutations(range(5)))
    ]
    assert rank_agreement(a, b).p_value == pytest.approx(np.mean(found))


def test_tables_that_have_nothing_in_common_are_rarely_found_alike():
    """Cells of a row are alike, which a test of single cells would take for evidence."""
    found = [rank_agreement(*tables(6, seed)) for seed in range(60)]
    assert 0 < sum(one.p_value < 0.1 for one in found) <= 13  # of 60, 6 expected
    off = ~np.eye(6, dtype=bool)
    naive = [spearmanr(a[off], b[off])[1] < 0.1 for a, b in (tables(6, s) for s in range(60))]
    assert sum(naive) > 2 * sum(one.p_value < 0.1 for one in found)


def test_more_groups_than_can_be_tried_in_all_orders():
    a, b = tables(12, 3, likeness=1.0)
    found = rank_agreement(a, b)
    assert found.p_value < 0.01
    assert found == rank_agreement(a, b), "the seed alone decides"
    assert found.correlation.low < found.correlation.value < found.correlation.high


def test_a_group_without_figures_is_left_out():
    a, b = tables(7, 4, likeness=1.0)
    a[:, 2] = np.nan
    kept = [0, 1, 3, 4, 5, 6]
    found = rank_agreement(a, b)
    assert found.groups == 6
    assert found.correlation.value == pytest.approx(
        spearman(a[np.ix_(kept, kept)], b[np.ix_(kept, kept)])
    )


def test_too_few_groups_and_equal_cells_have_no_correlation():
    a, b = tables(3, 5)
    assert rank_agreement(a, b).correlation is None
    a, b = tables(6, 5)
    assert rank_agreement(np.ones_like(a), b).p_value is None
