"""The fixed synthetic table of the speed benchmark: 1,000,000 rows, 25 domains, ready made."""

from pathlib import Path

from ibis.backends.duckdb import Backend

from isthmus.data.config import Columns, FeatureConfig, PrepareConfig, Split
from isthmus.data.sources.base import connect, read_table, require_columns, source, write

_ITEM = ("itemid", "brand", "cate", "price")
_USER = ("userid", "city")
_CONTEXT = ("hour", "weekday")


@source
def synth_ctr(out: Path, *, table: Path) -> PrepareConfig:
    """The million rows on which the published code's speed was measured.

    Eight id fields and a ready history of five items (0 is padding there). Split by ``train_tag``
    (0, 1, 2 are train, validation, test, by time). ``true_logit`` is what the labels were drawn
    from: it is left out of the written file.

    Raises:
        DataError: the table is not there or lacks a column.
    """
    with connect(out) as con:
        file = _write(con, Path(table), out / "interactions.parquet")
    roles = {**dict.fromkeys(_USER, "user"), **dict.fromkeys(_ITEM, "item")}
    ids = (
        FeatureConfig.model_validate({"name": name, "role": roles.get(name, "context")})
        for name in (*_USER, *_ITEM, *_CONTEXT)
    )
    return PrepareConfig(
        name="synth_ctr",
        files=(file,),
        columns=Columns(
            user="userid", item="itemid", domain="domain", label="label", time="timestamp"
        ),
        split=Split(by="column", column="train_tag", values=("0", "1", "2")),
        features=(
            *ids,
            FeatureConfig(name="item_seq", kind="history", role="user", table="itemid"),
        ),
        source="synthetic, seed 7: 25 domains in 5 planted clusters; Bayes test AUC .8496",
    )


def _write(con: Backend, path: Path, file: Path) -> str:
    rows = read_table(con, path)
    columns = (*_USER, *_ITEM, *_CONTEXT, "domain", "label", "timestamp", "train_tag", "item_seq")
    require_columns(rows, columns, path)
    rows = rows.select(*columns)
    rows = rows.mutate(
        domain=rows.domain.cast("string"),
        item_seq=rows.item_seq.cast("array<int64>").filter(lambda item: item > 0),
    )
    return write(con, rows, file, ("timestamp", "userid", "itemid"))
