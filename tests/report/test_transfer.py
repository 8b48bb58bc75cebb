"""The transfer map in every form of the report."""

from itertools import pairwise

import pytest
from rich.console import Console

from isthmus.evaluation.transfer import TransferMap, WayMap
from isthmus.report import to_markdown, to_terminal
from isthmus.report.charts_transfer import clustered, transfer
from isthmus.report.data import ReportData
from isthmus.report.html import to_html
from isthmus.report.palette import LIGHT
from isthmus.report.pictures import pictures
from isthmus.report.transfer_table import headline
from tests.report.transfer_sample import transfer_sample


def test_groups_that_help_each_other_stand_together():
    kind = [place % 3 for place in range(12)]
    effect = tuple(
        tuple(None if a == b else (0.02 if kind[a] == kind[b] else -0.01) for b in range(12))
        for a in range(12)
    )
    found = TransferMap(
        groups={str(place): (str(place),) for place in range(12)},
        ways={"left_out": WayMap(effect=effect, unit="AUC")},
    )
    order = [kind[place] for place in clustered(found)]
    assert sum(a != b for a, b in pairwise(order)) == 2


def test_each_way_has_a_matrix_in_one_order_and_each_two_a_scatter():
    found = transfer_sample(8)
    drawn = {picture.key: picture.spec() for picture in transfer(found, LIGHT)}
    assert list(drawn) == [
        "transfer-left-out", "transfer-gradients", "transfer-masks",
        "transfer-left-out-gradients", "transfer-left-out-masks", "transfer-gradients-masks",
    ]  # fmt: skip
    orders = [
        next(p["value"] for p in drawn[key]["params"] if p["name"].endswith("_names"))
        for key in list(drawn)[:3]
    ]
    assert orders[0] == orders[1] == orders[2]
    assert sorted(orders[0]) == sorted(found.names)
    values = next(p["value"] for p in drawn["transfer-left-out"]["params"] if p["name"].endswith("_values"))  # fmt: skip
    source, target = (found.names.index(orders[0][place]) for place in (1, 3))
    assert values[1][3] == pytest.approx(found.ways["left_out"].effect[source][target], abs=1e-5)
    (spots,) = drawn["transfer-left-out-gradients"]["datasets"].values()
    assert len(spots) == 8 * 7


@pytest.mark.parametrize("groups", [4, 61])
def test_few_and_many_groups_are_drawn(groups):
    first = transfer(transfer_sample(groups, ways=1), LIGHT)[0]
    assert first.chart is not None
    labelled = groups <= 60
    text = str(first.spec())
    assert ("'labels': True" in text) == labelled


def test_the_headline_says_how_many_are_more_than_noise():
    effect = ((None, 0.05, -0.03), (0.001, None, 0.0), (-0.09, 0.002, None))
    error = tuple(tuple(None if e is None else 0.01 for e in row) for row in effect)
    found = TransferMap(
        groups={name: (name,) for name in "abc"},
        ways={"left_out": WayMap(effect=effect, error=error, unit="AUC")},
    )
    said = headline(found)
    assert "Of 6 ordered pairs of 3 domains, 1 help and 2 hurt" in said
    assert "Most help: a to b, +0.0500." in said
    assert "Most harm: c to a, −0.0900." in said


def test_page_markdown_and_terminal_tell_of_the_map():
    data = ReportData(title="t", transfer=transfer_sample(5, ways=2))
    page, text = to_html(data), to_markdown(data)
    console = Console(width=120, record=True, file=None, quiet=False)
    with console.capture() as captured:
        to_terminal(data, console)
    for shown in (page, text, captured.get()):
        assert "rank correlation" in shown
        assert "mlp has no masks" in shown
        assert "How it was measured." in shown
    assert 'href="#transfer"' in page
    assert "picture-transfer-left-out" in page
    bare = ReportData(title="t")
    assert 'id="transfer"' not in to_html(bare)
    assert not [picture for picture in pictures(bare) if picture.key.startswith("transfer")]
