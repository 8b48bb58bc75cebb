"""Every check: it fires on its example, not on the control, and is explained."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from isthmus.data import leaks
from isthmus.diagnosis import CHECKS, Evidence, NotApplicable, Severity, diagnose, ids, training
from isthmus.diagnosis import data as data_checks
from isthmus.diagnosis.evidence import ABSENT, Course
from isthmus.diagnosis.examples import DOMAINS, EXAMPLES, data
from isthmus.diagnosis.page import GROUPS, page
from isthmus.errors import ConfigError

PAGE = Path(__file__).parents[2] / "docs" / "diagnosis.md"
CODES = sorted(CHECKS)


@pytest.mark.parametrize("code", CODES)
def test_it_fires_on_its_example_and_not_on_the_control(code):
    fires, healthy = EXAMPLES[code]()
    found = CHECKS[code].run(fires)
    assert found
    assert CHECKS[code].run(healthy) == ()
    for finding in found:
        assert (finding.code, finding.severity) == (code, CHECKS[code].severity)
        assert set(finding.domains) <= set(DOMAINS)
        assert re.search(r"\d|'was_clicked'", finding.message), "neither a figure nor a name"


@pytest.mark.parametrize("code", CODES)
def test_it_has_a_section_of_the_page(code):
    text = PAGE.read_text(encoding="utf-8")
    one = CHECKS[code]
    place, anchor = one.page.split("#")
    assert PAGE.as_posix().endswith(place)
    head = f"### {code}: {one.title} {{#{anchor}}}"
    assert text.count(head) == 1
    section = text.split(head)[1].split("\n#")[0]
    assert f"**{one.severity.value}.**" in section
    assert one.remedy in section
    assert one.run(EXAMPLES[code]()[0])[0].message in section


def test_each_code_has_an_example_a_group_and_words():
    assert set(EXAMPLES) == set(CHECKS)
    for code, one in CHECKS.items():
        assert re.fullmatch(r"ISTH[1-7]\d\d", code)
        assert code[4] in GROUPS
        assert min(map(len, (one.title, one.looks_at, one.remedy))) > 10
        assert set(one.needs) <= set(ABSENT)
    assert page() in PAGE.read_text(encoding="utf-8")


def test_what_is_not_known_is_not_applicable_with_its_reason():
    found = diagnose(Evidence(domains=DOMAINS, absent={"data": "nowhere"}), "r")
    assert not found.findings
    assert not found.passed
    reasons = {one.code: one.reason for one in found.not_applicable}
    assert set(reasons) == set(CHECKS)
    assert reasons["ISTH101"] == "nowhere"
    assert reasons["ISTH401"] == ABSENT["seeds"]


def test_findings_come_by_severity_then_code():
    fires = EXAMPLES["ISTH105"]()[0]
    strange = replace(fires.data, early=np.array([0, 3, 0, 0]))
    few = replace(fires, data=strange, own_parameters=900_000)
    found = diagnose(few, "r")
    assert [f.code for f in found.findings] == ["ISTH105", "ISTH103", "ISTH605"]
    assert list(found.counts().values()) == [1, 1, 1]
    assert found.fails(Severity.error)
    alone = diagnose(few, "r", only=["ISTH605"])
    assert [f.code for f in alone.findings] == ["ISTH605"]
    assert not alone.passed
    assert not alone.fails(Severity.warning)
    assert alone.fails(Severity.note)


def test_an_unknown_code_is_refused():
    with pytest.raises(ConfigError, match=r"ISTH999.*ISTH101"):
        diagnose(Evidence(domains=DOMAINS), "r", only=["ISTH999"])


def test_thresholds_are_those_of_the_audit():
    assert data_checks.SUSPICIOUS_AUC == leaks.WARNING_AUC
    assert data_checks.CHANCE == leaks.CHANCE


def test_what_the_audit_said_of_the_order_is_said_once():
    from isthmus.diagnosis import Audited

    early = data(
        audit=(Audited("future-in-training", "split", True, "3 rows are earlier"),),
        early=np.array([0, 3, 0, 0]),
    )
    assert [f.code for f in diagnose(early, "r").findings] == ["ISTH103"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("ab 1", "AB1 ", True),
        ("7.0", "7", True),
        ("007", "7", True),
        ("0", "00", True),
        ("7.5", "7", False),
        ("a7", "a07", False),
        ("straße", "STRASSE", True),
        ("70", "7", False),
    ],
)
def test_writings_of_one_thing(one, other, same):
    assert (len(ids._alike([one, other])) == 1) == same


def test_a_split_without_order_is_not_asked_for_it():
    with pytest.raises(NotApplicable, match="no order"):
        CHECKS["ISTH103"].run(data())


def test_a_first_epoch_that_is_the_only_one_was_cut_short():
    def found(scores, most):
        return CHECKS["ISTH601"].run(
            Evidence(domains=DOMAINS, course=Course(scores=scores, max_epochs=most))
        )

    assert found((0.6,), 1)
    assert not found((0.6, 0.7), 5), "stopped for another reason"
    assert not found((0.6, 0.6 + training.RISES / 2), 2), "flat"
