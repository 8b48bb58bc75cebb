"""Metrics of one model: values against scikit-learn, means by hand, and every odd domain."""

import json
import math

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from isthmus.errors import DataError, MismatchError
from isthmus.evaluation import UNKNOWN, Metrics, Predictions, evaluate
from isthmus.evaluation.metrics import CLIP
from tests.evaluation.oracles import households, pair_auc, squash, table, ties_as_wins


def many_domains(seed=0, users=400, domains=12):
    """Domains of sizes that differ by ten, users who visit several of them."""
    rng = np.random.default_rng(seed)
    user, label, signal = households(rng, users)
    chance = 1 / np.arange(1, domains + 1)
    domain = 1 + rng.choice(domains, size=len(user), p=chance / chance.sum())
    score = squash(signal + rng.normal(size=len(user)))
    names = [f"d{i + 1}" for i in range(domains)]
    return table(label, score, domain=domain, user=user, domains=names)


def strict_json(metrics):
    """Through JSON and back; NaN and infinity are no JSON."""

    def refuse(constant):
        raise AssertionError(f"{constant} in the JSON of metrics")

    text = metrics.model_dump_json()
    json.loads(text, parse_constant=refuse)
    return Metrics.model_validate_json(text)


def test_values_are_those_of_scikit_learn():
    p = many_domains()
    m = evaluate(p)
    assert m.overall.auc.value == pytest.approx(roc_auc_score(p.label, p.score), abs=1e-12)
    assert m.overall.logloss == pytest.approx(log_loss(p.label, p.score), abs=1e-12)
    assert m.overall.calibration_ratio == pytest.approx(p.score.mean() / p.label.mean())
    for d, name in enumerate(p.domains, start=1):
        rows = p.domain == d
        found = m.by_domain[name]
        assert (found.rows, found.positives) == (rows.sum(), p.label[rows].sum())
        assert found.auc.value == pytest.approx(roc_auc_score(p.label[rows], p.score[rows]))
        assert found.logloss == pytest.approx(log_loss(p.label[rows], p.score[rows]))
        assert found.auc.low < found.auc.value < found.auc.high


def test_means_by_hand():
    p = many_domains()
    m = evaluate(p)
    auc = {n: roc_auc_score(p.label[p.domain == i], p.score[p.domain == i]) for i, n in _ids(p)}
    rows = {n: int((p.domain == i).sum()) for i, n in _ids(p)}
    by_size = sorted(p.domains, key=rows.get)

    def mean(names):
        return sum(rows[n] * auc[n] for n in names) / sum(rows[n] for n in names)

    assert m.domain_auc == pytest.approx(mean(p.domains), abs=1e-12)
    assert m.domain_auc_interval.low < m.domain_auc < m.domain_auc_interval.high
    assert m.macro_auc == pytest.approx(np.mean(list(auc.values())), abs=1e-12)
    assert m.major5 == pytest.approx(mean(by_size[-5:]), abs=1e-12)
    assert m.minor10 == pytest.approx(mean(by_size[:10]), abs=1e-12)
    assert m.minor5 == pytest.approx(mean(by_size[:5]), abs=1e-12)
    assert m.worst_domain == (min(auc, key=auc.get), pytest.approx(min(auc.values())))
    assert (m.macro_domains, m.undefined) == (12, {})


def test_training_sizes_say_which_domains_are_small():
    p = many_domains()
    turned = {name: i for i, name in enumerate(p.domains)}  # the rarest has the most training rows
    m, by_rows = evaluate(p, sizes=turned), evaluate(p)
    first = np.isin(p.domain, [1, 2, 3, 4, 5])
    auc = [m.by_domain[f"d{d}"].auc.value for d in range(1, 6)]
    weights = np.bincount(p.domain[first])[1:]
    assert m.minor5 == pytest.approx(np.average(auc, weights=weights))
    assert m.minor5 != pytest.approx(by_rows.minor5)
    with pytest.raises(MismatchError, match=r"unknown domains \['d77'\]"):
        evaluate(p, sizes={"d77": 3})


def test_the_interval_of_a_mean_is_that_of_drawing_users_anew():
    p = many_domains(seed=1)
    rng, drawn = np.random.default_rng(0), []
    of_user = [np.flatnonzero(p.user == u) for u in range(400)]
    rows = np.bincount(p.domain)[1:]
    for _ in range(300):
        chosen = np.concatenate([of_user[u] for u in rng.integers(400, size=400)])
        label, score, domain = p.label[chosen], p.score[chosen], p.domain[chosen]
        auc = [roc_auc_score(label[domain == d], score[domain == d]) for d in range(1, 13)]
        drawn.append(np.average(auc, weights=rows))
    interval = evaluate(p).domain_auc_interval
    assert (interval.high - interval.low) / 3.92 == pytest.approx(np.std(drawn, ddof=1), rel=0.12)


def test_clusters_widen_the_intervals_of_alike_rows():
    rng = np.random.default_rng(2)
    user = np.repeat(np.arange(100), 6)
    label = (rng.random(100) < 0.5).astype(int)[user]
    p = table(label, squash(label + rng.normal(size=100)[user]), user=user)
    by_user, by_row = evaluate(p).overall.auc, evaluate(p, cluster="row").overall.auc
    assert by_user.value == by_row.value
    assert (by_user.high - by_user.low) > 2 * (by_row.high - by_row.low)


