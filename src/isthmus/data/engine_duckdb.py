"""DuckDB through Ibis: all that is DuckDB's own is in this file."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import ibis
import pyarrow as pa

from isthmus.data.engine import FILE, Engine, Table


class DuckDB(Engine):
    """Embedded, out of core: beyond ``memory`` it spills into ``scratch``."""

    errors = (duckdb.Error,)

    def __init__(self, scratch: Path, memory: str) -> None:
        super().__init__(scratch)
        self._connection = ibis.duckdb.connect(
            memory_limit=memory,
            temp_directory=str(scratch / "spill"),
            preserve_insertion_order=False,
        )
        self._connection.raw_sql("SET TimeZone = 'UTC'")
        self._connection.raw_sql("SET enable_progress_bar = false")
        # A file that is written anew under its name must be read anew.
        self._connection.raw_sql("SET enable_external_file_cache = false")

    def parquet(
        self, files: Sequence[Path], columns: Sequence[str] | None = None, *, numbered: bool = False
    ) -> Table:
        names = [str(file) for file in files]
        extra = {"filename": FILE, "file_row_number": True} if numbered else {}
        with _ibis_before_duckdb_2():
            table = self._connection.read_parquet(names, **extra)
        return (
            table.mutate(**{FILE: table[FILE].re_replace(r"^.*[/\\]", "")}) if numbered else table
        )

    def arrow(self, table: Table) -> pa.Table:
        with _ibis_before_duckdb_2():
            return self._connection.to_pyarrow(table)

    def _write(self, table: Table, place: Path) -> list[Path]:
        file = place.with_suffix(".parquet")
        with _ibis_before_duckdb_2():
            self._connection.to_parquet(table, file, compression="lz4")
        return [file]

    def _is_full(self, error: BaseException) -> bool:
        return isinstance(error, duckdb.OutOfMemoryException)

    def _close(self) -> None:
        self._connection.disconnect()


@contextmanager
def _ibis_before_duckdb_2() -> Iterator[None]:
    """Ibis 12 still calls what DuckDB 2 has renamed: nothing that a user could mend."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"fetch_arrow_table\(\)", DeprecationWarning)
        yield
