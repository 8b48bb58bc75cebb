"""Rows of domains that come: a user's own table by the vocabularies of a run's data."""

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from isthmus.batch import Impressions
from isthmus.data.config import PrepareConfig, Split
from isthmus.data.engine import Engine, Table, open_engine
from isthmus.data.features import Learned, encode
from isthmus.data.interactions import read_interactions
from isthmus.data.prepare import with_keys
from isthmus.data.prepared import Prepared
from isthmus.data.vocabulary import vocabulary_file
from isthmus.errors import DataError
from isthmus.schema import Schema


@dataclass(frozen=True)
class DomainRows:
    """Impressions of some domains in order of time, and each one's user: [N] int64."""

    rows: Impressions
    user: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, domain: int) -> "DomainRows":
        """Those of one domain id."""
        places = (self.rows.domain == domain).nonzero().squeeze(1)
        return DomainRows(self.rows[places], self.user[places.numpy()])

    def parted(self, held_out: float) -> tuple["DomainRows", "DomainRows"]:
        """The earlier rows, and the latest: that share of all."""
        at = len(self) - round(len(self) * held_out)
        return (
            DomainRows(self.rows[:at], self.user[:at]),
            DomainRows(self.rows[at:], self.user[at:]),
        )

    def digest(self) -> str:
        """SHA-256 of what the rows hold."""
        content = hashlib.sha256()
        for tensor in (self.rows.features, self.rows.domain, self.rows.label):
            content.update(tensor.contiguous().numpy().tobytes())
        return content.hexdigest()


def read_rows(
    files: Sequence[Path | str],
    prepared: Prepared,
    domains: Sequence[str],
    *,
    by: tuple[str, str] | None = None,
) -> DomainRows:
    """All rows of tables that have the columns of the data's preparation, its split aside.

    Values that the data did not know have id 0, as have domains that are not among ``domains``.
    Histories are collected from the user's earlier rows in these tables, whatever their domain.

    Args:
        domains: the name of each domain id, from 1.
        by: rows of the domain that is named first are of the domain that the column named second says.

    Raises:
        DataError: a file or a column cannot be used, or too many rows are bad.
    """
    config = prepared.manifest.config
    if not isinstance(config, PrepareConfig):
        raise DataError(f"{prepared.path}: holds events; rows with labels are for rankers")
    split = Split(by="column", column=by[1]) if by else Split()
    config = config.model_copy(update={"files": tuple(map(str, files)), "split": split})
    learned = Learned(tuple(domains), _words(prepared), prepared.manifest.bins, {})
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        with open_engine("duckdb", scratch, config.memory) as engine:
            raw = read_interactions(engine, config, scratch)
            rows = with_keys(raw, config)
            if by is not None:
                column = rows[raw.layout.name(by[1], "key")]
                renamed = (rows.domain == by[0]).ifelse(column, rows.domain)
                rows = rows.mutate(domain=renamed)
            table = encode(engine, rows.mutate(split=0), config, raw.layout, learned)
            return _as_rows(engine, table, prepared.schema)


def of_one_domain(found: DomainRows, domain: int, name: str, least: int = 1) -> DomainRows:
    """The rows of a domain, which can teach something.

    Raises:
        DataError: there are none, or all have one label.
    """
    own = found.of(domain)
    if len(own) < least:
        raise DataError(
            f"no row of domain {name!r} among {len(found):,} rows; expected that name in the column "
            "of the domain"
        )
    labels = own.rows.label
    if labels.min() == labels.max():
        raise DataError(
            f"all {len(own):,} rows of domain {name!r} have label {int(labels[0])}; expected rows of "
            "both labels"
        )
    return own


def _words(prepared: Prepared) -> dict[str, pa.Table]:
    tables = {f.table for f in prepared.schema.features if f.kind != "number"}
    return {table: pq.read_table(prepared.path / vocabulary_file(table)) for table in tables}


def _as_rows(engine: Engine, table: Table, schema: Schema) -> DomainRows:
    """Sorted by time; equal rows aside, the order depends on their values alone."""
    features = [c for c in table.columns if c.startswith("x")]
    found = engine.arrow(table.order_by(["time", "user", "domain", *sorted(features), "label"]))
    columns = []
    for place, feature in enumerate(schema.features):
        long = feature.kind == "history"
        columns += [f"x{place}_{k}" for k in range(feature.length)] if long else [f"x{place}"]
    values = [found[name].to_numpy().astype(np.int64) for name in columns]
    stacked = np.stack(values, axis=1) if values else np.empty((len(found), 0), np.int64)
    rows = Impressions(
        torch.from_numpy(stacked),
        torch.from_numpy(found["domain"].to_numpy().astype(np.int64)),
        torch.from_numpy(found["label"].to_numpy().astype(np.float32)),
    )
    return DomainRows(rows, found["user"].to_numpy().astype(np.int64))
