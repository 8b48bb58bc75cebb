"""Rates out of fold against a plain loop, and that they tell nothing of a row's own label."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score as auc

from isthmus.batch import Impressions
from isthmus.errors import ConfigError
from isthmus.reference.encoding import Encoding, EncodingConfig
from isthmus.reference.rates import Table, folds, out_of_fold, rate
from isthmus.schema import Feature, Schema
from isthmus.testing import toy_impressions, toy_schema
from tests.oracles.plain_rates import plain_out_of_fold, plain_rates

SCHEMA = toy_schema()
COLUMNS = {"user": 0, "item": 1, "hour": 2}


@pytest.mark.parametrize("seed", range(5))
def test_counts_out_of_fold_are_those_of_a_plain_loop(seed):
    rng = np.random.default_rng(seed)
    key, label, fold = (rng.integers(0, high, 150) for high in (30, 2, 4))
    rows, positives = out_of_fold(key, label, fold)
    assert list(zip(rows.tolist(), positives.tolist(), strict=True)) == plain_out_of_fold(
        key.tolist(), label.tolist(), fold.tolist()
    )


@pytest.mark.parametrize("by", ["time", "random"])
def test_the_columns_of_training_rows_are_those_of_a_plain_loop(by):
    rows = toy_impressions(SCHEMA, 120)
    config = EncodingConfig(folds=3, fold_by=by, smoothing=2.5, pairs=(("item", "domain"),))
    encoding = Encoding.learn(config, SCHEMA, rows)
    found = dict(zip(encoding.names(), encoding.training(rows, seed=7).T, strict=True))
    fold = folds(120, 3, by, 7).tolist()
    own = {name: rows.features[:, place].tolist() for name, place in COLUMNS.items()}
    own["domain"] = rows.domain.tolist()
    for name in ("user", "item"):
        own[f"{name} x domain"] = list(zip(own[name], own["domain"], strict=True))
    for name, keys in own.items():
        expected = plain_rates(keys, rows.label.int().tolist(), fold, 2.5)
        both = found[f"rate of {name}"], found[f"rows of {name}"]
        np.testing.assert_allclose(np.transpose(both), expected, rtol=1e-6, err_msg=name)


def test_rows_to_come_have_the_rates_of_all_training_rows():
    rows, new = toy_impressions(SCHEMA, 120), toy_impressions(SCHEMA, 30, seed=1)
    encoding = Encoding.learn(EncodingConfig(smoothing=2.5), SCHEMA, rows)
    found = dict(zip(encoding.names(), encoding(new).T, strict=True))
    prior = rows.label.mean().item()
    for i, item in enumerate(new.features[:, 1].tolist()):
        own = rows.label[rows.features[:, 1] == item]
        expected = (own.sum().item() + 2.5 * prior) / (len(own) + 2.5)
        assert found["rate of item"][i] == pytest.approx(expected, rel=1e-5)
        assert found["rows of item"][i] == len(own)


def test_a_rate_is_worked_by_hand():
    table = Table.of(np.array([5, 3, 5, 5]), np.array([1, 0, 0, 1]))
    rows, positives = table.find(np.array([5, 4, 3, 9]))
    assert rows.tolist() == [3, 0, 1, 0]
    assert positives.tolist() == [2, 0, 0, 0]
    np.testing.assert_allclose(rate(rows, positives, 0.5, 2.0), [3 / 5, 0.5, 1 / 3, 0.5])
    empty = Table.of(np.zeros(0, np.int64), np.zeros(0, np.int64))
    assert empty.find(np.array([1]))[0].tolist() == [0]


def test_folds_are_of_equal_sizes_and_stretches_of_time():
    assert folds(7, 3, "time", 0).tolist() == [0, 0, 0, 1, 1, 2, 2]
    drawn = folds(7, 3, "random", 0)
    assert sorted(drawn.tolist()) == [0, 0, 0, 1, 1, 2, 2]
    assert drawn.tolist() == folds(7, 3, "random", 0).tolist()
    assert drawn.tolist() != folds(7, 3, "random", 1).tolist()


@pytest.mark.parametrize("by", ["time", "random"])
@pytest.mark.parametrize("seed", range(3))
def test_a_rate_tells_nothing_of_a_rows_own_label(by, seed):
    """Keys of three rows, labels at random: rates with the row itself would tell nearly all."""
    rng = np.random.default_rng(seed)
    key, label = rng.permutation(np.repeat(np.arange(1000), 3)), rng.integers(0, 2, 3000)
    leaky = rate(*Table.of(key, label).find(key), 0.5, 1.0)
    assert auc(label, leaky) > 0.8
    own = rate(*out_of_fold(key, label, folds(3000, 5, by, seed)), 0.5, 1.0)
    assert auc(label, own) == pytest.approx(0.5, abs=0.04)


def test_what_needs_no_label_is_as_it_is():
    features = (
        Feature(name="item", size=9),
        Feature(name="price", kind="number", size=6),
        Feature(name="seen", kind="history", size=9, table="item", length=3),
    )
    schema = Schema(features=features, domains=("a",))
    ids = torch.tensor([[4, 5, 4, 2, 4], [3, 1, 7, 0, 0], [0, 0, 0, 0, 0]])
    rows = Impressions(ids, torch.ones(3, dtype=torch.int64), torch.tensor([1.0, 0.0, 1.0]))
    encoding = Encoding.learn(EncodingConfig(), schema, rows)
    for table in (encoding(rows), encoding.training(rows, 0)):
        found = dict(zip(encoding.names(), table.T.tolist(), strict=True))
        assert found["price"] == [5, 1, 0]
        assert found["length of seen"] == [3, 1, 0]
        assert found["item in seen"] == [2, 0, 0]


def test_a_pair_of_no_id_is_refused():
    config = EncodingConfig(pairs=(("item", "recent"),))
    with pytest.raises(ConfigError, match="no id feature 'recent'"):
        Encoding.learn(config, SCHEMA, toy_impressions(SCHEMA, 10))
