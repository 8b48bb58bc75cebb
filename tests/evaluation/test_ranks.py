"""Places of items against plain loops and cases worked by hand; ties, cold items, empty domains."""

import itertools
import math

import numpy as np
import pytest

from isthmus.errors import ConfigError, DataError
from isthmus.evaluation.rank_metrics import evaluate_ranks, metric_of_ranks
from isthmus.evaluation.ranks import PROTOCOLS, SAMPLES, Ranks, samples


def ranks(
    above, tied, *, domain=None, user=None, item=None, of=50, domains=("a", "b"), repeat=None
):
    """Rows with the same places in all protocols."""
    n = len(above)
    same = {
        name: dict.fromkeys(PROTOCOLS, np.asarray(values))
        for name, values in (("above", above), ("tied", tied), ("of", [of] * n))
    }
    return Ranks(
        row=np.arange(n),
        domain=np.ones(n) if domain is None else np.asarray(domain),
        user=np.arange(n) if user is None else np.asarray(user),
        item=np.ones(n) if item is None else np.asarray(item),
        repeat=np.zeros(n) if repeat is None else np.asarray(repeat),
        domains=domains,
        **same,
    )


def plain(metric, rank):
    """A metric of one rank, from its definition."""
    if metric == "mrr":
        return 1 / rank
    kind, cut = metric.split("@")
    if rank > int(cut):
        return 0.0
    return 1.0 if kind == "hr" else 1 / math.log2(1 + rank)


@pytest.mark.parametrize("metric", ["hr@1", "hr@10", "ndcg@1", "ndcg@5", "mrr"])
def test_ties_are_the_mean_over_all_orders(metric):
    """Against every order of the tied candidates, one by one."""
    cases = list(itertools.product(range(13), range(5)))
    found = ranks(*zip(*cases, strict=True)).values(metric)
    for (above, tied), value in zip(cases, found, strict=True):
        places = [
            above + 1 + order.index("own")
            for order in itertools.permutations(["own", *range(tied)])
        ]
        assert value == pytest.approx(np.mean([plain(metric, p) for p in places]), abs=1e-12)


def test_all_equal_scores_are_no_hit():
    """The published evaluator gives 1.0 here; by chance it is k of 101."""
    r = ranks([0], [100], of=101)
    assert r.values("hr@10")[0] == pytest.approx(10 / 101)


def test_a_case_by_hand():
    """Ranks 1, 3 and 12, and a cold item; two rows of one user."""
    r = ranks(
        [0, 2, 11, 0], [0, 0, 0, 0], domain=[1, 1, 2, 2], user=[7, 7, 8, 9], item=[5, 6, 7, 0]
    )
    found = evaluate_ranks(r).primary
    assert found.overall.rows == 4
    assert found.overall.cold == 1
    assert found.by_domain["a"].values["hr@1"].value == 0.5
    assert found.by_domain["a"].values["ndcg@10"].value == pytest.approx(0.75)
    assert found.by_domain["a"].values["mrr"].value == pytest.approx(2 / 3)
    assert found.by_domain["b"].values["mrr"].value == pytest.approx(1 / 24)
    assert found.by_domain["b"].values["hr@10"].value == 0
    assert found.weighted["hr@10"].value == 0.5
    assert found.macro["mrr"].value == pytest.approx((2 / 3 + 1 / 24) / 2)
    assert metric_of_ranks(r, "mrr") == pytest.approx((1 + 1 / 3 + 1 / 12) / 4)
    assert metric_of_ranks(r, "macro_mrr") == pytest.approx(found.macro["mrr"].value)


def test_a_cold_item_of_a_tiny_domain_is_a_miss():
    r = ranks([0, 0], [0, 0], item=[0, 1], of=2)
    assert r.values("hr@10").tolist() == [0, 1]


def test_empty_and_unknown_domains_have_defined_results():
    r = ranks([0, 3], [0, 0], domain=[0, 2], item=[0, 4], domains=("a", "b", "c"))
    found = evaluate_ranks(r).primary
    assert found.by_domain["(unknown)"].rows == 1
    assert found.by_domain["a"].reason == "no rows in this split"
    assert found.by_domain["a"].values == {}
    assert found.macro_domains == 1
    assert found.weighted["hr@5"].value == found.macro["hr@5"].value == 1
    assert found.overall.values["hr@5"].value == 0.5
    nothing = evaluate_ranks(r.take(np.zeros(2, bool))).primary
    assert nothing.overall.reason
    assert nothing.weighted == {}
    assert metric_of_ranks(r.take(np.zeros(2, bool)), "mrr") is None


