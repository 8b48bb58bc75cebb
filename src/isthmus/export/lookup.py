"""Ids -> embeddings in a graph, from tables that lie on disk once, whatever the number of graphs.

Shape letters: B rows, L a history's length, K embedding width.
"""

from collections.abc import Mapping

import numpy as np
from onnx import TensorProto

from isthmus.export.graph import Graph, WeightsFile
from isthmus.export.tables import Table
from isthmus.schema import Feature


class Lookup:
    """Tables by the names of their vocabularies, written to a file when this is made.

    Each is a tensor of its own, so that the runtime refuses an id that its vocabulary has not.
    """

    def __init__(self, tables: Mapping[str, Table], file: WeightsFile) -> None:
        self._values = {n: file.add(f"table:{n}", t.values) for n, t in tables.items()}
        self._scale = {
            n: file.add(f"scale:{n}", t.scale) for n, t in tables.items() if t.scale is not None
        }
        self._is_float32 = {n: t.values.dtype == np.float32 for n, t in tables.items()}

    def feature(self, graph: Graph, feature: Feature, rows: str) -> str:
        """A new input for a feature, named as it, of ``rows`` rows; its embedding, [B, K]."""
        if feature.kind != "history":
            return self._rows(graph, feature.table, graph.input(feature.name, [rows]))
        ids = graph.input(feature.name, [rows, feature.length])
        return _known_mean(graph, self._rows(graph, feature.table, ids), ids)

    def _rows(self, graph: Graph, table: str, ids: str) -> str:
        rows = graph.op("Gather", graph.weight(self._values[table]), ids, axis=0)
        if not self._is_float32[table]:
            rows = graph.op("Cast", rows, to=TensorProto.FLOAT)
        if table in self._scale:
            scale = graph.op("Gather", graph.weight(self._scale[table]), ids, axis=0)
            rows = graph.op("Mul", rows, scale)
        return rows


def _known_mean(graph: Graph, rows_BLK: str, ids_BL: str) -> str:
    """Mean over entries with id > 0: [B, K]; zeros where there is none."""
    known_BL = graph.op("Greater", ids_BL, graph.weight(np.array(0)))
    known_BL = graph.op("Cast", known_BL, to=TensorProto.FLOAT)
    known_B1L = graph.op("Unsqueeze", known_BL, graph.ints(1))
    sum_BK = graph.op("Squeeze", graph.op("MatMul", known_B1L, rows_BLK), graph.ints(1))
    count_B1 = graph.op("ReduceSum", known_BL, graph.ints(1), keepdims=1)
    return graph.op("Div", sum_BK, graph.op("Max", count_B1, graph.weight(np.float32(1))))
