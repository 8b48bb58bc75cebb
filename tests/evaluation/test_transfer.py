import numpy as np
import pytest

from isthmus.evaluation.transfer import TransferMap, WayMap, agreements, matrix
from tests.report.transfer_sample import transfer_sample


def test_a_map_comes_back_from_json():
    found = transfer_sample(5)
    assert TransferMap.model_validate_json(found.model_dump_json()) == found


def test_the_strongest_pairs_stand_in_order_with_their_names():
    effect = matrix([[np.nan, 0.5, -0.2], [0.1, np.nan, 0.0], [-0.9, 0.3, np.nan]])
    made = TransferMap(
        groups={name: (name,) for name in "abc"},
        ways={"left_out": WayMap(effect=effect, unit="AUC")},
    )
    cells = made.strongest()
    assert [(source, target, effect) for source, target, effect, _ in cells] == [
        ("c", "a", -0.9), ("a", "c", -0.2), ("b", "c", 0.0),
        ("b", "a", 0.1), ("c", "b", 0.3), ("a", "b", 0.5),
    ]  # fmt: skip
    assert all(np.isnan(error) for *_, error in cells)


def test_a_matrix_must_be_as_large_as_the_groups():
    with pytest.raises(ValueError, match="2 x 2"):
        TransferMap(
            groups={"a": ("a",), "b": ("b",)},
            ways={"masks": WayMap(effect=((None,),), unit="share")},
        )


def test_every_two_ways_are_compared():
    found = agreements(transfer_sample(6).ways)
    assert [one.ways for one in found] == [
        ("left_out", "gradients"), ("left_out", "masks"), ("gradients", "masks"),
    ]  # fmt: skip
