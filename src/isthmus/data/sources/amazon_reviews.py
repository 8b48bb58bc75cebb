"""Amazon reviews 2018: 25 shop departments, "did this customer like it more than usual?"."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time
from pathlib import Path

import ibis
import ibis.expr.types as ir
from ibis import _
from ibis.backends.duckdb import Backend
from pydantic import PositiveInt

from isthmus.data.config import Columns, FeatureConfig, PrepareConfig, Split
from isthmus.data.sources.base import (
    Keep,
    connect,
    k_core,
    read_table,
    require_columns,
    scratch,
    settings_of,
    source,
    write,
)
from isthmus.errors import DataError
from isthmus.schema import Frozen

PAPER_DOMAINS = (
    "Appliances", "Arts, Crafts & Sewing", "Automotive", "Books", "CDs & Vinyl",
    "Cell Phones & Accessories", "Clothing, Shoes & Jewelry", "Collectibles & Fine Art",
    "Electronics", "Gift Cards", "Grocery & Gourmet Food", "Home & Business Services",
    "Home & Kitchen", "Industrial & Scientific", "Kindle Store", "Magazine Subscriptions",
    "Movies & TV", "Musical Instruments", "Office Products", "Patio, Lawn & Garden",
    "Pet Supplies", "Sports & Outdoors", "Tools & Home Improvement", "Toys & Games", "Video Games",
)  # fmt: skip
RANK_EDGES = tuple(float(2**power) for power in range(2, 21, 2))
PRICE_EDGES = tuple(float(int(2 ** (1 + 1.2 * step))) for step in range(10))
_DAY = 86_400
_WINDOW = 179 * _DAY
_REVIEW = {
    "reviewerID": "VARCHAR", "asin": "VARCHAR", "overall": "DOUBLE", "unixReviewTime": "BIGINT",
}  # fmt: skip
_META = dict.fromkeys(("asin", "category", "brand", "price", "rank"), "VARCHAR")
_ITEM = ("domain", "brand", "price", "sales_rank", "sales_chart")
_SOURCE = (
    "Amazon review data 2018 (Ni, Li, McAuley: EMNLP 2019), no explicit licence, citation asked. "
    "Features and label as in AREAD (arXiv 2412.11905): rating > the user's mean."
)


class AmazonConfig(Frozen):
    """Which reviews to keep; the defaults are the paper's year, departments and 3-core."""

    first_day: date | None = date(2017, 8, 14)
    last_day: date | None = date(2018, 8, 14)
    domains: tuple[str, ...] | None = PAPER_DOMAINS
    core: PositiveInt = 3
    user_id: bool = False
    memory: str | None = None


@source
def amazon_reviews(
    out: Path,
    *,
    reviews: Iterable[Path | str] = (),
    metadata: Iterable[Path | str] = (),
    table: Path | None = None,
    **settings: object,
) -> PrepareConfig:
    """Reviews with label 1 where the rating is above the user's own mean, by department.

    ``reviews`` and ``metadata`` are the published JSON lines, plain or gzipped, paths or patterns
    (``"raw/meta_*.json.gz"``). A review's domain is the first ``category`` of its item. Reviews of
    the asked days and departments are filtered to a ``core``-core, to a fixed point (the published
    code filters once), and the mean is then taken over what is left. ``settings`` are fields of
    ``AmazonConfig``; ``user_id`` adds the user as a feature, which the paper does not have.

    ``table`` is instead the CSV that AREAD's authors publish, already joined and coded; rows that
    their augmentation added are left out.

    The label is as published: a user's mean holds later ratings too. No feature does: histories are
    of the 179 days strictly before, brands under 10 training rows are unknown (the paper counts all
    rows), and a missing price or rank is unknown (the paper fills in the median).

    Raises:
        DataError: no file matches, a column is missing, or no row is left.
        ConfigError: an unknown or wrong setting.
    """
    config = settings_of(AmazonConfig, settings, "amazon_reviews")
    file = out / "interactions.parquet"
    with connect(out, config.memory) as con, scratch(con, out) as keep:
        if table is not None:
            rows = _published(con, Path(table))
        else:
            rows = _rows(
                con, keep, _files(reviews, "reviews"), _files(metadata, "metadata"), config
            )
        write(con, rows, file, ("time", "user_id", "item_id"))
    return PrepareConfig(
        name="amazon_reviews",
        files=(str(file),),
        columns=Columns(
            user="user_id", item="item_id", domain="domain", label="label", time="time"
        ),
        split=Split(fractions=(0.9, 0.05, 0.05)),
        features=_features(config.user_id, ready=table is not None),
        source=_SOURCE,
        memory=config.memory,
    )


