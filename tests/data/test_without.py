import numpy as np
import pytest

from isthmus.data.prepare import prepare
from isthmus.data.prepared import Prepared
from isthmus.data.sources import get
from isthmus.data.without import Without, most_rows
from isthmus.errors import DataError
from tests.data.events import config as sequence_config
from tests.data.events import events, written


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    made = get("synthetic")(folder / "raw", rows=900, domains=4, clusters=2, harmful_pairs=1)
    return prepare(made, folder / "prepared")


def test_no_split_holds_a_row_of_a_domain_that_is_left_out(rows):
    gone = rows.schema.domains[1]
    left = Without(rows, [gone])
    for split in ("train", "valid", "test"):
        whole = rows.table(split)
        kept = whole["domain"] != 2
        assert 0 < kept.sum() < len(kept)
        np.testing.assert_array_equal(left.table(split)["row"], whole["row"][kept])
        found = left.impressions(split)
        assert found.features.equal(rows.impressions(split).features[kept.tolist()])
        assert 2 not in found.domain
    assert left.schema == rows.schema
    assert left.digest == rows.digest


def test_a_limit_on_rows_leaves_the_others_their_part(rows):
    counts = {n: c.rows for n, c in rows.manifest.splits["train"].items()}
    gone = rows.schema.domains[0]
    part = most_rows(Without(rows, [gone]), 300)
    assert part == round(300 * (1 - counts[gone] / sum(counts.values())))
    assert most_rows(rows, 300) == 300
    assert most_rows(Without(rows, [gone]), None) is None


def test_domains_that_are_not_there_and_all_domains_are_refused(rows):
    with pytest.raises(DataError, match="no domain 'nowhere'"):
        Without(rows, ["nowhere"])
    with pytest.raises(DataError, match="names all domains"):
        Without(rows, rows.schema.domains)


def test_items_of_events_are_as_though_unknown(tmp_path):
    file = written(events(500, users=30), tmp_path / "e.parquet")
    prepared: Prepared = prepare(sequence_config(file, min_count=2), tmp_path / "prepared")
    gone = prepared.schema.domains[0]
    left = Without(prepared, [gone])
    train = left.windows("train", stride=1, least=1)
    assert len(train) > 0
    assert 1 not in train.domain
    assert 1 not in train.item_domains
    whole, other = prepared.windows("valid"), left.windows("valid")
    assert len(whole) == len(other), "evaluation asks for the same rows"
    assert (other.target[other.domain == 1] == 0).all()
    assert other.target[other.domain != 1].equal(whole.target[whole.domain != 1])
