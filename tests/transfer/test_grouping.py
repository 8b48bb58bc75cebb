import numpy as np
import pytest

from isthmus.clustering import Clusters
from isthmus.errors import ConfigError
from isthmus.transfer.grouping import alike, given, number_of_groups, shares

SIZES = {"a": 10, "b": 30, "c": 20, "d": 40}


def test_as_many_groups_as_the_budget_can_tell_apart():
    assert number_of_groups(None, 61, 16) == 7
    assert number_of_groups(None, 5, 16) == 5, "each domain is one"
    assert number_of_groups(None, 61, None) == 61, "where nothing is left out"
    assert number_of_groups(4, 61, 16) == 4


@pytest.mark.parametrize(
    ("asked", "domains", "budget", "told"),
    [
        (None, 2, 16, "three domains"),
        (None, 9, 6, "at least 7 runs"),
        (8, 61, 16, "--budget 18"),
        (2, 61, 16, "from 3"),
        (62, 61, 999, "from 3"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(asked, domains, budget, told):
    with pytest.raises(ConfigError, match=told):
        number_of_groups(asked, domains, budget)


def test_domains_with_like_gradients_become_a_group_named_by_the_largest():
    cosine = np.array([[1, 0.9, -0.5, 0], [0.9, 1, -0.5, 0], [-0.5, -0.5, 1, 0], [0, 0, 0, 1.0]])
    assert alike(cosine, SIZES, 3, seed=0) == {"b +1": ("a", "b"), "c": ("c",), "d": ("d",)}
    assert list(alike(cosine, SIZES, 4, seed=0)) == list("abcd")


def test_groups_of_a_file():
    found = given(Clusters(clusters=(("a", "d"), ("b",), ("c", "without rows"))), SIZES)
    assert found == {"d +1": ("a", "d"), "b": ("b",), "c": ("c",)}
    np.testing.assert_allclose(shares(found, SIZES)[0], [0.2, 0, 0, 0.8])
    with pytest.raises(ConfigError, match="'d' is in no group"):
        given(Clusters(clusters=(("a",), ("b",), ("c",))), SIZES)
    with pytest.raises(ConfigError, match="found 2 groups"):
        given(Clusters(clusters=(("a", "b"), ("c", "d"))), SIZES)
