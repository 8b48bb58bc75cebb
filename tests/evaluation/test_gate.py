"""The release gate: its bound against exact ones, its outcomes by hand, its rates of errors."""

import math

import numpy as np
import pytest
from benchmarks.gate import errors, worlds
from scipy import stats

from isthmus.errors import ConfigError, DataError
from isthmus.evaluation import GateRules, Outcome, compare, compare_ranks, gate, gate_ranks
from isthmus.evaluation.gate_bounds import factor_needed, further_units, one_sided, p_worse
from isthmus.evaluation.gate_tables import effective
from isthmus.evaluation.variance import Estimate, Shape
from tests.evaluation.oracles import table
from tests.evaluation.test_ranks import ranks


def scores(better, *, seed=0, rows=900, domains=3):
    """Labels at random, one user a row; ``better`` [domains] is how far positives stand higher."""
    draw = np.random.default_rng(seed)
    domain = np.tile(np.arange(1, domains + 1), rows // domains)
    label = (draw.random(rows) < 0.4).astype(int)
    latent = draw.normal(size=rows)
    noise = np.random.default_rng(99).normal(size=rows) / 5
    found = []
    for shift in (np.zeros(domains), np.asarray(better)):
        logit = latent + (1 + shift[domain - 1]) * label + noise * (shift.any())
        found.append(table(label, 1 / (1 + np.exp(-logit)), domain=domain))
    return found[1], found[0]


# --- the bound


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.1])
def test_no_rare_loss_is_bounded_below_its_exact_bound(alpha):
    """k of n units lost one: Poisson's upper limit (Garwood 1936), and hardly above it."""
    n = 100_000
    for k in (0, 1, 2, 5, 20, 100):
        e = Estimate(-k / n, k / n**2, n - 1, n)
        low = one_sided(e, alpha, shape=Shape(-k / n**3, k / n**4), loss=1.0).low
        exact = stats.chi2.ppf(1 - alpha, 2 * k + 2) / 2
        assert exact <= -low * n <= 1.25 * exact


def test_without_rare_losses_it_is_students_bound():
    n, value, error = 10**6, 0.003, 0.001
    e = Estimate(value, error**2, n - 1, n)
    found = one_sided(e, 0.05, shape=Shape(0, 3 * error**4 / n), loss=0.2)
    half = stats.t.ppf(0.95, n - 1) * error
    assert found.low == pytest.approx(value - half, abs=1e-6)
    assert found.high == pytest.approx(value + half)


def test_equal_models_do_not_pass_for_want_of_data():
    """A domain in which nothing differed proves nothing below the rule of three."""
    few, many = (one_sided(Estimate(0.0, 0.0, n - 1, n), 0.05, loss=1.0).low for n in (50, 400))
    assert few < -0.05
    assert many > -0.01


def test_one_sided_p_values_are_halves():
    e = Estimate(-0.02, 1e-4, 30, 31)
    assert p_worse(e) == pytest.approx(stats.t.cdf(-2, 30))
    assert p_worse(Estimate(0.02, 1e-4, 30, 31)) == pytest.approx(stats.t.cdf(2, 30))
    assert p_worse(Estimate(0.0, 0.0, 30, 31)) == 0.5


def test_the_rows_that_are_needed_give_the_power_that_was_asked():
    """By the normal law: an equal candidate passes four times in five with them."""
    n, margin = 10_000, 0.01
    e = Estimate(0.0, 0.01**2, n - 1, n)
    factor = factor_needed(e, 0.05, margin, shape=Shape(0, 3 * e.variance**2 / n), loss=0.3)
    error = math.sqrt(e.variance / factor)
    passes = stats.norm.cdf((margin - further_units(0.05) * 0.3 / (n * factor)) / error - 1.645)
    assert passes == pytest.approx(0.8, abs=0.02)


def test_a_cluster_with_half_of_the_rows_leaves_fewer_than_four():
    assert effective(np.arange(50)) == 50
    assert effective(np.repeat(np.arange(10), 7)) == 10
    assert effective(np.array([0] * 50 + list(range(1, 51)))) == 3


# --- outcomes


def test_outcomes_of_a_hand_made_candidate():
    """Alike in a, far worse in b, and in c too few rows of a label."""
    candidate, incumbent = scores([0, -1.0, 0], rows=6000)
    found = gate([candidate], [incumbent], GateRules(margin=0.03))
    by_name = {row.name: row for row in found.rows}
    assert by_name["a"].outcome is Outcome.passes
    assert by_name["b"].outcome is Outcome.worse
    assert by_name["(overall)"].outcome is Outcome.worse
    assert found.exit_code == 1
    assert found.stopping[0].outcome is Outcome.worse
    wide = gate([candidate], [incumbent], GateRules(margin=0.03, domains={"b": 0.4}, overall=0.2))
    assert wide.exit_code == 0, "a margin that is wide enough lets a worse domain pass"
    out = gate([candidate], [incumbent], GateRules(margin=0.03, exclude=("b",)))
    assert [row.outcome for row in out.rows].count(Outcome.excluded) == 1
    assert out.exit_code == 0, "neither judged nor part of the mean"


