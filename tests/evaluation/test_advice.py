"""What to do with a domain: each rule on a case made by hand."""

import pytest

from isthmus.evaluation import (
    UNKNOWN,
    Action,
    CalibrationShift,
    DomainSharing,
    Interval,
    Rules,
    Shift,
    Verdict,
)
from isthmus.evaluation.advice import advise, rows_to_show


def around(value, half=0.02):
    return Interval(value=value, low=value - half, high=value + half)


def row(verdict, **changes):
    values = {
        "domain": "tea", "train_rows": 900, "rows": 400, "positives": 80, "joint": around(0.7),
        "isolated": around(0.68), "gain": around(0.02), "p_adjusted": 0.01, "detectable": 0.04,
        "verdict": verdict,
    }  # fmt: skip
    return DomainSharing(**{**values, **changes})


def test_who_is_hurt_is_served_by_its_own_model():
    found = advise(row(Verdict.hurt, gain=around(-0.031)), Rules())
    assert found.action == Action.own
    assert "costs it 0.031 AUC" in found.reason
    assert "isthmus guard" in found.reason


def test_who_gains_is_served_jointly():
    found = advise(row(Verdict.gains), Rules())
    assert found.action == Action.jointly
    assert found.reason == (
        "Sharing adds 0.020 AUC, more than chance explains, to what its own 900 training rows teach."
    )


def test_who_gains_and_knows_nothing_by_itself_is_pooled():
    found = advise(row(Verdict.gains, isolated=around(0.515), gain=around(0.185)), Rules())
    assert found.action == Action.pool
    assert "(0.515 AUC), sharing adds 0.185" in found.reason
    assert advise(row(Verdict.gains, isolated=around(0.53)), Rules()).action == Action.jointly


def test_of_rankings_little_is_measured_by_the_joint_model():
    little = row(Verdict.gains, joint=around(0.2), isolated=around(0.04), gain=around(0.16))
    assert advise(little, Rules(), "ndcg@10").action == Action.pool
    more = row(Verdict.gains, joint=around(0.2), isolated=around(0.06), gain=around(0.14))
    found = advise(more, Rules(), "ndcg@10")
    assert found.action == Action.jointly
    assert "adds 0.1400 NDCG@10" in found.reason


def test_no_difference_where_one_would_have_shown_is_served_jointly():
    found = advise(row(Verdict.unchanged), Rules())
    assert found.action == Action.jointly
    assert "one of 0.05 would have shown" in found.reason


def test_who_cannot_be_measured_collects_as_many_rows_as_would_show_the_resolution():
    """0.15 of 400 rows is 0.05 of nine times as many."""
    found = advise(row(Verdict.not_measurable, detectable=0.15), Rules())
    assert (found.action, found.rows) == (Action.collect, 3600)
    assert "about 3,600 would show one of 0.05" in found.reason
    finer = advise(row(Verdict.not_measurable, detectable=0.15), Rules(resolution=0.01))
    assert finer.rows == 90_000
    assert "seeds" not in found.reason
    few = advise(row(Verdict.not_measurable, detectable=0.15), Rules(), seeds=2)
    assert "one of 0.05, fewer with more than 2 seeds." in few.reason


@pytest.mark.parametrize(
    ("rows", "detectable", "wanted"),
    [(100, 0.05, 100), (100, 0.1, 400), (90, 0.19, 1300), (7, 0.05, 7), (1000, 0.0501, 1100)],
)
def test_rows_are_rounded_up_to_two_digits(rows, detectable, wanted):
    assert rows_to_show(rows, detectable, 0.05) == wanted


def test_who_cannot_even_be_tested_hears_from_where_on():
    few = row(
        Verdict.not_measurable, rows=90, positives=4, gain=None, detectable=None,
        reason="4 positives among 90 rows, fewer than 10",
    )  # fmt: skip
    found = advise(few, Rules())
    assert (found.action, found.rows) == (Action.collect, 225)
    assert found.reason.startswith("4 positives among 90 rows, fewer than 10; from about 225 rows")
    none = few.model_copy(update={"positives": 0, "reason": "no positives among 90 rows"})
    assert advise(none, Rules()).rows is None
    assert advise(none, Rules()).reason == "No positives among 90 rows."


def test_scores_that_sharing_made_wrong_are_to_be_recalibrated():
    wrong = CalibrationShift(
        joint=around(1.4), isolated=around(1.05), shift=around(1.33), verdict=Shift.farther
    )
    found = advise(row(Verdict.gains, calibration=wrong), Rules())
    assert found.action == Action.jointly
    assert "promise 1.40 times what comes true, its own model's 1.05 times" in found.reason
    for verdict in set(Shift) - {Shift.farther}:
        other = wrong.model_copy(update={"verdict": verdict})
        assert "Recalibrate" not in advise(row(Verdict.gains, calibration=other), Rules()).reason
    assert "Recalibrate" not in advise(row(Verdict.hurt, calibration=wrong), Rules()).reason


def test_the_unknown_domain_has_no_model_of_its_own():
    assert advise(row(Verdict.hurt, domain=UNKNOWN), Rules()) is None


def test_every_verdict_has_an_action():
    assert {advise(row(verdict), Rules()).action for verdict in Verdict} == set(Action) - {
        Action.pool
    }
