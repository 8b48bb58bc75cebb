"""Reading a prepared data set: every changed byte has a name, and raw rows encode as they did."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from isthmus.data.config import FeatureConfig
from isthmus.data.prepare import prepare
from isthmus.data.prepared import Manifest, Prepared
from isthmus.errors import DataError, IntegrityError
from tests.data.raw import FEATURES, config, raw, write

READY = FeatureConfig(name="trips", kind="history", length=2)


@pytest.fixture(scope="module")
def source() -> pa.Table:
    trips = pa.array([[f"t{k % 5}", f"t{k % 3}", "x"][: k % 4] for k in range(400)])
    return raw(trips=trips, at=np.random.default_rng(0).permutation(400))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, source: pa.Table) -> Prepared:
    folder = tmp_path_factory.mktemp("made")
    asked = config(write(source, folder / "in.parquet"), features=(*FEATURES, READY))
    return prepare(asked, folder / "out")


@pytest.fixture
def data(made: Prepared, tmp_path: Path) -> Prepared:
    """A copy that may be broken."""
    shutil.copytree(made.path, tmp_path / "data")
    return Prepared.open(tmp_path / "data")


def files(data: Prepared) -> list[str]:
    return [*data.manifest.files, "manifest.json"]


def test_a_flipped_bit_has_a_name(data: Prepared) -> None:
    for name in data.manifest.files:
        path = data.path / name
        whole = path.read_bytes()
        for place in (0, len(whole) // 2, len(whole) - 1):
            changed = bytearray(whole)
            changed[place] ^= 4
            path.write_bytes(changed)
            with pytest.raises(IntegrityError, match=r"were changed") as caught:
                Prepared.open(data.path)
            assert str(path) in str(caught.value)
        path.write_bytes(whole)
    assert Prepared.open(data.path).digest == data.digest


def test_a_cut_or_missing_file_has_a_name_even_unverified(data: Prepared) -> None:
    for name in data.manifest.files:
        path = data.path / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        with pytest.raises(IntegrityError, match=r"bytes, its manifest says") as caught:
            Prepared.open(data.path, verify=False)
        assert str(path) in str(caught.value)
        path.unlink()
        with pytest.raises(IntegrityError, match="is missing"):
            Prepared.open(data.path, verify=False)
        path.write_bytes(whole)


def test_files_that_changed_places_are_found(data: Prepared) -> None:
    a, b = data.path / "valid.parquet", data.path / "test.parquet"
    a.rename(data.path / "c")
    b.rename(a)
    (data.path / "c").rename(b)
    with pytest.raises(IntegrityError, match=r"(valid|test|train)\.parquet"):
        Prepared.open(data.path)


def test_a_manifest_that_is_not_ours_has_a_name(data: Prepared) -> None:
    path = data.path / "manifest.json"
    whole = json.loads(path.read_text())
    cases = {
        "is not whole JSON": path.read_text()[:-20],
        "is not the manifest": json.dumps({"format": "other"}),
        "format version 2": json.dumps({**whole, "version": 2}),
        "splits": json.dumps({**whole, "splits": 3}),
        "surprise": json.dumps({**whole, "surprise": 3}),
    }
    for reason, text in cases.items():
        path.write_text(text)
        with pytest.raises(IntegrityError, match=reason):
            Prepared.open(data.path)
    path.unlink()
    with pytest.raises(DataError, match=r"make one with isthmus prepare"):
        Prepared.open(data.path)


def test_a_manifest_survives_json(data: Prepared) -> None:
    again = Manifest.model_validate_json(data.manifest.to_json())
    assert again == data.manifest
    assert json.loads(data.manifest.to_json())["schema"]["domains"] == list(data.schema.domains)


def test_impressions_are_the_files_in_the_order_of_the_schema(data: Prepared) -> None:
    for split in ("train", "valid", "test"):
        rows = data.impressions(split)
        table = data.table(split)
        assert rows.features.shape == (len(table["row"]), 4 + 3 + 2)
        np.testing.assert_array_equal(rows.domain.numpy(), table["domain"])
        np.testing.assert_array_equal(rows.label.numpy(), table["label"])
    with pytest.raises(DataError, match="no split 'dev'"):
        data.impressions("dev")


def test_raw_rows_encode_as_they_were_prepared(data: Prepared, source: pa.Table) -> None:
    ordered = source.sort_by("at")
    start = 0
    for split in ("train", "valid", "test"):
        wanted = data.impressions(split)
        rows = ordered.slice(start, len(wanted))
        start += len(wanted)
        words = data.values("item_id").to_pylist()
        lists = [
            [words[i - 1] if i else "never seen" for i in ids]
            for ids in wanted.features[:, 4:7].tolist()
        ]
        found, unknown = data.encode(rows.append_column("history", pa.array(lists)))
        assert found.features.tolist() == wanted.features.tolist()
        assert found.domain.tolist() == wanted.domain.tolist()
        assert found.label.tolist() == wanted.label.tolist()
        assert not unknown.any()


def test_what_training_did_not_know_is_id_0_and_flagged(data: Prepared) -> None:
    rows = pa.table(
        {
            "user": pa.array([3, None, 10**12]),
            "item": ["100", "nothing", ""],
            "brand": pa.array([None, "b0", "b0"]).dictionary_encode(),
            "price": [float("nan"), 1e9, -1e9],
            "history": pa.array([[101, 7, 102, 103], [], None]),
            "trips": pa.array(["[t0, t1]", "", "t1|t2"]),
            "shop": ["north", "mars", None],
        }
    )
    found, unknown = data.encode(rows)
    words = {t: data.values(t).to_pylist() for t in ("user_id", "item_id", "brand", "trips")}
    item = words["item_id"].index
    trip = words["trips"].index
    last = len(data.manifest.bins["price"]) + 1
    brand = words["brand"].index("b0") + 1
    assert found.features.tolist() == [
        [words["user_id"].index("3") + 1, item("100") + 1, 0, 0,
         item("101") + 1, 0, item("102") + 1, trip("t0") + 1, trip("t1") + 1],
        [0, 0, brand, last, 0, 0, 0, 0, 0],
        [0, 0, brand, 1, 0, 0, 0, trip("t1") + 1, trip("t2") + 1],
    ]  # fmt: skip
    assert unknown.tolist() == [False, True, True]
    assert found.domain[0] == data.schema.domains.index("north") + 1
    assert found.label.tolist() == [0, 0, 0]


def test_rows_that_cannot_be_encoded_are_named(data: Prepared, source: pa.Table) -> None:
    with pytest.raises(DataError, match="one column 'history'"):
        data.encode(source)
    rows = source.append_column("history", pa.array([1] * len(source), pa.date32()))
    with pytest.raises(DataError, match=r"column 'history' is of type date32"):
        data.encode(rows)
    lists = source.append_column("history", pa.array([[1]] * len(source)))
    price = lists.set_column(lists.schema.get_field_index("price"), "price", lists["shop"])
    with pytest.raises(DataError, match=r"column 'price': expected numbers"):
        data.encode(price)


@pytest.mark.parametrize("kind", [pa.int64(), pa.int32(), pa.string()])
def test_ids_of_any_type_come_back(tmp_path: Path, kind: pa.DataType) -> None:
    values = pa.array(np.random.default_rng(0).integers(-5, 25, 400)).cast(kind)
    table = raw(extra=values)
    asked = config(
        write(table, tmp_path / "in.parquet"),
        features=[FeatureConfig(name="extra")],
        split={"by": "user", "fractions": (1.0, 0.0, 0.0)},
    )
    data = prepare(asked, tmp_path / "out")
    found, _ = data.encode(table)
    words = data.values("extra")
    back = words.take(pa.array(found.features[:, 0].numpy() - 1))
    assert back.to_pylist() == [str(value) for value in values.to_pylist()]


def test_no_rows_encode_to_no_rows(data: Prepared, source: pa.Table) -> None:
    lists = source.append_column("history", pa.array([[1]] * len(source)))
    found, unknown = data.encode(lists.slice(0, 0))
    assert found.features.shape == (0, 9)
    assert len(unknown) == 0