def test_figures_are_those_of_the_comparison():
    candidate, incumbent = scores([0.2, -0.1, 0])
    found, known = gate([candidate], [incumbent]), compare([candidate], [incumbent])
    for row, other in zip(found.rows, known.rows, strict=False):
        assert row.difference.value == other.difference.value
        two_sided = 2 * min(row.p_worse, 1 - row.p_worse)
        assert two_sided == pytest.approx(other.p_value)
    overall = found.rows[-1]
    assert overall.difference.value == pytest.approx(known.overall.value)
    assert min(overall.p_worse, 1 - overall.p_worse) == pytest.approx(
        known.overall_p_value / 2, rel=0.1
    ), "but for the rows that stand for their own mean"


def test_too_little_data_is_not_a_pass():
    candidate, incumbent = scores([0, 0, 0.1], rows=150)
    strict = gate([candidate], [incumbent], GateRules(margin=0.01))
    assert strict.exit_code == 2
    lenient = gate([candidate], [incumbent], GateRules(margin=0.01, cannot_tell="pass"))
    assert lenient.exit_code == 2, "a mean that cannot be told always stops"
    assert [row.kind for row in lenient.stopping] == ["overall"]
    told = gate([candidate], [incumbent], GateRules(margin=0.01, overall=0.2, cannot_tell="pass"))
    assert told.exit_code == 0
    assert told.counts[Outcome.cannot_tell] > 0
    assert all(row.needed > row.rows for row in strict.stopping if row.difference.value > 0)


def test_small_domains_are_judged_together():
    candidate, incumbent = scores([0, 0, 0], rows=3000)
    apart = gate([candidate], [incumbent], GateRules(margin=0.02))
    together = gate([candidate], [incumbent], GateRules(margin=0.02, small=2000))
    assert [row.kind for row in together.rows] == ["small", "overall"]
    assert together.rows[0].name == "(3 small domains)"
    assert together.rows[0].rows == sum(row.rows for row in apart.rows[:-1])
    assert together.rows[0].difference == together.rows[1].difference


def test_a_domain_without_rows_cannot_be_told():
    candidate, incumbent = scores([0, 0], domains=2)
    row = gate([candidate], [incumbent]).rows[2]
    assert (row.name, row.outcome, row.difference) == ("c", Outcome.cannot_tell, None)
    assert row.reason == "no rows in this split"


def test_retrievers_are_gated_by_the_rows_differences():
    draw = np.random.default_rng(1)
    above, zero = draw.integers(0, 30, 4000), np.zeros(4000, int)
    domain = np.tile([1, 2], 2000)
    far = np.where((domain == 2) & (draw.random(4000) < 0.5), 29, above)
    names = ("a", "b")
    one, other = (ranks(x, zero, domain=domain, domains=names) for x in (far, above))
    found, known = gate_ranks([one], [other]), compare_ranks([one], [other])
    assert [row.outcome.value for row in found.rows] == ["passes", "worse", "worse"]
    assert found.rows[1].difference.value == known.rows[1].difference.value
    assert found.rows[1].p_worse == pytest.approx(known.rows[1].p_value / 2)
    assert found.rules.margin == 0.01


def test_clumsy_rules_are_refused():
    candidate, incumbent = scores([0, 0, 0])
    with pytest.raises(ConfigError, match=r"no domain is called .wine..*such as .a."):
        gate([candidate], [incumbent], GateRules(domains={"wine": 0.1}))
    with pytest.raises(ConfigError, match="no domain"):
        gate([candidate], [incumbent], GateRules(exclude=("tea",)))
    with pytest.raises(DataError, match="2 candidates and 1 incumbents"):
        gate([candidate, candidate], [incumbent])
    for wrong in ({"margin": -0.1}, {"margin": 0}, {"small": -1}, {"alpha": 0.5}, {"limit": 1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            GateRules(**wrong)


# --- rates of errors


def most(rate, repetitions):
    """As many as come about once in a thousand times where the rate is this one."""
    return stats.binom.ppf(0.999, repetitions, rate)


@pytest.mark.parametrize("kind", worlds.KINDS)
def test_errors_are_held_at_alpha(kind):
    """At the margin a domain passes, and an equal candidate is called worse, at most alpha of the time."""
    times, sizes = 120, (90, 300, 1200)
    at = errors.at_margin(kind, times, sizes=sizes)
    for row in at.rows:
        assert row.passes * times <= most(0.05, times), row
    equal = errors.equal(kind, times, sizes=sizes)
    assert equal.any_worse * times <= most(0.05, times)
    powers = [row.passes for row in equal.rows[: len(sizes)]]
    assert powers[0] <= powers[-1]
    assert powers[-1] > 0.2, "and it does pass with more rows"


def test_students_bound_alone_passes_rare_losses_far_too_often():
    """What the guards of the bound are for."""
    at = errors.at_margin("ranks, collapse", 150, sizes=(90, 300))
    assert at.rows[0].unguarded > 0.2
