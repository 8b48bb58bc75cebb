"""A whole preparation: the same bytes for the same rows, nothing lost, and a whole directory or none."""

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isthmus.data import prepare as module
from isthmus.data.config import FeatureConfig
from isthmus.data.prepare import prepare
from isthmus.data.prepared import Prepared
from isthmus.errors import DataError
from tests.data.raw import FEATURES, config, raw, write

SPLITS = ("train", "valid", "test")


def hashes(data: Prepared) -> dict[str, str]:
    return {name: record.sha256 for name, record in data.manifest.files.items()}


def everything(data: Prepared) -> dict[str, np.ndarray]:
    """The columns of all splits together, in the order of ``row``."""
    tables = [pq.read_table(data.path / f"{split}.parquet") for split in SPLITS]
    table = pa.concat_tables(tables).sort_by("row")
    return {name: np.asarray(table[name].to_pylist()) for name in table.column_names}


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    """In whatever order, files and format; two rows are there twice, so ties are tried as well."""
    table = raw(700, price=np.round(np.random.default_rng(9).normal(10, 3, 700), 2))
    table = pa.concat_tables([table, table.slice(5, 2)])
    draw = np.random.default_rng(1)
    shuffled = table.take(pa.array(draw.permutation(len(table))))
    ways = {
        "plain": [write(table, tmp_path / "a.parquet")],
        "again": [tmp_path / "a.parquet"],
        "shuffled": [write(shuffled, tmp_path / "b.parquet")],
        "parts": [
            write(shuffled.slice(0, 300), tmp_path / "z.parquet"),
            write(shuffled.slice(300, 50), tmp_path / "c.csv"),
            write(shuffled.slice(350), tmp_path / "d.jsonl"),
        ],
    }
    found = {
        name: hashes(prepare(config(*files), tmp_path / f"out {name}"))
        for name, files in ways.items()
    }
    assert set(found["plain"]) == {
        *(f"{split}.parquet" for split in SPLITS),
        *(f"vocabulary/{table}.parquet" for table in ("user_id", "item_id", "brand")),
    }
    for name in ways:
        assert found[name] == found["plain"], name


def test_the_same_configuration_gives_the_same_manifest(tmp_path: Path) -> None:
    asked = config(write(raw(), tmp_path / "in.parquet"))
    assert prepare(asked, tmp_path / "a").digest == prepare(asked, tmp_path / "b").digest


def test_each_row_is_there_once_with_its_own_values(tmp_path: Path) -> None:
    """Against plain Python over the raw rows, found again by their time, user and item."""
    table = raw(500, at=np.random.default_rng(2).permutation(500))
    data = prepare(config(write(table, tmp_path / "in.parquet")), tmp_path / "out")
    columns = everything(data)
    np.testing.assert_array_equal(columns["row"], np.arange(500))
    rows = table.sort_by("at").to_pylist()
    assert columns["time"].tolist() == [row["at"] for row in rows]
    for feature, column in (("user_id", "user"), ("item_id", "item"), ("brand", "brand")):
        words = data.values(feature).to_pylist()
        ids = {word: place + 1 for place, word in enumerate(words)}
        wanted = [ids.get(str(row[column]), 0) for row in rows]
        assert columns[feature].tolist() == wanted
    names = {name: place + 1 for place, name in enumerate(data.schema.domains)}
    assert columns["domain"].tolist() == [names[row["shop"]] for row in rows]
    assert columns["label"].tolist() == [row["bought"] for row in rows]
    bought: dict[int, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        known = bought[row["user"]][-3:][::-1]
        assert columns["history"][place].tolist() == known + [0] * (3 - len(known))
        if row["bought"]:
            bought[row["user"]].append(int(columns["item_id"][place]))


def test_user_codes_name_users(tmp_path: Path) -> None:
    table = raw(500, at=np.random.default_rng(2).permutation(500))
    data = prepare(config(write(table, tmp_path / "in.parquet")), tmp_path / "out")
    pairs = set(zip(everything(data)["user"], table.sort_by("at")["user"].to_pylist(), strict=True))
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) == 20


def test_nothing_of_the_test_lies_before_the_cut(tmp_path: Path) -> None:
    data = prepare(config(write(raw(900), tmp_path / "in.parquet")), tmp_path / "out")
    times = [data.table(split)["time"] for split in SPLITS]
    assert times[0].max() < times[1].min() <= times[1].max() < times[2].min()
    assert data.manifest.protocol.startswith("by time: train before ")


def test_the_manifest_counts_what_the_files_hold(tmp_path: Path) -> None:
    data = prepare(config(write(raw(900), tmp_path / "in.parquet")), tmp_path / "out")
    for split in SPLITS:
        table = data.table(split)
        for place, name in enumerate(data.schema.domains, 1):
            chosen = table["domain"] == place
            count = data.manifest.splits[split][name]
            assert (count.rows, count.positives) == (chosen.sum(), table["label"][chosen].sum())
        features = data.impressions(split).features.numpy()
        unknown = data.manifest.unknown
        assert unknown["brand"][split] == pytest.approx((features[:, 2] == 0).mean(), abs=1e-6)
        empty = (features[:, 4:] == 0).all(axis=1).mean()
        assert unknown["history"][split] == pytest.approx(empty, abs=1e-6)