def test_repeats_and_new_items_apart():
    r = ranks([0, 0, 20], [0, 0, 0], repeat=[1, 1, 0])
    found = evaluate_ranks(r).primary
    assert (found.repeats.rows, found.repeats.values["hr@1"].value) == (2, 1)
    assert (found.new.rows, found.new.values["hr@1"].value) == (1, 0)


def test_rows_of_a_user_are_one_observation():
    """Each row ten times, by the same user, is no more than once: intervals stay as wide."""
    draw = np.random.default_rng(0)
    above = draw.integers(0, 30, 200)
    once = evaluate_ranks(ranks(above, above * 0)).primary
    many = ranks(np.tile(above, 10), np.tile(above, 10) * 0, user=np.tile(np.arange(200), 10))
    same, rows = evaluate_ranks(many).primary, evaluate_ranks(many, cluster="row").primary
    a, b, c = (f.weighted["hr@10"] for f in (once, same, rows))
    assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high))
    assert c.high - c.low == pytest.approx((a.high - a.low) / math.sqrt(10), rel=0.05)


@pytest.mark.parametrize("which", ["weighted", "macro"])
def test_an_interval_holds_the_truth_as_often_as_it_says(which):
    """Users of one to five rows whose hits depend on the user, in two domains of other hit rates."""
    draw = np.random.default_rng(1)
    truth = {"weighted": 0.8 * 0.25 + 0.2 * 0.5, "macro": (0.25 + 0.5) / 2}[which]
    held = 0
    for _ in range(300):
        user = np.repeat(np.arange(80), draw.integers(1, 6, 80))
        taste = draw.uniform(0, 2, 80)[user] / 2
        domain = np.where(draw.random(len(user)) < 0.8, 1, 2)
        hit = draw.random(len(user)) < taste * np.where(domain == 1, 0.5, 1.0)
        r = ranks(np.where(hit, 0, 40), user * 0, domain=domain, user=user)
        found = getattr(evaluate_ranks(r, metrics=["hr@10"]).primary, which)["hr@10"]
        held += found.low <= truth <= found.high
    assert 0.9 <= held / 300 <= 0.99


def test_round_trip(tmp_path):
    r = ranks([0, 2], [1, 0], domain=[1, 2], item=[3, 0], repeat=[1, 0])
    r.write(tmp_path / "r.parquet")
    again = Ranks.read(tmp_path / "r.parquet")
    assert again.domains == r.domains
    for name in ("row", "domain", "user", "item", "repeat"):
        assert (getattr(again, name) == getattr(r, name)).all()
    for p in PROTOCOLS:
        assert (again.values("mrr", p) == r.values("mrr", p)).all()
    (tmp_path / "x.parquet").write_bytes(b"no")
    with pytest.raises(DataError, match="no readable Parquet"):
        Ranks.read(tmp_path / "x.parquet")


def test_places_that_cannot_be_are_refused():
    with pytest.raises(DataError, match="no such place"):
        ranks([49], [1], of=50)
    with pytest.raises(DataError, match="twice"):
        ranks([0, 0], [0, 0]).take(np.array([0, 0]))
    with pytest.raises(DataError, match="domain ids outside"):
        ranks([0], [0], domain=[3])
    with pytest.raises(ConfigError, match="no metric"):
        ranks([0], [0]).values("precision@10")


def test_samples_are_even_repeatable_and_never_the_item():
    row, item = np.arange(4000), np.arange(4000) % 12
    drawn = samples(row, item, 13)
    assert drawn.shape == (4000, SAMPLES)
    assert drawn.min() == 1
    assert drawn.max() == 12
    assert not (drawn == item[:, None])[item > 0].any()
    assert (drawn == samples(row, item, 13)).all()
    assert (drawn[5:9] == samples(row[5:9], item[5:9], 13)).all()  # whatever the batch
    assert (drawn != samples(row, item, 13, seed=1)).any()
    for own in (0, 5):
        counts = np.bincount(drawn[item == own].ravel(), minlength=13)[1:]
        expected = counts.sum() / (12 if own == 0 else 11)
        allowed = np.ones(12, bool)
        if own:
            allowed[own - 1] = False
        assert (abs(counts[allowed] - expected) < 5 * math.sqrt(expected)).all()
    assert (samples(row[:2], np.array([1, 1]), 2) == 0).all()  # one item: nothing to draw
