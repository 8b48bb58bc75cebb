import pytest

from isthmus.evaluation import UNKNOWN, DomainSharing, Interval, SharingTable, Verdict
from isthmus.report import words


def domain(name, gain, verdict, rows=100):
    half = None if gain is None else Interval(value=gain, low=gain - 0.01, high=gain + 0.02)
    return DomainSharing(
        domain=name, train_rows=10, rows=rows, positives=5, gain=half, joint=half, verdict=verdict
    )


def table(*rows, overall=None):
    counts = {verdict: sum(row.verdict == verdict for row in rows) for verdict in Verdict}
    return SharingTable(
        names={"joint": "aread", "isolated": "own"}, seeds=1, alpha=0.05, rows=rows,
        counts=counts, protocol="", overall=overall,
    )  # fmt: skip


GAIN = domain("A", 0.03, Verdict.gains)
HURT = domain("B", -0.02, Verdict.hurt, rows=300)
SAME = domain("C", 0.001, Verdict.unchanged, rows=0)
TINY = domain("D", None, Verdict.not_measurable)


def test_the_headline_names_who_gains_and_who_is_hurt_and_by_how_much():
    assert words.headline(table(GAIN, HURT, SAME, TINY)) == (
        "Of 4 domains, 1 gains from sharing (A, +0.030 AUC), and 1 is hurt (B, −0.020 AUC). "
        "Of the others, 1 shows no difference and 1 has too little data to tell. "
        "Weighted by test rows, the gain is −0.0075 AUC."  # (0.03·100 - 0.02·300) / 400
    )


def test_the_headline_names_the_extremes_of_several():
    more, worse = domain("A2", 0.05, Verdict.gains), domain("B2", -0.06, Verdict.hurt)
    said = words.headline(table(GAIN, more, HURT, worse))
    assert "2 gain from sharing (most: A2, +0.050 AUC)" in said
    assert "2 are hurt (worst: B2, −0.060 AUC)" in said
    assert "others" not in said


def test_the_headline_where_nothing_is_certain():
    said = words.headline(table(SAME, TINY))
    assert said.startswith("Of 2 domains, none gains from sharing, and none is hurt. 1 shows no")
    assert words.headline(table()) == "There is no domain to report on."
    # weights of zero rows: no mean, rather than a division by zero
    assert "Weighted" not in said


def test_the_stored_mean_gain_comes_before_a_computed_one():
    overall = Interval(value=0.002, low=-0.001, high=0.005)
    assert words.mean_gain(table(GAIN, overall=overall)) == (
        "Weighted by test rows, the gain is +0.0020 AUC [−0.0010, +0.0050]."
    )


def test_the_unknown_domain_is_part_of_no_mean():
    stranger = domain(UNKNOWN, 0.9, Verdict.gains, rows=10_000)
    assert words.mean_gain(table(GAIN, stranger)) == words.mean_gain(table(GAIN))
    assert words.domain_auc(table(GAIN, stranger), {}) == [("aread", pytest.approx(0.03))]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0134, "+0.013"), (-0.0134, "−0.013"), (-0.0001, "0.000"), (0.0, "0.000"), (None, "–")],
)
def test_signed_figures(value, text):
    assert words.signed(value) == text


def test_a_spread_is_never_narrower_than_the_interval():
    assert words.spread(Interval(value=0.713, low=0.7, high=0.733)) == ".713±.020"
    assert words.spread(Interval(value=-0.01, low=-0.04, high=0.0), plus=True) == "−.010±.030"
    assert words.spread(None) == "–"


@pytest.mark.parametrize(("p", "text"), [(0.0312, "0.031"), (0.0002, "<0.001"), (1.0, "1.000")])
def test_p_values(p, text):
    assert words.p_value(p) == text


def test_the_tally_names_verdicts_that_no_domain_has():
    assert words.tally(table(GAIN, TINY).counts) == (
        "1 gain, 0 unchanged, 0 hurt, 1 not measurable"
    )
