"""The picture of several joint models' gains: figures of the tables, in the order of the first."""

import pytest

from isthmus.report.charts_negative import negative_transfer
from isthmus.report.palette import LIGHT
from tests.report.sample import sample


def test_it_draws_each_tables_gains_beside_each_other():
    first, second = (sample(n).sharing for n in (6, 9))
    second = second.model_copy(update={"names": {**second.names, "joint": "other"}})
    drawn = negative_transfer([first, second], LIGHT)
    rows = next(r for r in drawn.spec()["datasets"].values() if len(r) > 1)
    found = {(row["model"], row["domain"]): row for row in rows}
    for table in (first, second):
        measured = [row for row in table.rows if row.gain is not None]
        shown = [row for row in rows if row["model"] == table.names["joint"]]
        assert len(shown) == len(measured) > 0
        for row in measured:
            value = found[table.names["joint"], row.domain]["value"]
            assert value == pytest.approx(row.gain.value, abs=1e-5)
    order = [row.domain for row in first.rows if row.gain is not None]
    assert drawn.spec()["layer"][1]["encoding"]["y"]["scale"]["domain"][: len(order)] == order


def test_its_caption_names_who_is_hurt():
    table = sample(32).sharing
    hurt = [row.domain for row in table.rows if row.verdict.value == "hurt"]
    assert hurt
    caption = negative_transfer([table], LIGHT).caption
    assert f"{len(hurt)} (" in caption
    assert all(name in caption for name in hurt)


def test_without_a_gain_it_says_so():
    table = sample(3).sharing
    bare = [row.model_copy(update={"gain": None}) for row in table.rows]
    drawn = negative_transfer([table.model_copy(update={"rows": tuple(bare)})], LIGHT)
    assert drawn.chart is None
    assert drawn.reason
