"""What an export says of itself, in ``export.json``: sealed with its own SHA-256, as runs are."""

from pathlib import Path
from typing import Final, Literal

from pydantic import ConfigDict, Field, ValidationError

from isthmus import __version__
from isthmus.errors import DataError, IntegrityError
from isthmus.evaluation.types import Comparison
from isthmus.export.tables import Precision
from isthmus.files import Digest, read_sealed
from isthmus.schema import Frozen, Schema
from isthmus.store import DataRef

MANIFEST = "export.json"
FORMAT: Final = "isthmus-export"
MEND = "Export the run again."


class Input(Frozen):
    """An input of a graph, all of int64; a dimension with a name is free."""

    name: str
    shape: tuple[int | str, ...]


class DomainGraph(Frozen):
    """What scores a domain's rows.

    ``experts``: the active ones by level; ``edges`` of ``all_edges`` between them are kept. Neither is
    there where the model has no masks. ``rows`` of validation were scored by the graph and by the
    model with the tables as they are stored; ``difference`` is the largest one of the probabilities,
    ``table_difference`` that to the model as it was trained.
    """

    id: int
    file: str
    experts: tuple[tuple[int, ...], ...] = ()
    edges: int = 0
    all_edges: int = 0
    rows: int
    difference: float
    table_difference: float


class TableCost(Frozen):
    """What stored tables of less than 32 bits cost on the test rows of the exported domains.

    ``domain_auc``: of the graphs, and of the model as it was trained; ``comparison``: AUC of the
    first minus AUC of the second, paired by row, domain by domain.
    """

    domain_auc: tuple[float | None, float | None]
    comparison: Comparison


GraphKind = Literal["one a domain", "all domains", "all domains, one a call", "queries"]
"""A graph for each domain, or one whose input ``domain`` is the domain's id: of each row, or of all
rows of a call alike. Of a retriever one from histories to queries, which are compared with the rows
of ``items.npy`` by inner product."""


class ExportManifest(Frozen):
    """What ``export.json`` holds.

    ``run_digest`` is the SHA-256 of the run's own manifest. ``graphs`` holds what scores a domain by
    the domain's name; the unknown domain is that of id 0. ``table_bytes``: of the embeddings as stored.
    """

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)

    format: Literal["isthmus-export"] = FORMAT
    version: Literal[1] = 1
    library: str = __version__
    run: str
    run_digest: str
    model: str
    data: DataRef
    features: Schema = Field(alias="schema")
    graph_kind: GraphKind
    opset: int
    tables: Precision
    table_bytes: int
    inputs: tuple[Input, ...]
    output: str
    graphs: dict[str, DomainGraph]
    cost: TableCost | None = None
    files: dict[str, Digest]


def read(directory: Path) -> ExportManifest:
    """The manifest of an export.

    Raises:
        DataError: there is none. IntegrityError: it is damaged, or of another version.
    """
    path = directory / MANIFEST
    if not path.is_file():
        raise DataError(f"{directory} is no export: it has no {MANIFEST}; make one: isthmus export")
    try:
        return ExportManifest.model_validate(read_sealed(path, MEND))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise IntegrityError(f"{path}: {key}: {first['msg']}. {MEND}") from None
