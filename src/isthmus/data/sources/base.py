"""What every source shares: the registry, and the few steps that all of them take."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar, cast

import ibis
import ibis.expr.types as ir
import pyarrow.parquet as pq
from ibis.backends.duckdb import Backend
from pydantic import ValidationError

from isthmus.data.config import AnyConfig
from isthmus.data.engine import DEFAULT_MEMORY, first_line
from isthmus.errors import ConfigError, DataError
from isthmus.schema import Frozen
from isthmus.toml import told

Source = Callable[..., AnyConfig]
Keep = Callable[[ir.Table], tuple[ir.Table, int]]
"""Runs an expression once; gives its rows, which are now in a file, and their number."""
_Function = TypeVar("_Function", bound=Source)
_Settings = TypeVar("_Settings", bound=Frozen)
_registered: dict[str, Source] = {}


def source(function: _Function) -> _Function:
    """Register a function as the source of its own name.

    It takes raw paths, ``out`` (where the canonical Parquet file goes) and options, and returns the
    configuration that ``prepare`` needs.
    """

    @wraps(function)
    def with_path(out: Path | str, *args: Any, **options: Any) -> AnyConfig:
        return function(Path(out), *args, **options)

    _registered[function.__name__] = with_path
    return cast(_Function, with_path)


@contextmanager
def connect(out: Path, memory: str | None = None) -> Iterator[Backend]:
    """An empty DuckDB that spills under ``out`` beyond ``memory`` (as in ``"4GB"``).

    Raises:
        DataError: the engine cannot read a file or a value; its own words in one line.
    """
    out.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {
        "memory_limit": memory or DEFAULT_MEMORY,
        "preserve_insertion_order": False,  # what is written is ordered where it matters
    }
    with TemporaryDirectory(dir=out, prefix=".spill-") as spill:
        con = ibis.duckdb.connect(temp_directory=spill, **settings)
        try:
            yield con
        except Exception as error:
            if type(error).__module__.startswith(("_duckdb", "duckdb")):
                raise DataError(f"the engine stopped: {first_line(error)}") from None
            raise
        finally:
            con.disconnect()


def settings_of(kind: type[_Settings], settings: dict[str, object], where: str) -> _Settings:
    """Settings checked.

    Raises:
        ConfigError: names the first unknown or wrong one.
    """
    try:
        return kind.model_validate(settings)
    except ValidationError as error:
        known = ", ".join(kind.model_fields)
        raise ConfigError(f"{where}: {told(error)}; known: {known}") from None


def existing(path: Path, what: str) -> Path:
    """The path, if there is such a file or folder.

    Raises:
        DataError: says which raw data is missing, and where it was looked for.
    """
    if not path.exists():
        raise DataError(f"{path}: not there; expected {what}")
    return path


def require_columns(table: ir.Table, names: tuple[str, ...], where: Path | str) -> None:
    """Refuse a table that lacks one of these columns.

    Raises:
        DataError: names the missing columns and those that were found.
    """
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise DataError(
            f"{where}: no column {', '.join(map(repr, missing))}; found {', '.join(table.columns)}"
        )


def read_table(con: Backend, path: Path) -> ir.Table:
    """A ready-made table: Parquet, or CSV with a header, by its suffix."""
    existing(path, "a Parquet or CSV file")
    if path.suffix == ".csv":
        return con.read_csv(str(path), all_varchar=True)
    return con.read_parquet(str(path))


def write(con: Backend, table: ir.Table, path: Path, order: tuple[str, ...] = ()) -> str:
    """Write the rows in the given order, moved into place when complete; returns the path.

    Raises:
        DataError: no row is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.part")
    con.to_parquet(table.order_by(list(order)) if order else table, str(aside), compression="zstd")
    if not pq.read_metadata(aside).num_rows:
        aside.unlink()
        raise DataError(f"{path.stem}: no row is left after filtering; nothing to prepare")
    aside.replace(path)
    return str(path)


@contextmanager
def scratch(con: Backend, out: Path) -> Iterator[Keep]:
    """A function that runs an expression once and gives its rows, kept in a file until the end."""
    with TemporaryDirectory(dir=out, prefix=".scratch-") as folder:
        numbers = count()

        def keep(table: ir.Table) -> tuple[ir.Table, int]:
            file = Path(folder) / f"{next(numbers)}.parquet"
            con.to_parquet(table, str(file), compression="lz4")
            return con.read_parquet(str(file)), pq.read_metadata(file).num_rows

        yield keep


def k_core(keep: Keep, table: ir.Table, least: int, keys: tuple[str, str]) -> ir.Table:
    """Rows whose user and item both keep at least ``least`` rows, filtered to a fixed point.

    A single pass leaves users and items below ``least`` behind, as each removed item costs its users
    rows. The rounds run inside the engine; only the number of rows comes out.
    """
    kept, before = keep(table)
    while True:
        narrowed = kept
        for key in keys:
            rows = kept.group_by(key).agg(k_core_rows=ibis._.count())
            narrowed = narrowed.semi_join(rows.filter(rows.k_core_rows >= least).select(key), key)
        kept, rows_left = keep(narrowed)
        if rows_left == before:
            return kept
        before = rows_left
