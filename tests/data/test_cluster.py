"""The expressions of a preparation are no engine's own: all of them compile for Spark, too."""

from types import SimpleNamespace
from typing import Any

import ibis
import pytest

from isthmus.data import leaks
from isthmus.data.config import Split
from isthmus.data.histories import Collect, flat, with_history, with_ready_history
from isthmus.data.split import by_time, time_code, user_code
from isthmus.data.values import PARSERS
from isthmus.data.vocabulary import bin_id, quantile_edges, tally, tally_lists, vocabulary

KINDS = {
    "user": "int64", "time": "int64", "label": "int8", "split": "int8", "item": "string",
    "int": "int32", "text": "string", "float": "float64", "bool": "boolean", "date": "date",
    "stamp": "timestamp", "zoned": "timestamp('UTC')", "list": "array<string>",
}  # fmt: skip
ROWS = ibis.table(KINDS, name="rows")
TALLY = ibis.table({"value": "float64", "n": "int64", "positives": "int64"}, name="tally")


class Compiling:
    """An engine that compiles for Spark, and stops where it would have to answer."""

    def __init__(self) -> None:
        self.compiled = 0

    def keep(self, table: Any) -> Any:
        ibis.to_sql(table, dialect="pyspark")
        self.compiled += 1
        return ibis.table(table.schema(), name=f"kept{self.compiled}")

    def arrow(self, table: Any) -> Any:
        self.keep(table)
        raise StopIteration

    one = arrow


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Compiling:
    # an option that Ibis registers together with the Spark package, which is not needed here
    options = SimpleNamespace(treat_nan_as_null=False)
    monkeypatch.setattr(type(ibis.options), "pyspark", options, raising=False)
    return Compiling()


USES = {
    "key": "int text float bool",
    "id": "int text float bool",
    "number": "int text float bool",
    "label": "int text float bool",
    "time": "int text float date stamp zoned",
    "list": "text list",
}


@pytest.mark.parametrize("use", USES)
def test_values(engine: Compiling, use: str) -> None:
    for column in USES[use].split():
        part = PARSERS[use](ROWS[column], column)
        engine.keep(ROWS.select(value=part.value, reason=part.reason.cast("string")))
    assert engine.compiled == len(USES[use].split())


def test_splits_vocabularies_and_bins(engine: Compiling) -> None:
    user = user_code(ROWS.text, Split(by="user"))
    engine.keep(
        ROWS.select(a=time_code(ROWS.time, (1, 2)), b=user, c=bin_id(ROWS.float, (1.0, 2.0)))
    )
    engine.keep(tally(ROWS, "text"))
    engine.keep(tally_lists(ROWS, "list", 3))
    for asked in (
        lambda: by_time(engine, TALLY, (0.8, 0.1, 0.1)),  # type: ignore[arg-type]
        lambda: vocabulary(engine, [TALLY, TALLY], 2),  # type: ignore[arg-type]
        lambda: quantile_edges(engine, TALLY, 4),  # type: ignore[arg-type]
    ):
        with pytest.raises(StopIteration):
            asked()
    assert engine.compiled == 7


@pytest.mark.parametrize("positives", [True, False, None])
def test_histories(engine: Compiling, positives: bool | None) -> None:
    rows = with_history(engine, ROWS, Collect("int", 3, positives, 60), "ids")  # type: ignore[arg-type]
    engine.keep(rows.mutate(**flat(rows.ids, ["a", "b", "c"])))
    words = ibis.table({"id": "int32", "value": "string"}, name="words")
    with_ready_history(engine, ROWS, "list", words, ["a", "b"])  # type: ignore[arg-type]
    assert engine.compiled == 5


@pytest.mark.parametrize(
    "check", [leaks.by_value, leaks.by_order, leaks.by_hundredths, leaks.label_in_time]
)
def test_separations(engine: Compiling, check: Any) -> None:
    with pytest.raises(StopIteration):
        check(engine, TALLY)
    assert engine.compiled == 1


def test_splits_are_audited(engine: Compiling) -> None:
    for asked in (
        lambda: leaks.own_item(engine, ROWS, "x", "list"),  # type: ignore[arg-type]
        lambda: leaks.split_order(engine, ROWS, True),  # type: ignore[arg-type]
        lambda: leaks.split_twins(engine, ROWS),  # type: ignore[arg-type]
    ):
        with pytest.raises(StopIteration):
            asked()
    assert engine.compiled == 3
