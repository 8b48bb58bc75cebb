"""Ali-CCP: impressions of a shop's recommender, "was it clicked?", 30 item categories as domains."""

from pathlib import Path

import ibis
import ibis.expr.types as ir
import numpy as np
from ibis import _
from ibis.backends.duckdb import Backend
from pydantic import PositiveInt

from isthmus.data.config import Columns, FeatureConfig, PrepareConfig, Split
from isthmus.data.sources.base import (
    Keep,
    connect,
    existing,
    read_table,
    require_columns,
    scratch,
    settings_of,
    source,
    write,
)
from isthmus.errors import DataError
from isthmus.schema import Frozen

_KEYS = {"userid": "101", "itemid": "205", "domain": "206"}
_USER = (
    "121", "122", "124", "125", "126", "127", "128", "129", "109_14", "110_14", "127_14", "150_14",
)  # fmt: skip
_ITEM = ("207", "210", "216")
_CONTEXT = ("508", "509", "702", "853", "301")
_FIELDS = {name: _KEYS.get(name, name) for name in (*_KEYS, *_USER, *_ITEM, *_CONTEXT)}
_IN_COMMON = ("userid", *_USER)
_SKELETON = ("sample_id", "click", "purchase", "common", "feature_num", "features")
_PRIME = 2**31 - 1
_SOURCE = (
    "Ali-CCP (Ma et al., SIGIR 2018; Tianchi data set 408, under Tianchi's terms), domains chosen "
    "as in AREAD (arXiv 2412.11905). Label: click. Valid and test are halves of the official test."
)


class AliccpConfig(Frozen):
    """How rows and domains are chosen; the defaults are the paper's."""

    min_rows: PositiveInt = 15
    min_entities: PositiveInt = 75
    domains: PositiveInt = 30
    seed: int = 2022
    memory: str | None = None


@source
def aliccp(
    out: Path, *, raw: Path | None = None, table: Path | None = None, **settings: object
) -> PrepareConfig:
    """Impressions with label 1 where they were clicked, in 30 of the item categories (field 206).

    ``raw`` is the folder of the published files, ``sample_skeleton_{train,test}.csv`` and
    ``common_features_{train,test}.csv`` (or ``.csv.gz``): read as a stream, tens of gigabytes. Users
    and items with fewer than ``min_rows`` rows go (one pass, over both files), then domains with
    fewer than ``min_entities`` users or items, and of the others ``choose_domains`` takes 30.
    ``settings`` are fields of ``AliccpConfig``. Values seen under 10 times in training are unknown.

    A field with several values in a row (the user's categories, brands, ...) counts with its last
    one, as published. The official test file is halved into valid and test by a hash of the sample's
    number with ``seed``. ``purchase`` comes after the click and is no feature; a row with a purchase
    but no click is an error of the log and is left out, as published.

    ``table`` is instead the CSV that AREAD's authors publish, already joined, chosen and coded;
    rows that their augmentation added are left out.

    Raises:
        DataError: a file or column is missing, or no row or domain is left.
        ConfigError: an unknown or wrong setting.
    """
    config = settings_of(AliccpConfig, settings, "aliccp")
    if (raw is None) == (table is None):
        raise DataError("aliccp: give either raw= (the folder of the files) or table= (joined CSV)")
    file = out / "interactions.parquet"
    with connect(out, config.memory) as con, scratch(con, out) as keep:
        if table is not None:
            write(con, _published(con, Path(table)), file)
        else:
            tags = [_joined(con, Path(raw or ""), part, config.seed) for part in ("train", "test")]
            rows = _chosen(keep, ibis.union(*tags), config)
            write(con, rows, file, ("train_tag", "sample_id"))
    return PrepareConfig(
        name="aliccp",
        files=(str(file),),
        columns=Columns(user="userid", item="itemid", domain="domain", label="click"),
        split=Split(by="column", column="train_tag", values=("0", "1", "2")),
        features=_features(min_count=1 if table is not None else 10),
        source=_SOURCE,
        memory=config.memory,
    )


