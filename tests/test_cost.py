"""The cost study's arithmetic: ratios by round, rows kept, limits, table and pictures. No times."""

import itertools

import pytest
from benchmarks.speed import cost, cost_page, domains

from isthmus.report.pictures import still

SECONDS = {5: [1.0, 2.0, 4.0], 6: [2.0, 2.0, 4.0], 60: [2.0, 5.0, 4.4]}
PARAMETERS = {5: 100, 6: 110, 60: 1000}


def test_ratios_are_of_the_same_round_and_their_median_counts():
    few, six, most = cost.rows_of("star", PARAMETERS, SECONDS)
    assert (few["ratio_to_5"], few["ratio_to_6"], few["cpu_s_per_1000_rows"]) == ("1.000", "1.000", "2.00000")  # fmt: skip
    assert (six["ratio_to_6_low"], six["ratio_to_6_high"]) == ("1.000", "1.000")
    # rounds of 60 over 5: 2, 2.5, 1.1; over 6: 1, 2.5, 1.1. The ratio of medians would be 2.2
    assert (most["ratio_to_5"], most["ratio_to_6"]) == ("2.000", "1.100")
    assert (most["ratio_to_6_low"], most["ratio_to_6_high"], most["rounds"]) == ("1.000", "2.500", "3")  # fmt: skip


def test_what_is_counted_alone_has_no_time():
    row = cost.rows_of("isolated", {60: 7}, {})[0]
    assert row == {"model": "isolated", "domains": "60", "parameters": "7"}


def test_models_measured_anew_replace_their_rows(tmp_path):
    old = cost.rows_of("star", {5: 1, 60: 2}, {}) + cost.rows_of("mmoe", {60: 3}, {})
    cost.write(tmp_path / "cost.csv", old)
    rows = cost.merged(cost.read(tmp_path / "cost.csv"), cost.rows_of("star", {10: 5, 6: 4}, {}))
    found = [(row["model"], row["domains"], row["parameters"]) for row in rows]
    assert found == [("mmoe", "60", "3"), ("star", "6", "4"), ("star", "10", "5")]


@pytest.mark.parametrize(
    ("model", "ratio", "over"),
    [("star", 1.5, 0), ("star", 1.51, 1), ("aread", 1.31, 1), ("mlp", 9.0, 0)],
)
def test_limits_are_on_60_domains_over_6_of_the_models_that_have_one(model, ratio, over):
    rows = cost.rows_of(model, {6: 1, 60: 1}, {6: [1.0], 60: [ratio]})
    said = cost.over_limit(rows)
    assert len(said) == over
    assert all(line.startswith(f"{model}: {ratio:.3f} times") for line in said)


@pytest.fixture
def rows():
    """Figures of the models with a limit (STAR over it), one other, and one that is counted alone."""
    taken = [cost.rows_of(name, PARAMETERS, SECONDS) for name in ("mlp", *cost.LIMITS)]
    over = cost.rows_of("star", PARAMETERS, {**SECONDS, 60: [9.0, 9.0, 9.0]})
    return cost.merged(itertools.chain(*taken), over + cost.rows_of(cost.ISOLATED, PARAMETERS, {}))


def test_the_docs_say_who_keeps_the_limit_and_show_every_model(rows):
    limits = cost_page.limits(rows).splitlines()[2:]
    assert limits[0] == "| STAR | 4.50 (2.25 to 4.50) | 1.5 | **exceeded** |"
    assert all(line.endswith("| kept |") for line in limits[1:])
    lines = cost_page.table(rows).splitlines()
    assert "| `mlp` | 100 | 1,000 | 2000.0 | 4400.0 | 2.00 | 1.10 (1.00 to 2.50) |" in lines
    assert lines[-2].startswith("| **STAR** |"), "the dearest comes last, before what is not timed"
    assert lines[-1] == "| isolated MLPs | 100 | 1,000 |  |  |  |  |"


def test_pictures_hold_every_point(rows):
    """But those at 6 domains, which the limits alone are about."""
    growth, time, parameters = cost_page.pictures(rows)
    points = {p.key: _points(still(p.spec())) for p in (growth, time, parameters)}
    assert ("star", 60, 4.5) in points["growth"]
    assert ("mlp", 5, 2000.0) in points["time"]
    assert ("isolated", 60, 1000.0) in points["parameters"]
    assert [len(points[key]) for key in ("growth", "time", "parameters")] == [12, 12, 14]


def _points(spec):
    values = [value for values in spec["datasets"].values() for value in values]
    return {(value["model"], value["domains"], value["value"]) for value in values}


def test_rows_differ_by_their_domain_alone_and_every_domain_has_some():
    few, most = domains.impressions(6), domains.impressions(60)
    assert few.features.equal(most.features)
    assert few.label.equal(most.label)
    sizes = most.domain.bincount()
    assert (few.domain.unique().tolist(), len(sizes)) == ([1, 2, 3, 4, 5, 6], 61)
    assert sizes[1] / len(most) == pytest.approx(1 / sum(1 / rank for rank in range(1, 61)), rel=0.05)  # fmt: skip
    assert sizes[1:].min() > 0


def test_parameters_of_isolated_models_are_summed():
    """By hand: a table of as many ids as a domain's rows have, an own id for what they lack, and an MLP."""
    rows = domains.impressions(5)
    ids = sum(
        sum(len(set(column.tolist()) - {0}) + 1 for column in rows.features[rows.domain == d].T)
        for d in range(1, 6)
    )
    one = domains.parameters(domains.model("mlp", 1))
    tables = sum(feature.size for feature in domains.schema(1).features)
    assert domains.isolated(5) == ids * domains.EMBEDDING + 5 * (one - tables * domains.EMBEDDING)


def test_a_model_is_measured_at_each_number_of_domains(monkeypatch):
    """Real steps, few: which times they take is not looked at."""
    monkeypatch.setattr(domains, "interleaved", _counted)
    few, most = domains.measured("mmoe", (6, 60), rounds=2, steps=1)
    assert (few["domains"], most["domains"], most["ratio_to_6"]) == ("6", "60", "2.000")
    assert int(most["parameters"]) > int(few["parameters"])


def _counted(sides, *, rounds, repeat):
    """As if a step took a second for each side before it, and itself."""
    assert set(repeat.values()) == {1}
    for work in sides.values():
        work()
    return {name: [float(place)] * rounds for place, name in enumerate(sides, 1)}
