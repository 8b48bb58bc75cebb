"""The tables of a guard: who decides, who is shown, and what chance alone would make of both."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from isthmus.errors import MismatchError
from isthmus.evaluation import Predictions, Ranks, Rules
from isthmus.evaluation.either import compared
from isthmus.evaluation.guarding import (
    Decision,
    changed_rows,
    choose,
    figures,
    guard_table,
    half,
    hurt,
)

NAMES = tuple("abcd")


def predictions(rows=2000, seed=0, domains=NAMES, shift=None):
    """Scores with the same skill in each domain; ``shift`` by domain id adds to it."""
    rng = np.random.default_rng(seed)
    base = np.random.default_rng(99)
    domain = base.integers(1, len(domains) + 1, rows)
    label = base.integers(0, 2, rows)
    user = base.integers(0, rows // 4, rows)
    skill = 0.8 + np.array([(shift or {}).get(d, 0.0) for d in domain])
    score = 1 / (1 + np.exp(-(skill * (2 * label - 1) + rng.normal(size=rows))))
    return Predictions(
        row=np.arange(rows), domain=domain, user=user, label=label, score=score, domains=domains
    )


def swapped(into, source, ids):
    """``into``, with the scores of ``source`` in these domains."""
    score = np.where(np.isin(into.domain, ids), source.score, into.score)
    return Predictions(into.row, into.domain, into.user, into.label, score, into.domains)


def test_halves_have_whole_users_and_as_many():
    user = np.repeat(np.arange(4000), 3)
    first = half(user)
    assert (first.reshape(-1, 3).all(1) | ~first.reshape(-1, 3).any(1)).all()
    assert 0.45 < first.mean() < 0.55
    assert (half(user[::-1]) == first[::-1]).all()


@pytest.mark.parametrize(
    ("scores", "ways", "forced", "chosen"),
    [
        ({"joint": 0.6, "own": 0.7, "part": 0.65}, ["part", "own"], False, "own"),
        ({"joint": 0.6, "own": 0.7, "part": 0.7}, ["part", "own"], False, "part"),
        ({"joint": 0.6, "own": 0.7, "part": 0.65}, ["part"], False, "part"),
        ({"joint": 0.6, "own": 0.6}, ["own"], False, None),
        ({"joint": 0.6, "own": 0.5}, ["own"], True, "own"),
        ({}, ["own"], False, None),
        ({}, ["own"], True, "own"),
        ({"joint": 0.6}, [], True, None),
    ],
)
def test_what_is_chosen(scores, ways, forced, chosen):
    assert choose(scores, ways, forced=forced) == chosen


def test_the_table_against_the_scores_themselves():
    before, better = predictions(shift={2: -1.0}), predictions(shift={2: 1.0})
    after = swapped(before, better, [2])
    decisions = [Decision(domain="b", way="own"), Decision(domain="d", reason="no better")]
    table = guard_table(before, after, decisions, Rules(), joint="J", isolated="I", protocol="P")
    (row,) = table.rows
    rows = before.domain == 2
    auc = [roc_auc_score(p.label[rows], p.score[rows]) for p in (before, after)]
    assert (row.domain, row.rows) == ("b", rows.sum())
    assert (row.before.value, row.after.value) == pytest.approx(auc)
    assert row.change.value == pytest.approx(auc[1] - auc[0])
    assert row.p_adjusted < 1e-6, "corrected over one domain"
    assert [one.domain for one in table.left] == ["d"]
    assert (table.untouched, table.untouched_rows) == (3, (~rows).sum())
    assert table.change.value == pytest.approx((auc[1] - auc[0]) * rows.mean())
    assert table.after.value - table.before.value == pytest.approx(table.change.value)


def test_only_guarded_domains_are_corrected_for():
    """Three other domains, in which nothing changes, would make the p-value four times as large."""
    before, other = predictions(), predictions(seed=5, shift={1: 0.1})
    after = swapped(before, other, [1])
    decisions = [Decision(domain="a", way="own")]
    table = guard_table(before, after, decisions, Rules(), joint="J", isolated="I", protocol="P")
    alone = [p.take(p.domain == 1) for p in (after, before)]
    plain = {row.domain: row for row in compared(*([one] for one in alone), Rules()).rows}["a"]
    assert table.rows[0].p_adjusted == plain.p_value


def test_one_bit_of_an_untouched_row_is_seen():
    before = predictions(40)
    score = before.score.copy()
    place = int(np.flatnonzero(before.domain == 3)[0])
    score[place] = np.nextafter(score[place], 1)
    after = Predictions(before.row, before.domain, before.user, before.label, score, before.domains)
    assert changed_rows(before, after, ["b"]).tolist() == [place]
    assert changed_rows(before, after, ["c"]).tolist() == []
    assert changed_rows(before, before, []).tolist() == []


def ranks(above):
    count = np.arange(len(above))
    places = {p: np.asarray(above) for p in ("domain", "all", "sampled")}
    none, of = np.zeros_like(count), np.full(len(above), 50)
    return Ranks(
        row=count,
        domain=1 + count % 2,
        user=count,
        item=count + 1,
        repeat=none,
        above=places,
        tied=dict.fromkeys(places, none),
        of=dict.fromkeys(places, of),
        domains=("a", "b"),
    )


def test_retrievers_are_judged_by_their_ranks():
    before, after = ranks([0, 4, 2, 9] * 20), ranks([0, 0, 2, 1] * 20)
    found = hurt(compared([before], [after], Rules()))
    assert [row.domain for row in found] == ["b"]
    assert figures(before)["a"].value == pytest.approx((1 + 1 / 2) / 2)
    assert changed_rows(before, after, ["b"]).tolist() == []
    assert len(changed_rows(before, after, ["a"])) == 40
    table = guard_table(
        before,
        after,
        [Decision(domain="b", way="part")],
        Rules(),
        joint="J",
        isolated="I",
        protocol="P",
    )
    assert table.metric == "ndcg@10"
    assert table.rows[0].after.value == pytest.approx((1 + 1 / np.log2(3)) / 2)
    with pytest.raises(MismatchError, match="scores and ranks"):
        compared([before], [predictions()], Rules())


def test_rows_that_decided_flatter_and_others_do_not():
    """Two models of one skill, 60 domains; "guarded" are the ten that look worst on half the users."""
    names = tuple(f"d{number}" for number in range(60))
    found = []
    for seed in range(8):
        joint, own = (predictions(12_000, s, names) for s in (2 * seed, 2 * seed + 1))
        first = half(joint.user)
        halves = [[figures(p.take(rows)) for p in (joint, own)] for rows in (first, ~first)]
        gains = [{n: after[n].value - before[n].value for n in names} for before, after in halves]
        worst = sorted(names, key=lambda name: -gains[0][name])[:10]
        found.append([np.mean([gain[name] for name in worst]) for gain in gains])
    decided, shown = np.mean(found, axis=0)
    assert decided > 0.05
    assert abs(shown) < 0.02
