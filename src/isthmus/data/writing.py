"""Writing a prepared data set: aside, checked to the disk, and moved into place as a whole."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from isthmus.data.engine import Engine, Table
from isthmus.data.features import UNKNOWN_DOMAIN
from isthmus.data.prepared import FORMAT, MANIFEST, Count
from isthmus.data.split import SPLITS
from isthmus.errors import DataError
from isthmus.schema import Schema

_GROUP = 262_144
"""Rows of a row group: fixed, so that the bytes depend on the rows alone."""


@contextlib.contextmanager
def directory(out: Path) -> Iterator[Path]:
    """A new directory beside ``out`` that takes its place when the block ends well.

    Raises:
        DataError: ``out`` is something else than a prepared data set or an empty directory, or
            nothing can be written there.
    """
    check_replaceable(out)
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _sweep(out)
        partial.mkdir()
        yield partial
        _sync(partial)
        _replace(partial, out)
    except OSError as error:
        raise DataError(f"{out}: cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_replaceable(out: Path) -> None:
    """Nothing is lost that is not a prepared data set.

    Raises:
        DataError: something else lies there.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise DataError(f"{out}: is no directory; give another place")
    if not out.exists() or not any(out.iterdir()):
        return
    try:
        found = json.loads((out / MANIFEST).read_bytes())
        ours = isinstance(found, dict) and found.get("format") == FORMAT
    except (OSError, ValueError):
        ours = False
    if not ours:
        raise DataError(
            f"{out}: holds files and is no prepared data set; it stays untouched, give another place"
        )


def _sweep(out: Path) -> None:
    """Remove what killed preparations of the same place left."""
    for orphan in out.parent.glob(f".{out.name}.*.partial"):
        owner = orphan.name.split(".")[-2]
        if owner.isdigit() and not _alive(int(owner)):
            shutil.rmtree(orphan, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _sync(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        _fsync(path)
    _fsync(folder)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _replace(partial: Path, out: Path) -> None:
    if not out.exists():
        partial.rename(out)
    else:
        old = out.with_name(f".{out.name}.{os.getpid()}.old")
        out.rename(old)
        try:
            partial.rename(out)
        except OSError:
            old.rename(out)
            raise
        shutil.rmtree(old)
    _fsync(out.parent)


class SplitWriter:
    """The three files of a data set, filled from one ordered stream of rows; counts as it goes."""

    def __init__(self, folder: Path, schema: Schema) -> None:
        self._schema = schema
        self._arrow = pa.schema(
            [
                ("row", pa.int64()),
                ("time", pa.int64()),
                ("user", pa.int64()),
                ("domain", pa.int32()),
                ("label", pa.int8()),
                *((f.name, _type(f.kind, f.length)) for f in schema.features),
            ]
        )
        self._files = [
            pq.ParquetWriter(
                folder / f"{split}.parquet", self._arrow, compression="zstd", use_dictionary=False
            )
            for split in SPLITS
        ]
        self._waiting: list[list[pa.Table]] = [[], [], []]
        self._counts = np.zeros((3, len(schema.domains) + 1, 2), dtype=np.int64)
        self._zeros = np.zeros((3, len(schema.features)), dtype=np.int64)
        self._rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Rows with columns as ``features.encode`` gives them."""
        columns = {name: batch[name].to_numpy() for name in batch.schema.names}
        number = np.arange(self._rows, self._rows + len(batch), dtype=np.int64)
        self._rows += len(batch)
        split = columns["split"]
        for code in np.unique(split):
            chosen = split == code
            part = {name: values[chosen] for name, values in columns.items()}
            self._take(int(code), part | {"row": number[chosen]})

    def _take(self, code: int, part: dict[str, NDArray[Any]]) -> None:
        domain, least = part["domain"], len(self._schema.domains) + 1
        self._counts[code, :, 0] += np.bincount(domain, minlength=least)
        self._counts[code, :, 1] += np.bincount(domain[part["label"] == 1], minlength=least)
        arrays = [pa.array(part[name], self._arrow.field(name).type) for name in _KEYS]
        for i, feature in enumerate(self._schema.features):
            names = [f"x{i}_{k}" for k in range(feature.length)]
            history = feature.kind == "history"
            ids = np.stack([part[name] for name in names], axis=1) if history else part[f"x{i}"]
            self._zeros[code, i] += int(((ids == 0).all(axis=1) if history else ids == 0).sum())
            flat = pa.array(ids.reshape(-1), pa.int32())
            arrays.append(
                pa.FixedSizeListArray.from_arrays(flat, feature.length) if history else flat
            )
        self._waiting[code].append(pa.table(arrays, schema=self._arrow))
        self._flush(code, _GROUP)

    def _flush(self, code: int, least: int) -> None:
        rows = sum(map(len, self._waiting[code]))
        if rows < least or not rows:
            return
        table = pa.concat_tables(self._waiting[code]).combine_chunks()
        whole = rows - rows % least
        self._files[code].write_table(table.slice(0, whole), row_group_size=_GROUP)
        self._waiting[code] = [table.slice(whole)] if whole < rows else []

    def close(self) -> None:
        """Write what waits, and the ends of the files."""
        for code, file in enumerate(self._files):
            self._flush(code, 1)
            file.close()

    def counts(self) -> dict[str, dict[str, Count]]:
        """Rows and positives by split and domain; unknown domains last, where there are any."""
        names = (UNKNOWN_DOMAIN, *self._schema.domains)
        order = [*range(1, len(names)), 0]
        return {
            split: {
                names[d]: Count(rows=int(rows[d, 0]), positives=int(rows[d, 1]))
                for d in order
                if d or rows[0, 0]
            }
            for split, rows in zip(SPLITS, self._counts, strict=True)
        }

    def unknown(self) -> dict[str, dict[str, float]]:
        """The share of rows with id 0, by feature and split; splits without rows left out."""
        rows = self._counts[:, :, 0].sum(axis=1)
        return {
            feature.name: {
                split: round(float(self._zeros[code, i] / rows[code]), 6)
                for code, split in enumerate(SPLITS)
                if rows[code]
            }
            for i, feature in enumerate(self._schema.features)
        }


_KEYS = ("row", "time", "user", "domain", "label")


def _type(kind: str, length: int) -> pa.DataType:
    return pa.list_(pa.int32(), length) if kind == "history" else pa.int32()


def write_splits(engine: Engine, table: Table, schema: Schema, folder: Path) -> SplitWriter:
    """Sort all rows and write them; equal rows aside, the order depends on their values alone."""
    writer = SplitWriter(folder, schema)
    keys = ["time", "user", "domain", *(c for c in table.columns if c.startswith("x")), "label"]
    for batch in engine.batches(table.order_by(keys)):
        writer.add(batch)
    writer.close()
    return writer
