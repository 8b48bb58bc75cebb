"""Prepared splits with row groups of a chosen size."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from isthmus.data.prepared import Count, Manifest, Prepared
from isthmus.schema import Feature, Schema


def planted(folder: Path, domains: Sequence[int], group: int, split: str = "train") -> Prepared:
    """A split whose row i has place i, twice i in its history, its domain, and label i % 2."""
    folder.mkdir(parents=True, exist_ok=True)
    place = np.arange(len(domains))
    size = 2 * len(domains) + 1
    recent = Feature(name="recent", kind="history", size=size, length=2)
    schema = Schema(
        features=(Feature(name="place", size=size), recent),
        domains=tuple("abcdefgh"[: max(domains)]),
    )
    history = np.stack([2 * place, place % 3], 1).astype(np.int32).ravel()
    table = pa.table(
        {
            "domain": pa.array(domains, pa.int32()),
            "label": pa.array(place % 2, pa.int8()),
            "place": pa.array(place, pa.int32()),
            "recent": pa.FixedSizeListArray.from_arrays(pa.array(history), 2),
        }
    )
    pq.write_table(table, folder / f"{split}.parquet", row_group_size=group, use_dictionary=False)
    rows = {name: Count(rows=int(np.sum(np.equal(domains, d))), positives=0)
            for d, name in enumerate(("", *schema.domains))}  # fmt: skip
    manifest = Manifest.model_construct(data_schema=schema, splits={split: rows})
    return Prepared(folder, manifest, "")


def regrouped(source: Path, out: Path, group: int) -> Path:
    """A copy of a prepared data set with row groups of so many rows, and a manifest that knows it."""
    shutil.copytree(source, out)
    manifest = json.loads((out / "manifest.json").read_text())
    for split in ("train", "valid", "test"):
        file = out / f"{split}.parquet"
        pq.write_table(pq.read_table(file), file, row_group_size=group, use_dictionary=False)
        content = file.read_bytes()
        record = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        manifest["files"][file.name] = record
    (out / "manifest.json").write_text(json.dumps(manifest))
    return out