def _features(user_id: bool, ready: bool) -> tuple[FeatureConfig, ...]:
    user = (FeatureConfig(name="user_id", role="user"),) if user_id else ()
    item = (
        FeatureConfig(name="item_id", role="item"),
        FeatureConfig(name="brand", role="item", min_count=1 if ready else 10),
        FeatureConfig(name="sales_chart", role="item"),
    )
    pos, neg = "user_pos_6month_seq", "user_neg_6month_seq"
    if ready:
        rest = (
            FeatureConfig(name="sales_rank", role="item"),
            FeatureConfig(name="price", role="item"),
            FeatureConfig(name=pos, kind="history", role="user", table="item_id"),
            FeatureConfig(name=neg, kind="history", role="user", table="item_id"),
        )
    else:
        rest = (
            FeatureConfig(name="sales_rank", kind="number", role="item", edges=RANK_EDGES),
            FeatureConfig(name="price", kind="number", role="item", edges=PRICE_EDGES),
            FeatureConfig(name=pos, kind="history", role="user", of="item_id", window=_WINDOW),
            FeatureConfig(
                name=neg, kind="history", role="user", of="item_id", positives=False, window=_WINDOW
            ),
        )
    return (*user, *item, *rest, FeatureConfig(name="weekday"))


def _files(given: Iterable[Path | str], what: str) -> list[str]:
    found: list[str] = []
    for each in [given] if isinstance(given, str | Path) else given:
        path = Path(each)
        matches = sorted(path.parent.glob(path.name))
        if not matches:
            raise DataError(f"{path}: no such file; expected JSON lines of {what}")
        found += [str(match) for match in matches]
    if not found:
        raise DataError(
            f"amazon_reviews: no {what} given; give reviews= and metadata= (JSON lines, plain or "
            f"gzipped), or table= (the CSV of AREAD's authors)"
        )
    return found


def _rows(
    con: Backend, keep: Keep, reviews: list[str], metadata: list[str], config: AmazonConfig
) -> ir.Table:
    """Labelled reviews with their items' attributes."""
    rated = con.read_json(reviews, columns=_REVIEW, format="newline_delimited").select(
        user_id=_.reviewerID, item_id=_.asin, rating=_.overall, time=_.unixReviewTime
    )
    if config.first_day:
        rated = rated.filter(_.time >= _seconds(config.first_day))
    if config.last_day:
        rated = rated.filter(_.time < _seconds(config.last_day) + _DAY)
    rated, _n = keep(rated.drop_null().distinct())  # the files list some reviews more than once
    items = con.read_json(metadata, columns=_META, format="newline_delimited")
    items, _n = keep(_items(items.semi_join(rated, items.asin == rated.item_id), config.domains))
    core = k_core(keep, rated.semi_join(items, "item_id"), config.core, ("user_id", "item_id"))
    mean = _.rating.mean().over(ibis.window(group_by="user_id"))
    return core.join(items, "item_id").select(
        "user_id",
        "item_id",
        "time",
        *_ITEM,
        label=(_.rating > mean).cast("int8"),
        weekday=((_.time // _DAY + 3) % 7).cast("int8"),  # 0 is Monday; the epoch was a Thursday
    )


def _items(metadata: ir.Table, domains: tuple[str, ...] | None) -> ir.Table:
    """One row an item: its department, brand, price, and rank in a sales chart."""
    number = r"([0-9][0-9,]*(?:\.[0-9]+)?)"
    low = _number(_.price.re_extract(rf"^\$ *{number}", 1))
    high = _number(_.price.re_extract(rf"^\$ *{number} *- *\$ *{number}", 2))
    plain = {
        name: metadata[name].replace("&amp;", "&").replace("&gt;", ">")
        for name in ("category", "brand", "rank")
    }
    items = metadata.mutate(**plain).select(
        item_id=_.asin,
        domain=_.category.re_extract(r'^\[?\s*"?([^"\]]+)', 1).strip(),
        brand=_.brand.strip().nullif(""),
        price=(low + high.fill_null(low)) / 2,  # a range of prices counts as its middle
        sales_rank=_number(_.rank.re_extract(rf"{number} in ", 1)),
        sales_chart=_.rank.re_extract(r'[0-9] in ([^(>"\]]+)', 1).strip().nullif(""),
    )
    items = items.group_by("item_id").agg(**{name: items[name].max() for name in _ITEM})
    return items.filter(_.domain.isin(domains) if domains else _.domain.nullif("").notnull())


def _number(text: ir.StringValue) -> ir.FloatingValue:
    return text.replace(",", "").nullif("").try_cast("float64")


def _seconds(day: date) -> int:
    return int(datetime.combine(day, time(), UTC).timestamp())


def _published(con: Backend, path: Path) -> ir.Table:
    """The rows of the authors' CSV: codes as they are, histories as lists, newest first."""
    rows = read_table(con, path)
    sequences = ("user_pos_6month_seq", "user_neg_6month_seq")
    ids = ("brand", "sales_chart", "sales_rank", "price", "weekday", "domain")
    require_columns(rows, ("userid", "itemid", "timestamp", "label", *ids, *sequences), path)
    if "is_augmented" in rows.columns:
        rows = rows.filter(_.is_augmented.lower() != "true")
    return rows.select(
        user_id=_.userid,
        item_id=_.itemid,
        time=_.timestamp.cast("int64"),
        label=_.label.cast("int8"),
        **{name: rows[name] for name in ids},
        **{name: _newest_first(rows[name]) for name in sequences},
    )


def _newest_first(text: ir.StringValue) -> ir.ArrayValue:
    items = text.re_replace(r"[\[\]\s]", "").split(",").filter(lambda item: item != "")
    return ibis.range(0, items.length()).map(lambda i: items[items.length() - 1 - i])
