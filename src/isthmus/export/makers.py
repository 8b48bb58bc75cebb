"""Who writes a model's graphs: one a domain, or one of all."""

import re
from collections.abc import Callable
from pathlib import Path

from isthmus.evaluation.types import UNKNOWN
from isthmus.export.aread import Kept, Paths
from isthmus.export.graph import WeightsFile
from isthmus.export.stored import by_vocabulary
from isthmus.export.whole import write_whole
from isthmus.models import Ranker
from isthmus.models.aread import AREAD
from isthmus.store import Run

TABLES, PARTS = "tables.bin", "shared.bin"
"""Weights that graphs share: the embeddings, and all that is no domain's own."""


Maker = Callable[[int], tuple[str, Kept]]
"""Domain id -> its graph's file, which is there from then on, and what of the experts it has."""


def maker_of(model: Ranker, directory: Path, kept: Run, opset: int) -> Maker:
    """Writes what all graphs share now, and each graph when it is asked for.

    Raises:
        ConfigError: torch.onnx cannot write the model as a graph.
    """
    facts = {"run": kept.name, "data": kept.data.name}
    if not isinstance(model, AREAD):
        file = write_whole(model, directory, opset, facts)
        return lambda _: (file, Kept((), ()))
    tables, parts = (WeightsFile(directory / name) for name in (TABLES, PARTS))
    rows = by_vocabulary(model.embed.features, model.schema.tables)
    paths = Paths(model, rows, tables, parts)
    tables.close()
    parts.close()
    names = (UNKNOWN, *kept.schema.domains)

    def write(domain: int) -> tuple[str, Kept]:
        file = f"{domain:03}-{_plain(names[domain])}".rstrip("-") + ".onnx"
        graph = paths.model(domain, opset, {**facts, "domain": names[domain]})
        (directory / file).write_bytes(graph.SerializeToString())
        return file, paths.kept(domain)

    return write


def _plain(name: str) -> str:
    """A domain's name as part of a file's: letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40]
