"""The engine that runs the expressions of a preparation: all that is DuckDB's own is in this file."""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import ibis
import pyarrow as pa
import pyarrow.parquet as pq

from isthmus.errors import ConfigError, DataError

Table = Any
"""An Ibis table expression (Ibis ships no types)."""

EngineError = duckdb.Error
"""What the engine raises when it cannot go on."""

FILE, ROW = "isthmus_file", "file_row_number"
"""Columns that ``Engine.parquet`` adds when asked for numbered rows; rows count from 0."""

DEFAULT_MEMORY = "2GB"
_MEMORY = re.compile(r"\d+(\.\d+)?\s*[KMGT]i?B", re.IGNORECASE)


class Engine:
    """DuckDB through Ibis, out of core: beyond ``memory`` it spills into ``scratch``.

    A context manager; leaving it closes the connection, not the files.
    """

    def __init__(self, scratch: Path, memory: str | None = None) -> None:
        if memory is not None and not _MEMORY.fullmatch(memory.strip()):
            raise ConfigError(f'memory = {memory!r}: expected a size such as "2GB" or "512MB"')
        self._scratch = scratch
        self._kept = 0
        self._connection = ibis.duckdb.connect(
            memory_limit=memory or DEFAULT_MEMORY,
            temp_directory=str(scratch / "spill"),
            preserve_insertion_order=False,
        )
        self._connection.raw_sql("SET TimeZone = 'UTC'")
        self._connection.raw_sql("SET enable_progress_bar = false")
        # A file that is written anew under its name must be read anew.
        self._connection.raw_sql("SET enable_external_file_cache = false")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._connection.disconnect()
        if isinstance(error, duckdb.Error):
            hint = "; give it more memory" if isinstance(error, duckdb.OutOfMemoryException) else ""
            raise DataError(f"the engine stopped: {first_line(error)}{hint}") from None

    def parquet(self, files: Sequence[Path], *, numbered: bool = False) -> Table:
        """The rows of files of one schema, with columns ``FILE`` and ``ROW`` if ``numbered``."""
        names = [str(file) for file in files]
        extra = {"filename": FILE, "file_row_number": True} if numbered else {}
        with _ibis_before_duckdb_2():
            return self._connection.read_parquet(names, **extra)

    def keep(self, table: Table) -> Table:
        """Run the expression once and give its rows, now in a scratch file."""
        return self.parquet([self._written(table)])

    def _written(self, table: Table) -> Path:
        file = self._scratch / f"{self._kept}.parquet"
        self._kept += 1
        with _ibis_before_duckdb_2():
            self._connection.to_parquet(table, file, compression="lz4")
        return file

    def arrow(self, table: Table) -> pa.Table:
        """The rows of a small expression, in memory."""
        with _ibis_before_duckdb_2():
            return self._connection.to_pyarrow(table)

    def one(self, table: Table) -> dict[str, Any]:
        """The single row of an expression as Python values."""
        rows: list[dict[str, Any]] = self.arrow(table).to_pylist()
        return rows[0]

    def batches(self, table: Table, rows: int = 131_072) -> Iterator[pa.RecordBatch]:
        """The rows of an expression in its order, some at a time.

        By way of a scratch file: the engine's memory is free again while the rows are used.
        """
        with pq.ParquetFile(self._written(table)) as file:
            yield from file.iter_batches(rows)


@contextmanager
def _ibis_before_duckdb_2() -> Iterator[None]:
    """Ibis 12 still calls what DuckDB 2 has renamed: nothing that a user could mend."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"fetch_arrow_table\(\)", DeprecationWarning)
        yield


def open_engine(kind: str, scratch: Path, memory: str | None) -> Engine:
    """The engine of that name.

    Raises:
        ConfigError: this version does not run it, or ``memory`` is no size.
    """
    if kind != "duckdb":
        raise ConfigError(f'engine = "{kind}" is not in this version yet; use engine = "duckdb"')
    (scratch / "spill").mkdir(parents=True, exist_ok=True)
    return Engine(scratch, memory)


def first_line(error: BaseException | None) -> str:
    """What an error says, without its details."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
