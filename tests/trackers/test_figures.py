"""Names and figures that trackers are told, against metrics worked by hand."""

import numpy as np
import pytest

from isthmus.evaluation import Ranks, evaluate_ranks
from isthmus.evaluation.ranks import PROTOCOLS
from isthmus.trackers.figures import of_epoch, of_ranks, settings
from isthmus.training.state import TrainingState


def test_ranks_by_domain():
    """Places 1 and 3 in domain "a", place 2 in "b"; 10 candidates each."""
    above, rows = np.array([0, 2, 1]), np.arange(3)
    ranks = Ranks(
        row=rows,
        domain=np.array([1, 1, 2], np.int32),
        user=rows,
        item=rows + 1,
        repeat=np.zeros(3, np.int8),
        above=dict.fromkeys(PROTOCOLS, above),
        tied=dict.fromkeys(PROTOCOLS, np.zeros(3, np.int64)),
        of=dict.fromkeys(PROTOCOLS, np.full(3, 10)),
        domains=("a", "b"),
    )
    found = of_ranks("test", evaluate_ranks(ranks))
    assert found["final test by domain/mrr/a"] == pytest.approx((1 + 1 / 3) / 2)
    assert found["final test by domain/mrr/b"] == pytest.approx(1 / 2)
    assert found["final test/mrr"] == pytest.approx((1 + 1 / 3 + 1 / 2) / 3)
    assert found["final test/macro_mrr"] == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_an_epoch():
    state = TrainingState(
        scores=[0.1, 0.5], losses=[{}, {"bce": 0.7}], told={"gap": {"a": -1.0, "b/c": 2.0}}
    )
    assert of_epoch(state, "auc") == {
        "loss/bce": 0.7,
        "valid/auc": 0.5,
        "gap/a": -1.0,
        "gap/b/c": 2.0,
    }


def test_settings_have_dotted_names():
    given = {
        "train": {"lr": 0.1, "clip": None},
        "settings": {"hidden": [8, 4], "search": {"on": True}},
    }
    assert settings(given) == {
        "train.lr": 0.1,
        "train.clip": None,
        "settings.hidden": "[8, 4]",
        "settings.search.on": True,
    }