def test_the_unknown_domain_is_reported_and_in_no_mean():
    p = many_domains()
    rng = np.random.default_rng(3)
    n = len(p)
    strange = Predictions(
        row=np.concatenate((p.row, n + np.arange(300))),
        domain=np.concatenate((p.domain, np.zeros(300, np.int32))),
        user=np.concatenate((p.user, np.arange(300))),
        label=np.concatenate((p.label, rng.integers(0, 2, 300))),
        score=np.concatenate((p.score, rng.random(300))),
        domains=p.domains,
    )
    m, known = evaluate(strange), evaluate(p)
    assert m.by_domain[UNKNOWN].rows == 300
    assert UNKNOWN not in known.by_domain
    same = ("domain_auc", "macro_auc", "major5", "minor10", "minor5", "worst_domain")
    for name in (*same, "macro_domains"):
        assert getattr(m, name) == getattr(known, name)
    assert m.overall.rows == n + 300


def test_odd_domains_are_undefined_and_harm_no_mean():
    """Empty, one row, no positives, no negatives; the only measurable one is all the means."""
    label = [1, 0, 1, 0, 0, 0, 1, 1, 1]
    score = [0.9, 0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8, 0.4]
    domain = [1, 1, 1, 1, 2, 2, 3, 3, 4]
    names = ("fine", "no positives", "no negatives", "one row", "empty")
    m = evaluate(table(label, score, domain=domain, domains=names))
    assert m.domain_auc == m.macro_auc == m.by_domain["fine"].auc.value == 0.75
    assert (m.macro_domains, m.worst_domain) == (1, ("fine", 0.75))
    assert m.undefined == {
        "no positives": "no positives among 2 rows",
        "no negatives": "no negatives among 2 rows",
        "one row": "no negatives among 1 rows",
        "empty": "no rows in this split",
        "major5": "needs 5 domains with both classes, found 1",
        "minor10": "needs 10 domains with both classes, found 1",
        "minor5": "needs 5 domains with both classes, found 1",
    }
    assert m.major5 is m.minor10 is m.minor5 is None
    assert m.by_domain["no positives"].auc is m.by_domain["no positives"].calibration_ratio is None
    assert m.by_domain["no positives"].logloss == pytest.approx(-math.log(0.5 * 0.4) / 2)
    assert m.by_domain["no negatives"].calibration_ratio == pytest.approx(0.75)
    assert m.by_domain["empty"].logloss is m.by_domain["empty"].ece is None
    assert strict_json(m) == m


@pytest.mark.parametrize(("label", "score"), [([], []), ([0, 0], [0.1, 0.2])])
def test_nothing_measurable_is_said_so(label, score):
    m = evaluate(table(label, score))
    assert m.domain_auc is m.macro_auc is m.worst_domain is m.overall.auc is None
    for name in ("auc", "calibration_ratio", "domain_auc", "macro_auc", "worst_domain", "a", "b"):
        assert m.undefined[name]
    assert strict_json(m) == m


def test_a_thousand_domains():
    rng = np.random.default_rng(4)
    names = [str(i) for i in range(1000)]
    domain = rng.integers(1, 1001, 20_000)
    p = table(rng.integers(0, 2, 20_000), rng.random(20_000), domain=domain, domains=names)
    m = evaluate(p)
    assert len(m.by_domain) == 1000
    for d in (1, 500, 1000):
        rows = p.domain == d
        found = m.by_domain[names[d - 1]].auc.value
        assert found == pytest.approx(roc_auc_score(p.label[rows], p.score[rows]))
    assert strict_json(m) == m


def test_equal_scores_are_a_half_and_saturated_ones_are_finite():
    label = np.array([0, 1] * 50)
    m = evaluate(table(label, np.full(100, 0.5)))
    assert m.overall.auc.value == m.domain_auc == 0.5
    saturated = evaluate(table(label, 1.0 - label))  # surely wrong, each time
    assert saturated.overall.auc.value == 0.0
    assert saturated.overall.auc.high > 0.0
    assert saturated.overall.logloss == pytest.approx(-math.log(CLIP))
    assert saturated.overall.ece == pytest.approx(1.0)
    assert pair_auc(label, np.full(100, 0.5), ties_as_wins) == 1.0  # what a wrong rule would say


def test_scores_that_are_not_numbers_are_refused_before_any_metric():
    with pytest.raises(DataError, match="100 of 100"):
        evaluate(table([0, 1] * 50, np.full(100, np.nan)))


def test_the_order_of_rows_changes_not_a_bit():
    p = many_domains()
    rounded = table(p.label, np.round(p.score, 2), domain=p.domain, user=p.user, domains=p.domains)
    shuffled = rounded.take(np.random.default_rng(5).permutation(len(p)))
    assert evaluate(shuffled).model_dump_json() == evaluate(rounded).model_dump_json()


def test_a_domain_alone_is_as_in_company():
    p = many_domains()
    together = evaluate(p)
    for d, name in _ids(p):
        alone = evaluate(p.take(p.domain == d))
        assert alone.by_domain[name] == together.by_domain[name]
        assert alone.overall == together.by_domain[name]
        assert alone.macro_domains == 1


def test_user_codes_of_any_size():
    p = many_domains()
    far = table(p.label, p.score, domain=p.domain, user=p.user * 10**12 - 5, domains=p.domains)
    one, other = evaluate(p).overall.auc, evaluate(far).overall.auc
    assert (one.low, one.high) == (pytest.approx(other.low), pytest.approx(other.high))


def _ids(p):
    return list(enumerate(p.domains, start=1))