def test_not_finite_and_constant_numbers(tmp_path: Path) -> None:
    price = np.random.default_rng(0).normal(size=400)
    price[:3], price[3:6], price[6:9] = np.nan, np.inf, -np.inf
    features = (*FEATURES[:2], FEATURES[3], FeatureConfig(name="same", kind="number"))
    table = raw(price=price, same=np.ones(400), at=np.arange(400))
    data = prepare(
        config(write(table, tmp_path / "in.parquet"), features=features), tmp_path / "out"
    )
    ids = everything(data)["price"]
    assert (ids[:9] == 0).all()
    assert ids[9:].min() == 1
    assert set(everything(data)["same"]) == {1}
    assert [(f.code, f.severity, f.feature) for f in data.manifest.audit] == [
        ("constant", "warns", "same")
    ]


SHOPS = {
    "one domain": (np.repeat(["a"], 400), ("a",)),
    "one row": (np.where(np.arange(400) == 0, "b", "a"), ("a", "b")),
    "only in the test": (np.where(np.arange(400) >= 390, "b", "a"), ("a",)),
    "named unknown": (np.where(np.arange(400) % 2, "<unknown>", "a"), ("a",)),
}


@pytest.mark.parametrize("case", SHOPS)
def test_domains_that_are_few(tmp_path: Path, case: str) -> None:
    shops, names = SHOPS[case]
    table = raw(shop=shops, at=np.arange(400))
    data = prepare(config(write(table, tmp_path / "in.parquet")), tmp_path / "out")
    assert data.schema.domains == names
    for split in SPLITS:
        domains = data.manifest.splits[split]
        assert list(domains)[: len(names)] == list(names)
        assert sum(count.rows for count in domains.values()) == len(data.table(split)["row"])
        zeros = int((data.table(split)["domain"] == 0).sum())
        assert domains.get("<unknown>", None) is None if not zeros else True
        if zeros:
            assert domains["<unknown>"].rows == zeros


def test_a_domain_of_one_class_and_a_data_set_of_one_class(tmp_path: Path) -> None:
    table = raw(600)
    single = np.where(np.asarray(table["shop"]) == "east", 1, table["bought"].to_numpy())
    data = prepare(config(write(raw(600, bought=single), tmp_path / "a.parquet")), tmp_path / "a")
    count = data.manifest.splits["train"]["east"]
    assert count.rows == count.positives > 0
    none = raw(600, bought=np.zeros(600, np.int8))
    data = prepare(config(write(none, tmp_path / "b.parquet")), tmp_path / "b")
    assert sum(count.positives for count in data.manifest.splits["train"].values()) == 0
    assert not data.impressions("train").features[:, 4:].any()


def test_a_thousand_domains(tmp_path: Path) -> None:
    table = raw(5000, shop=pa.array([f"shop {k % 1000:04}" for k in range(5000)]))
    data = prepare(config(write(table, tmp_path / "in.parquet")), tmp_path / "out")
    assert data.schema.num_domains == 1000
    assert max(data.table("train")["domain"]) == 1000


def test_without_a_time_histories_need_none(tmp_path: Path) -> None:
    columns = config(Path("x")).columns.model_copy(update={"time": None})
    asked = config(
        write(raw(), tmp_path / "in.parquet"),
        features=FEATURES[:4],
        columns=columns,
        split={"by": "user", "seed": 3},
    )
    data = prepare(asked, tmp_path / "out")
    assert set(everything(data)["time"]) == {0}


def test_what_is_no_prepared_data_set_is_never_overwritten(tmp_path: Path) -> None:
    asked = config(write(raw(), tmp_path / "in.parquet"))
    precious = tmp_path / "out" / "thesis.txt"
    precious.parent.mkdir()
    precious.write_text("mine")
    with pytest.raises(DataError, match="it stays untouched"):
        prepare(asked, precious.parent)
    assert precious.read_text() == "mine"
    with pytest.raises(DataError, match="is no directory"):
        prepare(asked, precious)
    precious.unlink()
    first = prepare(asked, precious.parent)
    assert prepare(asked, precious.parent).digest == first.digest
    assert {path.name for path in tmp_path.iterdir()} == {"in.parquet", "out"}


def test_a_failure_at_the_end_leaves_the_old_data_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = config(write(raw(), tmp_path / "in.parquet"))
    before = prepare(asked, tmp_path / "out").digest

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_write_vocabularies", full)
    with pytest.raises(DataError, match="cannot be written: No space left on device"):
        prepare(asked, tmp_path / "out")
    assert Prepared.open(tmp_path / "out").digest == before
    assert {path.name for path in tmp_path.iterdir()} == {"in.parquet", "out"}


def test_what_a_killed_preparation_left_is_swept(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    orphan = tmp_path / f".out.{gone.pid}.partial"
    orphan.mkdir()
    alive = tmp_path / f".out.{os.getppid()}.partial"
    alive.mkdir()
    prepare(config(write(raw(), tmp_path / "in.parquet")), tmp_path / "out")
    assert not orphan.exists()
    assert alive.exists()


def test_progress_and_notes(tmp_path: Path) -> None:
    steps: list[float] = []
    notes: list[str] = []

    class Reporter:
        def task(self, label: str, total: float | None) -> "Reporter":
            steps.append(total or 0)
            return self

        def note(self, text: str) -> None:
            notes.append(text)

        def __enter__(self) -> object:
            return steps.append

        def __exit__(self, *_: object) -> None:
            pass

    table = raw(bought=[2, *([0, 1, 1] * 133)])
    asked = config(write(table, tmp_path / "in.parquet"), max_rejected=0.5)
    prepare(asked, tmp_path / "out", reporter=Reporter())
    assert steps[0] == sum(steps[1:]) == 7
    assert notes == [
        "1 of 400 rows rejected:",
        "  bought is not 0 or 1: 1 rows, first in.parquet row 1",
    ]
