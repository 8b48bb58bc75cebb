"""Epinions: product ratings in 27 categories, "did this user like it more than usual?"."""

from pathlib import Path

import ibis
import ibis.expr.types as ir
import pyarrow as pa
from ibis import _
from ibis.backends.duckdb import Backend

from isthmus.data.config import Columns, FeatureConfig, PrepareConfig
from isthmus.data.sources.base import (
    Keep,
    connect,
    existing,
    k_core,
    read_table,
    require_columns,
    scratch,
    source,
    write,
)
from isthmus.errors import DataError

_RAW = ("user_id", "item_id", "domain", "rating", "helpfulness", "timestamp")
_KEPT = ("user_id", "item_id", "domain", "timestamp", "label")
_SOURCE = (
    "Epinions ratings with categories and times (Tang, Gao, Liu: mTrust, WSDM 2012; eTrust, KDD "
    "2012). No licence is stated; the authors ask for citation. Label: rating > the user's mean."
)


@source
def epinions(
    out: Path,
    *,
    raw: Path | None = None,
    table: Path | None = None,
    core: int = 5,
    min_domain_rows: int = 200,
) -> PrepareConfig:
    """Ratings with label 1 where the rating is above the user's own mean (the rule of AREAD's paper).

    ``raw`` is the published file ``rating_with_timestamp``: six numbers a row (user, product,
    category, rating, helpfulness, time), as MATLAB ``.mat`` or as text split by blanks or commas.
    Users and items are filtered to a ``core``-core (to a fixed point), the mean is taken over the
    rows that are left, and then categories under ``min_domain_rows`` rows are dropped. ``table`` is
    a ready-made table with user_id, item_id, domain, timestamp and label instead.

    The label is as published: the mean is over *all* of a user's ratings, later ones included, so a
    label itself knows a little of the future. No feature does. ``rating`` is the label's own source
    and ``helpfulness`` is voted by readers after the rating exists: both are left out.

    The public copies hold time as few bins (11 years, over half of the rows in the first). A time
    split cuts between bins, so its parts are not 80/10/10 but what the years give (79.8 / 10.8 / 9.4
    % of the ready-made table); it stays the default because any finer cut would order rows of one
    year at random, and training on a user's later ratings is the leak to avoid. Histories hold
    earlier bins alone, and are empty for all rows of the first.

    Raises:
        DataError: a file or column is missing, a row is not six numbers, or no row is left.
    """
    if (raw is None) == (table is None):
        raise DataError("epinions: give either raw= (the published file) or table= (ready made)")
    with connect(out) as con, scratch(con, out) as keep:
        if table:
            rows = read_table(con, Path(table))
            require_columns(rows, _KEPT, table)
        else:
            rows = labelled(keep, _read(con, Path(raw or "")), core, min_domain_rows)
        rows = rows.select(*_KEPT).mutate(domain=_.domain.cast("string"))
        file = write(con, rows, out / "interactions.parquet", ("timestamp", "user_id", "item_id"))
    return PrepareConfig(
        name="epinions",
        files=(file,),
        columns=Columns(
            user="user_id", item="item_id", domain="domain", label="label", time="timestamp"
        ),
        features=(
            FeatureConfig(name="user_id", role="user"),
            FeatureConfig(name="item_id", role="item"),
            FeatureConfig(name="liked", kind="history", role="user", of="item_id"),
            FeatureConfig(
                name="disliked", kind="history", role="user", of="item_id", positives=False
            ),
        ),
        source=_SOURCE,
    )


def labelled(keep: Keep, ratings: ir.Table, core: int, min_domain_rows: int) -> ir.Table:
    """Ratings of the k-core with their labels, without the categories that are too small."""
    kept = k_core(keep, ratings, core, ("user_id", "item_id"))
    mean = _.rating.cast("float64").mean().over(ibis.window(group_by="user_id"))
    size = _.count().over(ibis.window(group_by="domain"))
    kept = kept.mutate(label=(_.rating > mean).cast("int8"), domain_rows=size)
    return kept.filter(_.domain_rows >= min_domain_rows)


def _read(con: Backend, path: Path) -> ir.Table:
    existing(path, "rating_with_timestamp as .mat or as text of six columns")
    if path.suffix == ".mat":
        return _read_matlab(path)
    with path.open(encoding="utf-8") as lines:
        first = lines.readline()
    columns = dict.fromkeys(_RAW, "int64")
    if len(first.replace(",", " ").split()) != len(_RAW):
        raise DataError(
            f"{path}: the first line is {first.strip()[:60]!r}; expected six numbers: user, "
            f"product, category, rating, helpfulness, time"
        )
    lines = con.read_csv(
        str(path), columns={"line": "VARCHAR"}, header=False, delim="\x07", quote=""
    )
    parts = lines.line.strip().re_replace(r"[\s,]+", " ").split(" ")
    return lines.select(
        **{n: parts[i].cast("float64").cast(t) for i, (n, t) in enumerate(columns.items())}
    )


def _read_matlab(path: Path) -> ir.Table:
    from scipy.io import loadmat  # only this format needs it

    arrays = [value for value in loadmat(path).values() if getattr(value, "ndim", 0) == 2]
    array = next((a for a in arrays if a.shape[1] == len(_RAW)), None)
    if array is None:
        shapes = ", ".join(str(a.shape) for a in arrays)
        raise DataError(f"{path}: arrays of shape {shapes or 'none'}; expected one of six columns")
    return ibis.memtable(
        pa.table({name: pa.array(array[:, i].astype("int64")) for i, name in enumerate(_RAW)})
    )
