"""A finished run becomes graphs on disk, each checked against the model before it counts."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from isthmus import reference
from isthmus.data.prepared import Prepared
from isthmus.errors import ConfigError, DataError
from isthmus.evaluation.types import UNKNOWN
from isthmus.experiment import load_model, predict
from isthmus.export import queries
from isthmus.export.aread import ROWS, SHARED
from isthmus.export.check import FEW, TableTrial, difference, is_mixed, rows_of
from isthmus.export.exported import Exported
from isthmus.export.graph import OLDEST, checked_opset
from isthmus.export.makers import Maker, maker_of
from isthmus.export.manifest import (
    MANIFEST,
    DomainGraph,
    ExportManifest,
    GraphKind,
    Input,
    TableCost,
)
from isthmus.export.runtime import GraphSession
from isthmus.export.stored import table_bytes, with_stored_tables
from isthmus.export.tables import Precision
from isthmus.export.whole import FILE, OUTPUT, domain_input
from isthmus.files import digest, digests, directory_atomically, write_sealed
from isthmus.models import Ranker
from isthmus.models.aread import AREAD
from isthmus.next_item import load_retriever
from isthmus.progress import Reporter, quiet
from isthmus.store import Run
from isthmus.store.manifest import MANIFEST as RUN_MANIFEST


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a run is to be exported. No ``domains``: all of them; the unknown one always is."""

    domains: tuple[str, ...] = ()
    tables: Precision = "float32"
    opset: int = OLDEST


def export(
    kept: Run,
    out: Path | str,
    prepared: Prepared,
    wanted: Wanted = Wanted(),
    *,
    reporter: Reporter = quiet,
) -> Exported:
    """Write the run's model to ``out`` as ONNX graphs that need nothing but a runtime.

    Of a retriever: a graph from histories to queries, and the vectors of all items.

    Every graph is run on validation rows of ``prepared``, the data that the run was trained on, and
    nothing is written unless its probabilities are the model's to 1e-5. Tables of less than 32 bits
    are tried on the test rows as well: see ``ExportManifest.cost``. What an earlier export left in
    ``out`` is replaced at once, at the end.

    Raises:
        ConfigError: the run cannot be exported, or has not these domains; another opset.
        DataError: it is not finished, or ``out`` holds something else than an export.
        ExportError: a graph does not score as the model does.
    """
    out = Path(out)
    _refuse(kept, out, wanted)
    prepared = prepared.under(kept.schema)
    with directory_atomically(out) as aside:
        write = _write_queries if kept.of_items else _write_ranker
        found = write(kept, aside, prepared, wanted, reporter)
        manifest = ExportManifest(
            run=kept.name,
            run_digest=digest(kept.path / RUN_MANIFEST).sha256,
            model=kept.config["model"],
            data=kept.data,
            features=kept.schema,
            opset=wanted.opset,
            tables=wanted.tables,
            files=digests(aside, [path.name for path in aside.iterdir()]),
            **found,
        )
        write_sealed(aside / MANIFEST, manifest.model_dump(mode="json"))
    return Exported.open(out)


def _write_ranker(
    kept: Run, aside: Path, prepared: Prepared, wanted: Wanted, reporter: Reporter
) -> dict[str, Any]:
    """Graphs of a ranker, checked; what the manifest says of them."""
    trained = load_model(kept)
    if wanted.domains and not isinstance(trained, AREAD):
        raise ConfigError(
            f"--domain: one graph scores all domains of {kept.config['model']!r}; leave it out"
        )
    as_stored = with_stored_tables(trained, wanted.tables)
    maker = maker_of(as_stored, aside, kept, wanted.opset)
    graphs, cost = _checked(maker, aside, (as_stored, trained), prepared, wanted, reporter)
    return {
        "graph_kind": _kind(as_stored, aside, prepared),
        "table_bytes": table_bytes(as_stored),
        "inputs": _inputs(as_stored),
        "output": OUTPUT,
        "graphs": graphs,
        "cost": cost,
    }


