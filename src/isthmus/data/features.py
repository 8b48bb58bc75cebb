"""Canonical rows into integer columns, by what the training rows taught."""

from dataclasses import dataclass

import ibis
import pyarrow as pa

from isthmus.data.config import FeatureConfig, PrepareConfig
from isthmus.data.engine import Engine, Table
from isthmus.data.histories import Collect, flat, with_history, with_ready_history
from isthmus.data.interactions import Layout
from isthmus.data.vocabulary import (
    DEFAULT_BINS,
    bin_id,
    quantile_edges,
    tally,
    tally_lists,
    vocabulary,
)
from isthmus.schema import Feature, Schema

UNKNOWN_DOMAIN = "<unknown>"
"""The name under which rows of domain id 0 are counted; no domain can have it."""


@dataclass(frozen=True)
class Learned:
    """What the training rows taught.

    Attributes:
        domains: names, by falling training rows.
        words: a vocabulary (``id, value, count``) for each table.
        edges: the edges of each number.
        tallies: of each feature that is read from a raw column, for the audit.
    """

    domains: tuple[str, ...]
    words: dict[str, pa.Table]
    edges: dict[str, tuple[float, ...]]
    tallies: dict[str, Table]


def source_column(layout: Layout, feature: FeatureConfig) -> str:
    """The canonical column of a feature that is not collected."""
    use = {"id": "id", "number": "number", "history": "list"}[feature.kind]
    return layout.name(feature.source, use)


def learn(engine: Engine, train: Table, config: PrepareConfig, layout: Layout) -> Learned:
    """Domains, vocabularies and bins.

    Args:
        train: the training rows alone: canonical columns, ``domain`` and ``label``.
    """
    tallies: dict[str, Table] = {}
    for feature in config.features:
        lists = feature.kind == "history"
        if lists and config.table_of(feature) != feature.name:
            continue
        column = source_column(layout, feature)
        expression = tally_lists(train, column, feature.length) if lists else tally(train, column)
        tallies[feature.name] = engine.keep(expression)
    numbers = [feature for feature in config.features if feature.kind == "number"]
    return Learned(
        domains=_domains(engine, train, config.min_domain_rows),
        words={
            table: vocabulary(engine, parts, config.feature(table).min_count)
            for table, parts in _by_table(config, tallies).items()
        },
        edges={f.name: _edges(engine, f, tallies[f.name]) for f in numbers},
        tallies=tallies,
    )


def _by_table(config: PrepareConfig, tallies: dict[str, Table]) -> dict[str, list[Table]]:
    """The tallies that count in a vocabulary: those of its ids; of a history where it is alone."""
    tables: dict[str, list[Table]] = {}
    for feature in config.features:
        table = config.table_of(feature)
        if feature.kind == "id" or (feature.kind == "history" and table == feature.name):
            tables.setdefault(table, []).append(tallies[feature.name])
    return tables


def _domains(engine: Engine, train: Table, least: int) -> tuple[str, ...]:
    counted = tally(train, "domain")
    known = counted.filter((counted.n >= least) & (counted.value != UNKNOWN_DOMAIN))
    table = engine.arrow(known.order_by(ibis.desc("n"), "value"))
    return tuple(table["value"].to_pylist())


def _edges(engine: Engine, feature: FeatureConfig, values: Table) -> tuple[float, ...]:
    if feature.edges is not None:
        return feature.edges
    return quantile_edges(engine, values, feature.bins or DEFAULT_BINS)


def build_schema(config: PrepareConfig, learned: Learned) -> Schema:
    """The schema that models are built from."""
    features = []
    for feature in config.features:
        table = config.table_of(feature)
        number = feature.kind == "number"
        size = len(learned.edges[feature.name]) + 1 if number else len(learned.words[table])
        features.append(
            Feature(
                name=feature.name,
                kind=feature.kind,
                size=size + 1,
                role=feature.role,
                table=table,
                length=feature.length if feature.kind == "history" else 1,
            )
        )
    return Schema(features=tuple(features), domains=learned.domains)


def encode(
    engine: Engine, rows: Table, config: PrepareConfig, layout: Layout, learned: Learned
) -> Table:
    """Integer columns ``time, user, domain, label, split`` and ``x{i}`` for feature i.

    A history of length L is ``x{i}_0`` to ``x{i}_{L-1}``.
    """
    joined = _joined(engine, rows, config, layout, learned)
    columns = {"user": joined.u_id, "domain": ibis.coalesce(joined.d_id, 0).cast("int32")}
    for i, feature in enumerate(config.features):
        if feature.kind == "id":
            columns[f"x{i}"] = ibis.coalesce(joined[f"w{i}_id"], 0).cast("int32")
        elif feature.kind == "number":
            value = joined[source_column(layout, feature)]
            columns[f"x{i}"] = bin_id(value, learned.edges[feature.name])
        elif feature.of is None:
            columns[f"raw{i}"] = joined[source_column(layout, feature)]
    table = engine.keep(joined.select("time", "label", "split", **columns))
    return _with_histories(engine, table, config, learned)


def _joined(
    engine: Engine, rows: Table, config: PrepareConfig, layout: Layout, learned: Learned
) -> Table:
    users = rows.select(u_value=rows.user).distinct()
    users = engine.keep(users.mutate(u_id=ibis.row_number().over(order_by=users.u_value) + 1))
    names = _words(
        engine,
        pa.table(
            {
                "id": pa.array(range(1, len(learned.domains) + 1), pa.int32()),
                "value": pa.array(learned.domains, pa.string()),
            }
        ),
        "d",
    )
    joined = rows.left_join(users, rows.user == users.u_value)
    joined = joined.left_join(names, rows.domain == names.d_value)
    for i, feature in enumerate(config.features):
        if feature.kind == "id":
            words = _words(engine, learned.words[config.table_of(feature)], f"w{i}")
            joined = joined.left_join(
                words, rows[source_column(layout, feature)] == words[f"w{i}_value"]
            )
    return joined


def _words(engine: Engine, words: pa.Table, name: str) -> Table:
    return engine.table(
        words.select(["value", "id"]).rename_columns([f"{name}_value", f"{name}_id"])
    )


def _with_histories(engine: Engine, table: Table, config: PrepareConfig, learned: Learned) -> Table:
    for i, feature in enumerate(config.features):
        if feature.kind != "history":
            continue
        places = [f"x{i}_{k}" for k in range(feature.length)]
        if feature.of is not None:
            of = config.features.index(config.feature(feature.of))
            collect = Collect(f"x{of}", feature.length, feature.positives, feature.window)
            lists = with_history(engine, table, collect, "list")
            table = lists.mutate(**flat(lists.list, places)).drop("list")
        else:
            words = engine.table(learned.words[config.table_of(feature)])
            table = with_ready_history(engine, table, f"raw{i}", words, places).drop(f"raw{i}")
    return table
