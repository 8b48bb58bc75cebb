"""Paired comparison: against loops and resampling, error rates by simulation, every verdict."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from isthmus.errors import DataError, MismatchError
from isthmus.evaluation import UNKNOWN, Comparison, Predictions, Rules, Verdict, compare
from isthmus.evaluation.rules import decide, holm
from tests.evaluation.oracles import households, pair_auc, pair_delong, squash, table

NAMES = ("north", "south", "east")


def rescored(p, score):
    return Predictions(p.row, p.domain, p.user, p.label, score, p.domains)


def two_models(seed=0, users=200, noise=(1.0, 1.0), names=NAMES):
    """Two models that see the same signal through noise of their own."""
    rng = np.random.default_rng(seed)
    user, label, signal = households(rng, users)
    domain = rng.integers(1, len(names) + 1, len(user))
    scores = [squash(signal + s * rng.normal(size=len(user))) for s in noise]
    a = table(label, scores[0], domain=domain, user=user, domains=names)
    return a, rescored(a, scores[1])


def within(share, nominal, trials):
    """Three binomial standard errors."""
    return abs(share - nominal) <= 3 * math.sqrt(nominal * (1 - nominal) / trials)


def test_differences_and_p_values_by_loops():
    a, b = two_models()
    found = compare([a], [b], rules=Rules(cluster="row"))
    for d, row in enumerate(found.rows, start=1):
        rows = a.domain == d
        label, one, other = a.label[rows], a.score[rows], b.score[rows]
        difference = pair_auc(label, one) - pair_auc(label, other)
        error = math.sqrt(pair_delong(label, one, other))
        freedom = min(label.sum(), (1 - label).sum()) - 1
        assert row.domain == NAMES[d - 1]
        assert (row.rows, row.positives) == (len(label), label.sum())
        assert row.difference.value == pytest.approx(difference, abs=1e-12)
        assert row.p_value == pytest.approx(2 * stats.t.sf(abs(difference) / error, freedom))
        half = stats.t.ppf(0.975, freedom) * error
        assert row.difference.low == pytest.approx(difference - half)
        assert row.difference.high == pytest.approx(difference + half)
        steps = stats.t.ppf(1 - 0.05 / 6, freedom) + stats.t.ppf(0.8, freedom)
        assert row.detectable == pytest.approx(steps * error)


def test_the_overall_difference_is_that_of_the_domain_aucs():
    a, b = two_models(1)
    found = compare([a], [b])
    rows = np.array([row.rows for row in found.rows])
    each = np.array([row.difference.value for row in found.rows])
    assert found.overall.value == pytest.approx(np.average(each, weights=rows))
    assert found.overall.low < found.overall.value < found.overall.high
    assert 0 < found.overall_p_value <= 1


def test_the_bootstrap_agrees_and_repeats():
    a, b = two_models(2, users=300, noise=(0.8, 1.2))
    rules = Rules(method="bootstrap", replicates=600, seed=3)
    drawn, formula = compare([a, b, a], [b, b, a], rules=rules), compare([a, b, a], [b, b, a])
    assert drawn == compare([a, b, a], [b, b, a], rules=rules)
    assert drawn != compare([a, b, a], [b, b, a], rules=Rules(**{**rules.model_dump(), "seed": 4}))
    pairs = [(d.difference, f.difference) for d, f in zip(drawn.rows, formula.rows, strict=True)]
    for one, other in [*pairs, (drawn.overall, formula.overall)]:
        assert one.value == other.value
        assert one.high - one.low == pytest.approx(other.high - other.low, rel=0.1)


def test_the_bootstrap_draws_users_by_default():
    rng = np.random.default_rng(5)
    user = np.repeat(np.arange(80), 8)
    label = (rng.random(80) < 0.5).astype(int)[user]
    a = table(label, squash(label + rng.normal(size=80)[user]), user=user, domains=["a"])
    b = rescored(a, squash(label + rng.normal(size=80)[user]))
    widths = []
    for cluster in ("user", "row"):
        rules = Rules(method="bootstrap", replicates=200, cluster=cluster)
        difference = compare([a], [b], rules=rules).rows[0].difference
        widths.append(difference.high - difference.low)
    assert widths[0] > 2 * widths[1]


def null_rates(trials, users, seeds, noise):
    """Rates of p < .05 (clustered, by row) for models that are equally good.

    ``noise``: of a seed on each row, and of a seed's quality as a whole.
    """
    rng, found = np.random.default_rng(7), []
    for _ in range(trials):
        user, label, signal = households(rng, users)
        arms = []
        for _ in range(2):
            own = rng.normal(size=users)[user] + 0.5 * rng.normal(size=len(user))
            arms.append(
                [
                    (1 + noise[1] * rng.normal()) * signal
                    + own
                    + noise[0] * rng.normal(size=len(user))
                    for _ in range(seeds)
                ]
            )
        a, b = ([table(label, squash(s), user=user, domains=["a"]) for s in arm] for arm in arms)
        found.append(
            [compare(a, b, rules=Rules(cluster=c)).rows[0].p_value < 0.05 for c in ("user", "row")]
        )
    return np.mean(found, axis=0)


@pytest.mark.parametrize(
    ("users", "seeds", "noise"), [(60, 1, (0.0, 0.0)), (150, 3, (0.3, 0.0)), (150, 3, (0.3, 0.2))]
)
def test_false_alarms_are_as_rare_as_promised(users, seeds, noise):
    by_user, _ = null_rates(1000, users, seeds, noise)
    assert within(by_user, 0.05, 1000)


def test_seeds_that_differ_row_by_row_err_to_the_cautious_side():
    by_user, _ = null_rates(600, 100, 3, (1.5, 0.0))
    assert 0.005 < by_user < 0.05


def test_rows_of_one_user_taken_as_independent_raise_false_alarms():
    """Negative control: labels and scores of a user alike, rows taken one by one."""
    rng, found = np.random.default_rng(8), []
    for _ in range(300):
        user = np.repeat(np.arange(60), 6)
        label = (rng.random(60) < 0.5).astype(int)[user]
        scores = [squash(label + rng.normal(size=60)[user]) for _ in range(2)]
        a = table(label, scores[0], user=user, domains=["a"])
        b = rescored(a, scores[1])
        found.append(
            [
                compare([a], [b], rules=Rules(cluster=c)).rows[0].p_value < 0.05
                for c in ("user", "row")
            ]
        )
    by_user, by_row = np.mean(found, axis=0)
    assert within(by_user, 0.05, 300)
    assert by_row > 0.3


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@settings(deadline=None, derandomize=True)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0.001, 0.3))
def test_holm_rejects_what_the_stepwise_procedure_rejects(p_values, alpha):
    rejected = set()
    for step, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[i] * (len(p_values) - step) >= alpha:
            break
        rejected.add(i)
    assert {i for i, p in enumerate(holm(p_values)) if p < alpha} == rejected


@pytest.mark.parametrize(
    ("difference", "p", "detectable", "verdict"),
    [
        (
            0.1,
            0.049,
            0.2,
            Verdict.gains,
        ),  # significant, so it could be shown, whatever was to expect
        (-0.1, 0.049, 0.2, Verdict.hurt),
        (0.1, 0.05, 0.04, Verdict.unchanged),
        (-0.1, 0.05, 0.05, Verdict.unchanged),
        (0.1, 0.05, 0.051, Verdict.not_measurable),
    ],
)
def test_verdicts_by_hand(difference, p, detectable, verdict):
    assert decide(difference, p, detectable, Rules())[0] == verdict


def planted(seed=9, rows=4000):
    """A model that gains in one domain, loses in one, and is as good in two; one is too small."""
    rng = np.random.default_rng(seed)
    names = ("gains", "hurt", "same", "small", "empty", "no positives")
    domain = np.repeat([1, 2, 3, 4, 6], [rows, rows, rows, 60, 100])
    signal = rng.normal(size=len(domain))
    label = (rng.random(len(domain)) < squash(1.5 * signal - 1)) & (domain != 6)
    better, worse = (
        np.array([0, 0, 2, 0.6, 1, 1, 1])[domain],
        np.array([0, 2, 0, 0.6, 1, 1, 1])[domain],
    )
    a, b = (
        [
            table(
                label,
                squash(signal + s * rng.normal(size=len(domain))),
                domain=domain,
                domains=names,
            )
            for _ in range(2)
        ]
        for s in (better, worse)
    )
    return a, b


def test_planted_changes_are_found():
    a, b = planted()
    found = compare(a, b)
    assert {row.domain: str(row.verdict) for row in found.rows} == {
        "gains": "gains",
        "hurt": "hurt",
        "same": "unchanged",
        "small": "not measurable",
        "empty": "not measurable",
        "no positives": "not measurable",
    }
    reason = {row.domain: row.reason for row in found.rows}
    assert reason["gains"] == reason["hurt"] == reason["same"] == ""
    assert reason["small"].startswith("could have shown a difference of 0.")
    assert reason["empty"] == "no rows in this split"
    assert reason["no positives"] == "no positives among 100 rows"
    assert found.counts == {"gains": 1, "unchanged": 1, "hurt": 1, "not measurable": 3}
    assert Comparison.model_validate_json(found.model_dump_json()) == found


def test_swapped_models_swap_the_verdicts():
    a, b = planted()
    one, other = compare(a, b), compare(b, a)
    for row, back in zip(one.rows, other.rows, strict=True):
        assert (row.p_value, row.detectable) == (back.p_value, back.detectable)
        if row.difference:
            assert row.difference.low == -back.difference.high
    assert one.counts[Verdict.gains] == other.counts[Verdict.hurt] == 1


def test_too_few_of_a_class_are_not_tested():
    label = np.array([1] * 9 + [0] * 300)
    p = table(label, np.linspace(1, 0, 309), domains=["a"])
    row = compare([p], [rescored(p, p.score[::-1])]).rows[0]
    assert row.verdict == "not measurable"
    assert row.reason == "9 positives among 309 rows, fewer than 10"
    assert row.p_value is row.p_adjusted is row.detectable is None
    assert row.difference.value == 1.0
    enough = np.array([1] * 10 + [0] * 300)
    p = table(enough, np.linspace(1, 0, 310), domains=["a"])
    assert compare([p], [rescored(p, p.score[::-1])]).rows[0].verdict == "gains"


def test_positives_of_one_user_are_not_tested():
    label = np.array([1] * 20 + [0] * 300)
    user = np.concatenate((np.zeros(20, int), np.arange(300)))
    p = table(label, np.linspace(1, 0, 320), user=user, domains=["a"])
    found = compare([p], [rescored(p, p.score[::-1])])
    assert found.rows[0].reason == "all positives, or all negatives, are of one user"
    assert (found.overall.low, found.overall.high, found.overall_p_value) == (-1.0, 1.0, None)


def test_the_same_model_is_unchanged():
    a, _ = two_models(10)
    found = compare([a], [a])
    assert {row.verdict for row in found.rows} == {Verdict.unchanged}
    assert all(row.p_value == 1.0 and row.difference.high == 0.0 for row in found.rows)


@pytest.mark.parametrize(("label", "rows"), [([], 0), ([0] * 30, 30)])
def test_nothing_measurable(label, rows):
    p = table(label, np.full(len(label), 0.5), domains=["a"])
    found = compare([p], [p])
    assert (found.overall, found.overall_p_value) == (None, None)
    assert (found.rows[0].rows, found.rows[0].verdict) == (rows, Verdict.not_measurable)
    assert Comparison.model_validate_json(found.model_dump_json()) == found


def test_the_unknown_domain_is_tested_and_not_in_the_mean():
    a, b = two_models(11)
    strange = a.domain - 1  # the first domain becomes the unknown one
    a, b = (table(p.label, p.score, domain=strange, user=p.user, domains=NAMES[:2]) for p in (a, b))
    found = compare([a], [b])
    assert [row.domain for row in found.rows] == [UNKNOWN, "north", "south"]
    rows, each = zip(*((r.rows, r.difference.value) for r in found.rows[1:]), strict=True)
    assert found.overall.value == pytest.approx(np.average(each, weights=rows))
    known = compare([a.take(a.domain > 0)], [b.take(b.domain > 0)])
    assert found.overall.low == pytest.approx(known.overall.low)
    assert found.overall_p_value == pytest.approx(known.overall_p_value)


def test_the_order_of_rows_changes_not_a_bit():
    a, b = two_models(12)
    rng = np.random.default_rng(0)
    mixed = [p.take(rng.permutation(len(p))) for p in (a, b, b, a)]
    assert compare(mixed[:2], mixed[2:]) == compare([a, b], [b, a])


def test_settings():
    a, b = planted()
    assert compare(a, b, alpha=0.2).alpha == 0.2
    coarse = compare(a, b, rules=Rules(resolution=0.5))
    assert {r.domain: str(r.verdict) for r in coarse.rows}["small"] == "unchanged"
    assert (coarse.seeds, coarse.alpha, coarse.resolution, coarse.cluster) == (2, 0.05, 0.5, "user")
    with pytest.raises(ValueError, match="alpha"):
        compare(a, b, alpha=1.5)


def test_the_protocol_says_how():
    a, b = planted()
    two = compare(a, b, rules=Rules(data="the test split")).protocol
    for part in ("12,160 rows of the test split", "6 domains", "all rows of a user as one cluster"):
        assert part in two
    for part in ("2 seeds", "Holm", "4 domains", "at least 10", "alpha 0.05", "DeLong"):
        assert part in two
    one = compare(
        a[:1], b[:1], rules=Rules(method="bootstrap", replicates=50, cluster="row")
    ).protocol
    for part in (
        "noise of training is not included",
        "50 bootstrap samples",
        "each row on its own",
    ):
        assert part in one
    assert "noise of training" not in two


def changed(p, **columns):
    kept = {c: getattr(p, c) for c in ("row", "domain", "user", "label", "score", "domains")}
    return Predictions(**{**kept, **columns})


def test_other_rows_are_refused():
    a, _ = two_models(13)
    label, domain, row = a.label.copy(), a.domain.copy(), a.row.copy()
    label[[4, 7]] ^= 1
    domain[5] = 1 + domain[5] % 3
    row[3] = 10**6
    for other, message in [
        (changed(a, label=label), f"labels differ in 2 of {len(a):,} rows, first in row"),
        (changed(a, domain=domain), f"domains differ in 1 of {len(a):,} rows, first in row 5"),
        (changed(a, row=row), f"1 of {len(a):,} rows are not among the other model's.*row 1000000"),
        (a.take(np.arange(len(a) - 1)), f"{len(a) - 1:,} rows against {len(a):,}"),
        (changed(a, domains=("north", "south", "west")), "other domains"),
    ]:
        for pair in ([a], [other]), ([a, a], [a, other]), ([a, other], [a, a]):
            with pytest.raises(MismatchError, match=message):
                compare(*pair)
        with pytest.raises(MismatchError):
            compare([other], [a])


def test_numbers_of_seeds_must_agree():
    a, b = two_models(14)
    for pair in ([a], [b, b]), ([], [b]), ([], []):
        with pytest.raises(DataError, match="pass one entry a seed"):
            compare(*pair)