def _write_queries(
    kept: Run, aside: Path, prepared: Prepared, wanted: Wanted, _: Reporter
) -> dict[str, Any]:
    """The graph of a retriever's queries and the items' vectors, checked."""
    if wanted.domains or wanted.tables != "float32":
        raise ConfigError(
            f"run {kept.name!r} is a retriever's: one graph of all domains, in float32; leave out "
            "--domain and --tables"
        )
    model = load_retriever(kept)
    facts = {"run": kept.name, "data": kept.data.name}
    queries.write_queries(model, aside, wanted.opset, facts)
    return {
        "graph_kind": "queries",
        "table_bytes": (aside / queries.ITEMS).stat().st_size,
        "inputs": queries.inputs(model),
        "output": queries.OUTPUT,
        "graphs": {"all domains": queries.checked(model, aside, prepared)},
    }


def _refuse(kept: Run, out: Path, wanted: Wanted) -> None:
    checked_opset(wanted.opset)
    if not kept.finished:
        raise DataError(f"run {kept.name!r} is not finished; train it to the end first")
    if kept.config["model"] in reference.names():
        raise ConfigError(
            f"run {kept.name!r} is of {kept.config['model']!r}, which has a format of its own: a file "
            f"in {kept.path} that it reads by itself; exported are networks"
        )
    if kept.config["scope"] != "joint":
        raise ConfigError(
            f"run {kept.name!r} is of scope {kept.config['scope']!r}: many models, of which each "
            "domain has its own, and no one graph; export a joint run"
        )
    if strange := [name for name in wanted.domains if name not in kept.schema.domains]:
        known = kept.schema.domains
        more = f" and {len(known) - 8} more" if len(known) > 8 else ""
        raise ConfigError(
            f"run {kept.name!r} has no domain {', '.join(map(repr, strange))}; it has: "
            f"{', '.join(known[:8])}{more}"
        )
    is_other = out.exists() and not (out / MANIFEST).is_file()
    if is_other and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} is there, and is no export; give --out another directory")


def _checked(
    maker: Maker,
    directory: Path,
    models: tuple[Ranker, Ranker],
    prepared: Prepared,
    wanted: Wanted,
    reporter: Reporter,
) -> tuple[dict[str, DomainGraph], TableCost | None]:
    """Make the graph of every wanted domain, and compare it with the model; what tables cost."""
    names = (UNKNOWN, *prepared.schema.domains)
    chosen = [d for d, name in enumerate(names) if not d or name in (wanted.domains or names)]
    valid, graphs, trial = prepared.impressions("valid"), {}, None
    session = lru_cache(1)(lambda file: GraphSession(directory / file, prepared.schema))
    if wanted.tables != "float32":
        trained = predict(models[1], prepared, "test")
        trial = TableTrial(prepared.impressions("test"), trained)
    with reporter.task("export", len(chosen)) as advance:
        for domain in chosen:
            file, kept = maker(domain)
            found = difference(session(file), *models, rows_of(valid, domain))
            graphs[names[domain]] = DomainGraph(
                id=domain,
                file=file,
                experts=kept.experts,
                edges=sum(int(level.sum()) for level in kept.edges),
                all_edges=sum(level.size for level in kept.edges),
                rows=found.rows,
                difference=found.graph,
                table_difference=found.trained,
            )
            if trial is not None:
                trial.score(session(file), domain)
            advance(1)
    return graphs, trial.cost() if trial is not None else None


def _kind(model: Ranker, directory: Path, prepared: Prepared) -> GraphKind:
    if isinstance(model, AREAD):
        return "one a domain"
    rows = prepared.impressions("valid")[:FEW]
    session = GraphSession(directory / FILE, prepared.schema)
    return "all domains" if is_mixed(session, model, rows) else "all domains, one a call"


def _inputs(model: Ranker) -> tuple[Input, ...]:
    """The inputs of a graph, in their order: of one domain, or of all with the domain's id first."""
    schema, found = model.schema, []
    one, items = isinstance(model, AREAD), any(f.role == "item" for f in model.schema.features)
    if not one:
        found.append(Input(name=domain_input(schema), shape=(ROWS,)))
    for feature in schema.features:
        shared = one and items and feature.role != "item"
        length = (feature.length,) if feature.kind == "history" else ()
        found.append(Input(name=feature.name, shape=(SHARED if shared else ROWS, *length)))
    return tuple(found)
