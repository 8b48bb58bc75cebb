"""A retriever as a graph from histories to queries, and the vectors that queries are compared with.

Shape letters: B histories, L their length, H width, I items.
"""

from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from isthmus.batch import Histories
from isthmus.data.prepared import Prepared
from isthmus.errors import ConfigError
from isthmus.export.check import ROWS, TOLERANCE
from isthmus.export.manifest import DomainGraph, Input
from isthmus.export.runtime import ExportError
from isthmus.export.whole import written
from isthmus.models import Retriever

FILE, ITEMS, OUTPUT = "queries.onnx", "items.npy", "query"
BATCH = 256  # histories at a time
_INPUTS = ("items", "domains", "domain")


class _Queries(nn.Module):
    """A retriever that is asked for what comes next: the target is not known."""

    def __init__(self, retriever: Retriever) -> None:
        super().__init__()
        self.retriever = retriever

    def forward(self, items_BL: Tensor, domains_BL: Tensor, domain_B: Tensor) -> Tensor:
        asked = Histories(items_BL, domains_BL, torch.zeros_like(domain_B), domain_B)
        query_BH: Tensor = self.retriever(asked)
        return query_BH


def inputs(model: Retriever) -> tuple[Input, ...]:
    """Items and their domains, padded with 0 on the left, and the domain that is asked for."""
    length = model.schema.max_history
    shapes: tuple[tuple[int | str, ...], ...] = (("rows", length), ("rows", length), ("rows",))
    return tuple(Input(name=n, shape=s) for n, s in zip(_INPUTS, shapes, strict=True))


@torch.no_grad()
def write_queries(model: Retriever, directory: Path, opset: int, facts: dict[str, str]) -> None:
    """Write the graph, and the vectors of all items, [I, H] float32.

    Raises:
        ConfigError: the model compares no vectors, or torch.onnx cannot write it.
    """
    length = model.schema.max_history
    history = torch.ones(3, length, dtype=torch.int64)
    example = (history, history.clone(), torch.ones(3, dtype=torch.int64))
    written(_Queries(model), example, (_INPUTS, OUTPUT), directory / FILE, (opset, facts))
    try:
        vectors_IH = model.item_vectors().float()
    except NotImplementedError:
        raise ConfigError(
            f"{type(model).__name__} scores items by no vectors, so there is nothing to search"
        ) from None
    np.save(directory / ITEMS, vectors_IH.cpu().numpy(), allow_pickle=False)


@torch.inference_mode()
def checked(model: Retriever, directory: Path, prepared: Prepared) -> DomainGraph:
    """Compare scores of all items with the model's, on validation histories.

    Raises:
        ExportError: one differs by more than 1e-5 of the largest score.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(directory / FILE), options)
    vectors_IH = np.load(directory / ITEMS)
    windows, largest, off = prepared.windows("valid"), 0.0, 0.0
    rows = min(len(windows), ROWS)
    for start in range(0, rows, BATCH):
        batch = windows[start : min(start + BATCH, rows)]
        wanted_BI = model.scores(batch).numpy()
        feeds = {name: getattr(batch, name).numpy() for name in _INPUTS}
        found_BI = session.run([OUTPUT], feeds)[0] @ vectors_IH.T
        finite = np.isfinite(wanted_BI)
        largest = max(largest, float(np.abs(wanted_BI[finite]).max(initial=0)))
        off = max(off, float(np.abs(found_BI - wanted_BI)[finite].max(initial=0)))
    if not off <= TOLERANCE * max(largest, 1):
        raise ExportError(
            f"the graph's scores differ by {off:.2g} from the model's on {rows:,} validation "
            f"histories, where scores go up to {largest:.3g}: nothing is exported"
        )
    return DomainGraph(id=0, file=FILE, rows=rows, difference=off, table_difference=off)
