"""The sharing table: its columns are those of evaluate and compare, its order is by gain."""

import subprocess
import sys
from pathlib import Path

import pytest

from isthmus.errors import DataError, MismatchError
from isthmus.evaluation import Rules, SharingTable, Verdict, compare, evaluate, sharing
from isthmus.evaluation.advice import advise
from isthmus.evaluation.calibration import calibration_shifts
from isthmus.evaluation.panel import Panel
from tests.evaluation.test_compare import planted

TRAINED = {"gains": 900, "hurt": 800, "same": 700, "small": 5}


@pytest.fixture(scope="module")
def arms():
    joint, isolated = planted()
    return joint, isolated, [joint[0], isolated[0]]


@pytest.fixture(scope="module")
def shared_table(arms):
    joint, isolated, shared = arms
    names = {"joint": "aread", "isolated": "mlp a domain", "shared": "mlp"}
    return sharing(joint, isolated, shared, train_rows=TRAINED, names=names)


def test_rows_are_those_of_compare(arms, shared_table):
    compared = {row.domain: row for row in compare(arms[0], arms[1]).rows}
    assert len(shared_table.rows) == len(compared)
    for row in shared_table.rows:
        found = compared[row.domain]
        assert row.gain == found.difference
        for name in (
            "rows",
            "positives",
            "p_value",
            "p_adjusted",
            "detectable",
            "verdict",
            "reason",
        ):
            assert getattr(row, name) == getattr(found, name)
        assert row.train_rows == TRAINED.get(row.domain, 0)


def test_aucs_are_means_over_seeds(arms, shared_table):
    for name, arm in zip(("joint", "isolated", "shared"), arms, strict=True):
        metrics = [evaluate(p).by_domain for p in arm]
        for row in shared_table.rows:
            found = getattr(row, name)
            each = [m[row.domain].auc for m in metrics]
            if each[0] is None:
                assert found is None
                continue
            assert found.value == pytest.approx(sum(i.value for i in each) / 2)
            assert found.low < found.value < found.high


def test_one_seed_has_the_intervals_of_evaluate(arms):
    joint, isolated, _ = arms
    found = sharing(joint[:1], isolated[:1], train_rows=TRAINED)
    by_domain = evaluate(joint[0]).by_domain
    for row in found.rows:
        if row.joint:
            alone = by_domain[row.domain].auc
            assert (row.joint.low, row.joint.high) == pytest.approx((alone.low, alone.high))
        assert row.shared is None
    assert "noise of training is not included" in found.protocol


def test_sorted_by_gain_and_counted(shared_table):
    gains = [row.gain.value for row in shared_table.rows if row.gain]
    assert gains == sorted(gains, reverse=True)
    assert [row.domain for row in shared_table.rows[-2:]] == ["empty", "no positives"]
    assert shared_table.rows[0].domain == "gains"
    assert shared_table.counts == {"gains": 1, "unchanged": 1, "hurt": 1, "not measurable": 3}


def test_names_protocol_and_overall(arms, shared_table):
    assert shared_table.names["joint"] == "aread"
    assert "AUC of aread minus AUC of mlp a domain" in shared_table.protocol
    assert "2 seeds" in shared_table.protocol
    compared = compare(arms[0], arms[1])
    assert (shared_table.overall, shared_table.overall_p_value) == (
        compared.overall,
        compared.overall_p_value,
    )
    assert SharingTable.model_validate_json(shared_table.model_dump_json()) == shared_table


def test_rules_are_obeyed(arms):
    strict = sharing(arms[0], arms[1], train_rows={}, rules=Rules(resolution=0.001, data="valid"))
    assert strict.counts["unchanged"] == 0
    assert "of valid" in strict.protocol


def test_what_is_refused(arms):
    joint, isolated, _ = arms
    with pytest.raises(MismatchError, match=r"unknown domains \['nowhere'\]"):
        sharing(joint, isolated, train_rows={"nowhere": 3})
    with pytest.raises(DataError, match="2 joint and 1 isolated"):
        sharing(joint, isolated[:1], train_rows={})
    with pytest.raises(MismatchError, match="rows against"):
        sharing(joint, isolated, [joint[0].take(joint[0].domain > 1)], train_rows={})


def test_evaluation_does_without_torch():
    check = "import sys, isthmus.evaluation; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_the_page_of_verdicts_names_every_verdict_and_default():
    page = (Path(__file__).parents[2] / "docs" / "verdicts.md").read_text()
    for verdict in Verdict:
        assert f"| **{verdict}** |" in page
    rules = Rules()
    assert f"`alpha` {rules.alpha}, `resolution` {rules.resolution} (of AUC)" in page
    assert f"`min_class` {rules.min_class}." in page


def test_each_domain_has_its_calibration_and_what_to_do(arms, shared_table):
    shifts = calibration_shifts(Panel.of(arms[0][0]), arms[0], arms[1], Rules())
    for row in shared_table.rows:
        assert row.calibration == shifts[row.domain]
        assert row.advice == advise(row, Rules(), seeds=2)
    assert {row.domain: row.advice.action.value for row in shared_table.rows if row.advice} == {
        "gains": "serve jointly", "same": "serve jointly", "hurt": "serve its own",
        "small": "collect more rows", "empty": "collect more rows",
        "no positives": "collect more rows",
    }  # fmt: skip
    fine = sharing(arms[0], arms[1], train_rows={}, rules=Rules(resolution=0.001, min_class=7))
    assert (fine.resolution, fine.min_class) == (0.001, 7)