def choose_domains(sizes: dict[str, int], wanted: int) -> tuple[str, ...]:
    """The paper's stratified choice ("interval_random"), largest first.

    The largest twentieth of the domains gives max(5, 15 % of ``wanted``) of them at even steps down
    its sizes, the others give the rest in the same way; domains of equal size go by name. Fewer come
    out where a part has fewer.
    """
    ordered = sorted(sizes, key=lambda name: (-sizes[name], name))
    cut = int(0.05 * len(ordered))
    of_large = max(5, int(wanted * 0.15))
    chosen: list[str] = []
    for part, number in ((ordered[:cut], of_large), (ordered[cut:], wanted - of_large)):
        if number > 0:
            chosen += part[:: max(1, len(part) // number)][:number]
    return tuple(chosen)


def _features(min_count: int) -> tuple[FeatureConfig, ...]:
    return (
        *(FeatureConfig(name=f, role="user", min_count=min_count) for f in ("userid", *_USER)),
        *(FeatureConfig(name=f, role="item", min_count=min_count) for f in ("itemid", *_ITEM)),
        *(FeatureConfig(name=f, min_count=min_count) for f in _CONTEXT),
    )


def _joined(con: Backend, folder: Path, part: str, seed: int) -> ir.Table:
    """The rows of one of the two parts, a column for each field, with their ``train_tag``."""
    rows = _lines(con, folder, f"sample_skeleton_{part}", _SKELETON)
    common = _lines(con, folder, f"common_features_{part}", ("common", "feature_num", "features"))
    own = {name: _value(rows.features, name) for name in _FIELDS if name not in _IN_COMMON}
    shared = {name: _value(common.features, name) for name in _IN_COMMON}
    rows = rows.select(
        "common", sample_id=_.sample_id.cast("int64"), click=_.click, purchase=_.purchase, **own
    )
    rows = rows.filter(~((_.click == "0") & (_.purchase == "1")))
    rows = rows.join(common.select("common", **shared), "common")
    tag = ibis.literal(0) if part == "train" else _half(seed)
    return rows.select(
        "sample_id", *_FIELDS, click=_.click.cast("int8"), train_tag=tag.cast("int8")
    )


def _lines(con: Backend, folder: Path, name: str, columns: tuple[str, ...]) -> ir.Table:
    file = folder / f"{name}.csv"
    if not file.exists() and (folder / f"{name}.csv.gz").exists():
        file = folder / f"{name}.csv.gz"
    existing(file, "the published file of Ali-CCP")
    return con.read_csv(
        str(file),
        columns=dict.fromkeys(columns, "VARCHAR"),
        header=False,
        delim=",",
        quote="",
        escape="",
        auto_detect=False,
        max_line_size=8 * 2**20,
    )


def _value(features: ir.StringValue, name: str) -> ir.StringValue:
    """The field's last value: features are FIELD \\x02 VALUE \\x03 WEIGHT, split by \\x01.

    By plain search: a regular expression with a group takes hours for the lines of the real files.
    """
    pieces = (ibis.literal("\x01") + features).split(f"\x01{_FIELDS[name]}\x02")
    last = pieces[pieces.length() - 1]
    found = (pieces.length() > 1) & (last.find("\x03") > 0)
    return ibis.ifelse(found, last.substr(0, last.find("\x03")), ibis.null("string"))


def _half(seed: int) -> ir.IntegerValue:
    """1 or 2 by the sample's number: the square of a random line modulo a prime, below its middle."""
    slope, offset = np.random.default_rng(seed).integers(1, _PRIME, 2).tolist()
    place = (_.sample_id % _PRIME * slope + offset) % _PRIME
    return ibis.ifelse(place * place % _PRIME < _PRIME // 2, 1, 2)


def _chosen(keep: Keep, rows: ir.Table, config: AliccpConfig) -> ir.Table:
    rows, _n = keep(rows.drop_null(list(_KEYS)))
    for key in ("userid", "itemid"):  # both counted before either is filtered, as published
        counts = rows.group_by(key).agg(n=_.count()).filter(_.n >= config.min_rows)
        rows = rows.mutate(**{f"{key}_kept": rows[key].isin(counts[key])})
    rows, _n = keep(rows.filter(_.userid_kept & _.itemid_kept).drop("userid_kept", "itemid_kept"))
    domains = rows.group_by("domain").agg(
        n=_.count(), users=_.userid.nunique(), items=_.itemid.nunique()
    )
    large = domains.filter((_.users >= config.min_entities) & (_.items >= config.min_entities))
    sizes = {row["domain"]: row["n"] for row in large.to_pyarrow().to_pylist()}
    if not sizes:
        raise DataError(
            f"aliccp: no domain has {config.min_entities} users and items with at least "
            f"{config.min_rows} rows each; lower min_rows or min_entities"
        )
    return rows.filter(_.domain.isin(choose_domains(sizes, config.domains)))


def _published(con: Backend, path: Path) -> ir.Table:
    """The rows of the authors' CSV; their code 0 is "unknown" (in user and item a value like others)."""
    rows = read_table(con, path)
    require_columns(rows, ("click", "train_tag", *_FIELDS), path)
    if "is_augmented" in rows.columns:
        rows = rows.filter(_.is_augmented.lower() != "true")
    known = {name: rows[name].nullif("0") for name in _FIELDS if name not in _KEYS}
    tags = {name: rows[name].cast("int8") for name in ("click", "train_tag")}
    return rows.select(*_KEYS, **known, **tags)
