import pytest
from pydantic import ValidationError

from isthmus.report import Curves, Masks, ReportData, to_json
from tests.report.sample import sample


@pytest.mark.parametrize("domains", [1, 32])
def test_a_report_survives_json(domains):
    data = sample(domains)
    assert ReportData.model_validate_json(to_json(data)) == data


def test_an_empty_report_survives_json():
    data = ReportData(title="nothing yet")
    assert ReportData.model_validate_json(to_json(data)) == data


def test_unknown_fields_are_refused():
    with pytest.raises(ValidationError, match="extra"):
        ReportData.model_validate({"title": "a", "titel": "b"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"losses": {"bce": (0.4,)}}, "'bce' has 1 epochs, the score 2"),
        ({"best_epoch": 2}, "only 2 epochs"),
        ({"score": (0.7, float("nan"))}, "finite"),
    ],
)
def test_curves_that_do_not_fit_together_are_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        Curves(**{"score": (0.6, 0.7), **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"active": (((1.0,), (1.0,)),)}, "expected 2 domains x"),
        ({"active": (((1.0, 0.0),),)}, "expected 2 domains x"),
        ({"edges": (0.5,)}, "edges has 1 rows"),
        ({"overlap": ((1.0, 0.5), (0.5,))}, "square"),
        ({"overlap": ((1.0, 1.5), (1.5, 1.0))}, "less than or equal to 1"),
    ],
)
def test_masks_that_do_not_fit_together_are_refused(change, message):
    right = {"domains": ("a", "b"), "levels": (2,), "active": (((1.0, 0.0), (0.5, 1.0)),)}
    assert Masks(**right).levels == (2,)
    with pytest.raises(ValidationError, match=message):
        Masks(**{**right, **change})
