"""What a run keeps beside its weights, so that it can be served where its data is not.

Arrow files under ``serving/`` in the run's directory, hashed in its manifest like all else, and read
by mapping them into memory: pages that no request asks for are never loaded.
"""

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from isthmus.data.prepared import Prepared
from isthmus.data.serving import Facts, Tables, serving_tables
from isthmus.errors import DataError, IntegrityError
from isthmus.files import verify
from isthmus.schema import Schema
from isthmus.store import DataRef, Run
from isthmus.store.manifest import MEND

_FOLDER = "serving/"
_FACTS = f"{_FOLDER}facts.json"
Ints = NDArray[np.int64]


def pack(run: Run, prepared: Prepared) -> None:
    """Keep in ``run`` what serving needs of the data that it was trained on; again does nothing.

    Raises:
        MismatchError: the data is not the run's.
        DataError: the run is not finished, or the data cannot tell items apart.
    """
    if not run.finished:
        raise DataError(f"run {run.name!r} is not finished; train it to the end first")
    run.require(prepared.schema, DataRef(name=prepared.manifest.name, digest=prepared.digest))
    with run.lock():
        if _FACTS not in run.manifest.files:
            keep(run, *serving_tables(prepared))


def keep(run: Run, facts: Facts, tables: Tables) -> None:
    """Write a bundle's parts into a run of which the caller has the lock."""
    for name, table in tables.items():
        with (
            run.artefact(f"{_FOLDER}{name}.arrow") as path,
            pa.OSFile(str(path), "wb") as sink,
            pa.ipc.new_file(sink, table.schema) as writer,
        ):
            writer.write_table(table.combine_chunks())
    with run.artefact(_FACTS) as path:  # last: where it is, all is
        path.write_text(facts.model_dump_json(indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Bundle:
    """The tables of ``data.serving``, and the schema that their ids count in."""

    facts: Facts
    tables: dict[str, pa.Table]
    schema: Schema
    _values: dict[str, list[str]] = field(default_factory=dict, repr=False, compare=False)
    _ids: dict[str, dict[str, int]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def open(cls, run: Run) -> "Bundle":
        """The bundle of a run, its files checked against their hashes.

        Raises:
            DataError: the run was never packed.
            IntegrityError: a file is damaged.
        """
        files = {n: d for n, d in run.manifest.files.items() if n.startswith(_FOLDER)}
        if _FACTS not in files:
            raise DataError(
                f"run {run.name!r} lacks what serving needs of its data ({run.data.name!r}); add it "
                f"with isthmus pack {run.path} --data DIRECTORY"
            )
        verify(run.path, files, MEND)
        facts = Facts.model_validate(json.loads(run.read(_FACTS)))
        tables = {}
        for name in files:
            if name.endswith(".arrow"):
                tables[name.removeprefix(_FOLDER).removesuffix(".arrow")] = _mapped(run, name)
        return cls(facts, tables, run.schema)

    def column(self, table: str, name: str) -> NDArray[Any]:
        """A column of numbers, without a copy where the file has it in one piece."""
        return np.asarray(self.tables[table][name].combine_chunks().to_numpy(zero_copy_only=False))

    def values(self, table: str) -> list[str]:
        """What the rows of a table stand for, users or items; all who ask share one list."""
        if table not in self._values:
            self._values[table] = self.texts(table, "value")
        return self._values[table]

    def ids(self, table: str) -> dict[str, int]:
        """The id of each of them, from 1; all who ask share one mapping."""
        if table not in self._ids:
            self._ids[table] = {value: n for n, value in enumerate(self.values(table), 1)}
        return self._ids[table]

    def texts(self, table: str, name: str) -> list[str]:
        """A column of text."""
        found: list[str] = self.tables[table][name].to_pylist()
        return found

    def lists(self, table: str, name: str) -> tuple[Ints, NDArray[Any]]:
        """A column of lists: where each begins (and the last one ends), and all values."""
        column = self.tables[table][name].combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = column.chunk(0) if column.num_chunks else pa.array([], column.type)
        bounds = column.offsets.to_numpy()
        return bounds, column.values.to_numpy()


def _mapped(run: Run, name: str) -> pa.Table:
    try:
        with pa.memory_map(str(run.path / name)) as source:
            return pa.ipc.open_file(source).read_all()
    except (pa.ArrowInvalid, OSError) as error:
        raise IntegrityError(f"{run.path / name} is damaged: {error}. {MEND}") from None
