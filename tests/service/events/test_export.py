"""Events become what `isthmus prepare` reads."""

import random

import pyarrow.parquet as pq
import pytest

from isthmus.data.config import read_config
from isthmus.data.prepare import prepare
from isthmus.errors import DataError
from isthmus.service.events import export
from tests.service.events.sample import event

SHOWN = set(random.Random(0).sample(range(1200), 120))
"""The events whose item was not taken."""


@pytest.fixture
def filled(store):
    """Ids that look like numbers, an item in two domains, and a tenth of the events not taken."""
    store.append(
        [
            event(
                i,
                user=f"{i % 40:03}",
                item=str(i % 25),
                domain=f"d{i % 2}",
                time=1000.5 + i,
                value=0 if i in SHOWN else 1,
                context={"i": i},
            )
            for i in range(1200)
        ]
    )
    return store


def test_a_row_an_event(filled, tmp_path):
    assert export(filled, tmp_path / "events.parquet", task="ranking") == 1200
    rows = pq.read_table(tmp_path / "events.parquet").to_pylist()
    assert [row["event"] for row in rows] == [f"e{i}" for i in range(1200)]
    assert rows[11] == {
        "event": "e11",
        "user": "011",
        "item": "11",
        "domain": "d1",
        "time": 1011.5,
        "label": 1,
        "kind": None,
        "value": 1.0,
        "context": '{"i":11}',
    }
    assert [row["label"] for row in rows] == [int(i not in SHOWN) for i in range(1200)]


def test_what_was_taken_trains_a_retriever(filled, tmp_path):
    assert export(filled, tmp_path / "events.parquet") == 1080
    made = prepare(read_config(tmp_path / "events.toml"), tmp_path / "prepared")
    rows = sum(c.rows for domains in made.manifest.splits.values() for c in domains.values())
    assert rows == 1080
    assert set(made.schema.domains) == {"d0", "d1"}


def test_what_was_shown_trains_a_ranker(filled, tmp_path):
    export(filled, tmp_path / "events.parquet", task="ranking")
    made = prepare(read_config(tmp_path / "events.toml"), tmp_path / "prepared")
    counts = [c for domains in made.manifest.splits.values() for c in domains.values()]
    assert sum(c.rows for c in counts) == 1200
    assert sum(c.positives for c in counts) == 1080


def test_an_empty_store_has_nothing_to_export(store, tmp_path):
    with pytest.raises(DataError, match="no events"):
        export(store, tmp_path / "events.parquet")
    assert not (tmp_path / "events.parquet").exists()
