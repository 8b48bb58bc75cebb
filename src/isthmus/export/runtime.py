"""Graphs at work in onnxruntime."""

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from isthmus.batch import Impressions
from isthmus.errors import IsthmusError
from isthmus.schema import Schema

Ints = NDArray[np.int64]
BATCH = 4096  # rows at a time


class ExportError(IsthmusError):
    """A graph does not load, or does not score as its model does."""


class GraphSession:
    """A ranker's graph, on one thread. Raises ExportError where onnxruntime cannot load it."""

    def __init__(self, path: Path, schema: Schema) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # of onnxruntime's own kinds, which have no common base
            raise ExportError(
                f"onnxruntime {onnxruntime.__version__} cannot load {path.name}: "
                f"{str(error).splitlines()[0]}. Export with another --opset, or take a newer runtime"
            ) from None
        self._schema = schema
        names = {feature.name for feature in schema.features}
        inputs = [value.name for value in self._session.get_inputs()]
        self._inputs, self._domain = inputs, next((n for n in inputs if n not in names), None)

    def __call__(self, rows: Impressions) -> NDArray[np.float64]:
        """P(label = 1) of every row: [B] float64."""
        feeds = by_name(self._schema, rows.features.numpy())
        if self._domain is not None:
            feeds[self._domain] = rows.domain.numpy()
        feeds = {name: feeds[name] for name in self._inputs}
        parts = [np.empty(0)]
        for start in range(0, len(rows), BATCH):
            part = {name: values[start : start + BATCH] for name, values in feeds.items()}
            parts.append(self._session.run(None, part)[0])
        return np.concatenate(parts)


def by_name(schema: Schema, features_BC: Ints) -> dict[str, Ints]:
    """The columns of ``Impressions.features`` as a graph's inputs: [B] each, of a history [B, L]."""
    found = {}
    for feature in schema.features:
        ids = features_BC[:, schema.columns[feature.name]]
        found[feature.name] = np.ascontiguousarray(ids if feature.kind == "history" else ids[:, 0])
    return found
