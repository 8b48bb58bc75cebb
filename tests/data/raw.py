"""Raw rows for the tests of preparation, and the configuration that fits them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from isthmus.data.config import Columns, FeatureConfig, PrepareConfig

COLUMNS = Columns(user="user", item="item", domain="shop", label="bought", time="at")
FEATURES = (
    FeatureConfig(name="user_id", column="user", role="user"),
    FeatureConfig(name="item_id", column="item", role="item"),
    FeatureConfig(name="brand", role="item", min_count=2),
    FeatureConfig(name="price", kind="number", bins=4),
    FeatureConfig(name="history", kind="history", of="item_id", length=3, role="user"),
)


def raw(rows: int = 400, seed: int = 0, **columns: Any) -> pa.Table:
    """Rows in random order of time, many of equal time; ``columns`` replace or are added."""
    draw = np.random.default_rng(seed)
    values = {
        "user": draw.integers(0, 20, rows),
        "item": draw.integers(100, 130, rows),
        "shop": pa.array(["north", "south", "east"]).take(
            pa.array(draw.choice(3, rows, p=[0.6, 0.3, 0.1]))
        ),
        "bought": draw.integers(0, 2, rows),
        "at": draw.integers(0, rows // 3, rows),
        "brand": pa.array([f"b{k}" for k in draw.integers(0, 30, rows)]),
        "price": draw.normal(10, 3, rows),
    }
    return pa.table({**values, **columns})


def write(table: pa.Table, file: Path) -> Path:
    """The table as the file's suffix says."""
    if file.suffix == ".csv":
        pa.csv.write_csv(table, file)
    elif file.suffix == ".jsonl":
        table.to_pandas().to_json(file, orient="records", lines=True)
    else:
        pq.write_table(table, file)
    return file


def config(
    *files: Path, features: Sequence[FeatureConfig] = FEATURES, **changes: Any
) -> PrepareConfig:
    """A configuration of ``raw`` rows in these files."""
    values = {"name": "raw", "columns": COLUMNS, **changes}
    return PrepareConfig(files=tuple(map(str, files)), features=tuple(features), **values)
