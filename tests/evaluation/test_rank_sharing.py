"""The sharing table of retrievers: its gains are the comparison's, its figures the evaluation's."""

import numpy as np
import pytest

from isthmus.errors import DataError, MismatchError
from isthmus.evaluation import Verdict, compare_ranks, evaluate_ranks, share_ranks
from isthmus.evaluation.ranks import PROTOCOLS, Ranks

DOMAINS = ("books", "games", "toys")


def ranks(seed, better=0, rows=600):
    """Places among 50 items; in "games" the items stand ``better`` places higher; "toys" is empty."""
    draw, same = np.random.default_rng(seed), np.random.default_rng(99)
    domain = same.integers(1, 3, rows)
    user, item = same.integers(0, 150, rows), same.integers(1, 50, rows)
    above = draw.integers(0, 40, rows)
    above = np.maximum(above - better * (domain == 2), 0)
    one = dict.fromkeys(PROTOCOLS, above)
    return Ranks(
        row=np.arange(rows),
        domain=domain,
        user=user,
        item=item,
        repeat=np.zeros(rows),
        above=one,
        tied=dict.fromkeys(PROTOCOLS, np.zeros(rows)),
        of=dict.fromkeys(PROTOCOLS, np.full(rows, 50)),
        domains=DOMAINS,
    )


JOINT = [ranks(seed, better=15) for seed in (0, 1)]
OWN = [ranks(seed) for seed in (2, 3)]


def test_gains_are_those_of_the_paired_comparison():
    table = share_ranks(JOINT, OWN, train_rows={"games": 7}, metric="hr@10")
    compared = {row.domain: row for row in compare_ranks(JOINT, OWN, metric="hr@10").rows}
    assert table.rows[0].domain == "games"
    assert table.rows[0].verdict == Verdict.gains
    assert table.rows[0].train_rows == 7
    assert table.rows[-1].domain == "toys"
    assert table.rows[-1].joint is None
    for row in table.rows:
        known = compared[row.domain]
        assert (row.gain, row.p_adjusted, row.detectable, row.verdict) == (
            known.difference, known.p_adjusted, known.detectable, known.verdict
        )  # fmt: skip
    assert table.metric == "hr@10"
    assert table.title == "HR@10"
    assert table.overall == compare_ranks(JOINT, OWN, metric="hr@10").overall


def test_a_models_figures_are_those_of_its_evaluation():
    table = share_ranks(JOINT[:1], OWN[:1], [ranks(5)], train_rows={})
    arms = {"joint": JOINT[0], "isolated": OWN[0], "shared": ranks(5)}
    for role, one in arms.items():
        found = evaluate_ranks(one).primary.by_domain
        for row in table.rows:
            interval = getattr(row, role)
            if row.domain == "toys":
                assert interval is None
                continue
            told = found[row.domain].values["ndcg@10"]
            assert interval.value == pytest.approx(told.value, abs=1e-12)
            assert interval.low == pytest.approx(told.low, abs=1e-12)
            assert interval.high == pytest.approx(told.high, abs=1e-12)


def test_over_seeds_a_models_figure_is_the_mean_and_less_sure():
    one = share_ranks(JOINT[:1], OWN[:1], train_rows={}).rows[0].joint
    both = share_ranks(JOINT, OWN, train_rows={}).rows[0].joint
    values = [evaluate_ranks(r).primary.by_domain["games"].values["ndcg@10"].value for r in JOINT]
    assert both.value == pytest.approx(np.mean(values))
    assert one.value == pytest.approx(values[0])


def test_what_does_not_fit_is_refused():
    with pytest.raises(DataError, match="2 joint and 1 isolated"):
        share_ranks(JOINT, OWN[:1], train_rows={})
    with pytest.raises(MismatchError, match="unknown domains \\['x'\\]"):
        share_ranks(JOINT, OWN, train_rows={"x": 1})
