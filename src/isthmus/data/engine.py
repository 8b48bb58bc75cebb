"""The engine that runs the expressions of a preparation: what every engine is asked for.

One set of Ibis expressions; what an engine does in a way of its own is in its own file.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import pyarrow as pa
import pyarrow.parquet as pq

from isthmus.data.spark_config import SparkSettings
from isthmus.errors import ConfigError, DataError

Table = Any
"""An Ibis table expression (Ibis ships no types)."""

FILE, ROW = "isthmus_file", "file_row_number"
"""Columns that ``Engine.parquet`` adds when asked for numbered rows: the file's name without its
folder, and the row, from 0."""

DEFAULT_MEMORY = "2GB"
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT])(i?)B", re.IGNORECASE)


class Engine(ABC):
    """Runs expressions out of core; what it keeps lies in files under ``scratch``.

    A context manager; leaving it closes the connection, not the files, and makes an error of the
    engine a DataError.
    """

    errors: ClassVar[tuple[type[Exception], ...]]
    """What the engine raises when it cannot go on."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._kept = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        stopped = None
        if isinstance(error, self.errors):
            hint = "; give it more memory" if self._is_full(error) else ""
            stopped = DataError(f"the engine stopped: {self.reason(error)}{hint}")
        self._close()
        if stopped is not None:
            raise stopped from None

    @abstractmethod
    def parquet(
        self, files: Sequence[Path], columns: Sequence[str] | None = None, *, numbered: bool = False
    ) -> Table:
        """The rows of files of one schema; ``numbered`` adds the columns ``FILE`` and ``ROW``."""

    @abstractmethod
    def _write(self, table: Table, place: Path) -> list[Path]:
        """Run the expression; its rows in order are those of the files given, below ``place``."""

    @abstractmethod
    def _is_full(self, error: BaseException) -> bool:
        """Whether the error says that memory was too little."""

    @abstractmethod
    def _close(self) -> None:
        """End the connection."""

    def reason(self, error: BaseException) -> str:
        """What an error of the engine says, without its details."""
        return first_line(error)

    def keep(self, table: Table) -> Table:
        """Run the expression once and give its rows, now in scratch files."""
        return self.parquet(self._written(table))

    def _written(self, table: Table) -> list[Path]:
        return self._write(table, self._place())

    def _place(self) -> Path:
        self._kept += 1
        return self._scratch / f"kept{self._kept}"

    def table(self, rows: pa.Table) -> Table:
        """Rows in memory as a table of the engine, by way of a scratch file."""
        file = self._place().with_suffix(".parquet")
        pq.write_table(rows, file)
        return self.parquet([file])

    def arrow(self, table: Table) -> pa.Table:
        """The rows of a small expression, in memory and in its order."""
        return pa.concat_tables([pq.read_table(file) for file in self._written(table)])

    def one(self, table: Table) -> dict[str, Any]:
        """The single row of an expression as Python values."""
        rows: list[dict[str, Any]] = self.arrow(table).to_pylist()
        return rows[0]

    def batches(self, table: Table, rows: int = 131_072) -> Iterator[pa.RecordBatch]:
        """The rows of an expression in its order, some at a time.

        By way of scratch files: the engine's memory is free again while the rows are used.
        """
        for file in self._written(table):
            with pq.ParquetFile(file) as content:
                yield from content.iter_batches(rows)


def open_engine(
    kind: str, scratch: Path, memory: str | None, spark: SparkSettings | None = None
) -> Engine:
    """The engine of that name.

    Raises:
        ConfigError: there is no such engine, it cannot be started, or ``memory`` is no size.
    """
    mebibytes(memory or DEFAULT_MEMORY)
    (scratch / "spill").mkdir(parents=True, exist_ok=True)
    if kind == "duckdb":
        from isthmus.data.engine_duckdb import DuckDB

        return DuckDB(scratch, memory or DEFAULT_MEMORY)
    if kind == "spark":
        try:
            from isthmus.data.engine_spark import Spark
        except ImportError:
            raise ConfigError(
                'engine = "spark" needs an extra: pip install "isthmus[spark]" (and Java 17), or '
                'use engine = "duckdb"'
            ) from None
        return Spark(scratch, memory or DEFAULT_MEMORY, spark or SparkSettings())
    raise ConfigError(f'engine = "{kind}": expected "duckdb" or "spark"')


def mebibytes(memory: str) -> int:
    """A size such as "2GB" or "512MiB" in MiB, rounded down.

    Raises:
        ConfigError: it is no size.
    """
    found = _MEMORY.fullmatch(memory.strip())
    if found is None:
        raise ConfigError(f'memory = {memory!r}: expected a size such as "2GB" or "512MB"')
    base = 1024 if found[3] else 1000
    return int(float(found[1]) * base ** (" KMGT".index(found[2].upper())) / 2**20)


def first_line(error: BaseException | None) -> str:
    """What an error says, without its details."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
