"""AREAD, one graph a domain: of the hierarchy only what the domain's mask keeps, all else constants.

All that reads a row of embeddings reads it linearly first: the bottom experts' first layer, their
gate, the cross network (its depth is a scalar recurrence), its head and the wide part. The domain's
own embedding is the same in every row, so its product is part of the bias. What the item's features
bring and what the user and the context bring are multiplied apart and added, so these may be one row
for many items. Normalisation is multiplied into the weights; gates between levels are numbers.

Shape letters: N rows, U rows of users and contexts (N, or 1), I row width, Y and Z the parts of it
that items and that users and contexts bring, E bottom experts, X what all its first layers give,
O an expert's output width, S and T experts of a level and of the next one, L cross layers,
H first-level inputs, W heads, K embedding width, D domain ids (0 is the unknown domain).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto
from torch import Tensor

from isthmus.export.graph import Graph, WeightsFile
from isthmus.export.lookup import Lookup
from isthmus.export.tables import Table
from isthmus.models.aread import AREAD

Array = NDArray[Any]
ROWS, SHARED = "rows", "rows or 1"
"""Names of the free dimensions: of item features, and of those of users and contexts."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What of the hierarchy a domain's graph has: experts by level, edges [S, T] between levels."""

    experts: tuple[tuple[int, ...], ...]
    edges: tuple[Array, ...]


class Paths:
    """The graphs of an AREAD's domains; what they share is written to a file when this is made.

    ``tables``: the embeddings by vocabulary, as they are to be stored.
    """

    @torch.inference_mode()
    def __init__(
        self, model: AREAD, tables: dict[str, Table], tables_file: WeightsFile, file: WeightsFile
    ) -> None:
        assert model.embed.domain is not None
        self._model, self._config = model.eval(), model.config
        self._lookup = Lookup(tables, tables_file)
        self._domain_DK = model.embed.domain.weight
        self._gates = model.hierarchy.gates(self._domain_DK)
        self._split_rows()
        self._layers = model.bottom.folded()
        weight_EIO, self._first_bias_E1O = self._layers[0]
        self._first_own = [
            file.add(f"bottom:0.{e}", _array(weight_IO[self._own_I]))
            for e, weight_IO in enumerate(weight_EIO)
        ]
        self._first_IX = weight_EIO.transpose(0, 1).flatten(1)
        self._first_shared = file.add("bottom:0.shared", _array(self._first_IX[self._shared_I]))
        self._above = [
            [
                (file.add(f"bottom:{n}.{e}", _array(weight_IO)), _array(bias_1O[0]))
                for e, (weight_IO, bias_1O) in enumerate(zip(*layer, strict=True))
            ]
            for n, layer in enumerate(self._layers[1:], 1)
        ]
        self._whole: dict[str, tuple[Tensor, TensorProto]] = {}
        for name, values in self._of_all_domains():
            self._whole[name] = values, file.add(name, _array(values))

    def _of_all_domains(self) -> Iterator[tuple[str, Tensor]]:
        """What a domain that uses all experts of a level reads as it lies on disk for all of them."""
        for level, layers in enumerate(self._model.hierarchy.folded()):
            for n, (weight_SIO, bias_S1O) in enumerate(layers):
                yield f"expert weight:{level}.{n}", weight_SIO
                yield f"expert bias:{level}.{n}", bias_S1O
        yield "heads", self._model.head[..., None]
        beside_IX = torch.cat([weight for weight, _ in self._readers(self.kept(0))]).T
        yield "beside:own", beside_IX[self._own_I]
        yield "beside:shared", beside_IX[self._shared_I]

    def _used(self, name: str, used: Sequence[int]) -> Array | TensorProto:
        """Of what all experts of a level have, that of those in use."""
        values, on_disk = self._whole[name]
        return on_disk if len(used) == len(values) else _array(values[list(used)])

    def kept(self, domain: int) -> Kept:
        """What a domain uses."""
        used = [active_DE[domain] for active_DE in self._model.hierarchy.active()]
        edges = tuple(_array(level[domain]) for level in self._model.hierarchy.mask)
        return Kept(tuple(tuple(u.nonzero()[:, 0].tolist()) for u in used), edges)

    @torch.inference_mode()
    def model(self, domain: int, opset: int, facts: dict[str, str]) -> ModelProto:
        """The graph of a domain (0: of the unknown one), from ids to the probability."""
        graph, kept = Graph(opset), self.kept(domain)
        own, shared = self._rows(graph)
        h_NEO = self._bottom(graph, own, shared, domain)
        parts = self._beside(graph, own, shared, kept, domain)
        inputs = len(self._first_inputs(kept))
        gates = graph.op("Reshape", parts[0], graph.ints(0, inputs, self._config.bottom_experts))
        inputs_NHO = graph.op("MatMul", graph.op("Softmax", gates, axis=-1), h_NEO)
        around_NW = self._around(graph, parts[1:], kept, domain)
        if self._model.domain_head is not None:
            flat = graph.op("Flatten", inputs_NHO, axis=1)
            own_X1 = graph.weight(_array(self._model.domain_head[domain][:, None]))
            around_NW = graph.op("Add", around_NW, graph.op("MatMul", flat, own_X1))
        logit_NW = self._hierarchy(graph, inputs_NHO, kept, domain, around_NW)
        # in double precision, as runs are scored: in float32 confident rows would be tied at 1
        heads = graph.op("Sigmoid", graph.op("Cast", logit_NW, to=TensorProto.DOUBLE))
        mean_N = graph.op("ReduceMean", heads, graph.ints(1), keepdims=0)
        graph.output("probability", mean_N, TensorProto.DOUBLE, [ROWS])
        return graph.model(f"domain {domain}", facts)

    def _split_rows(self) -> None:
        """Which numbers of a row the items bring, which users and contexts, which the domain."""
        features = self._model.schema.features
        items = [feature.role == "item" for feature in features]
        if not any(items):  # all that differs between rows is then of users and contexts
            items = [True] * len(features)
        self._items = items
        dim = self._model.embed.features.dim
        who = torch.tensor([*items, False]).repeat_interleave(dim)
        domain = torch.arange(len(who)) >= len(features) * dim
        self._own_I, self._shared_I, self._domain_I = who, ~who & ~domain, domain

    def _rows(self, graph: Graph) -> tuple[str, str | None]:
        """The inputs, and their embeddings side by side: of items [N, Y], of all else [U, Z]."""
        parts: dict[bool, list[str]] = {True: [], False: []}
        for feature, item in zip(self._model.schema.features, self._items, strict=True):
            rows = ROWS if item else SHARED
            parts[item].append(self._lookup.feature(graph, feature, rows))
        own, shared = (_side_by_side(graph, parts[item]) for item in (True, False))
        assert own is not None
        return own, shared

    def _read(self, graph: Graph, shared: str | None, weight: Any, bias: Tensor) -> str:
        """What users, contexts and the domain bring to a layer: the bias of what items bring."""
        constant = graph.weight(_array(bias))
        if shared is None:
            return constant
        return graph.op("Gemm", shared, graph.weight(weight), constant)

    def _bottom(self, graph: Graph, own: str, shared: str | None, domain: int) -> str:
        """Outputs of the bottom experts, [N, E, O]."""
        by_domain_X = self._domain_DK[domain] @ self._first_IX[self._domain_I]
        bias_X = self._first_bias_E1O.flatten() + by_domain_X
        begun = self._read(graph, shared, self._first_shared, bias_X)
        experts = self._config.bottom_experts
        axis = 0 if shared is None else 1
        sizes = graph.ints(*[self._first_bias_E1O.shape[2]] * experts)
        outputs = []
        for e, start in enumerate(graph.ops("Split", begun, sizes, outputs=experts, axis=axis)):
            weight = graph.weight(self._first_own[e])
            h_NO = graph.op("Relu", graph.op("Gemm", own, weight, start))
            for layer in self._above:
                weight, bias = (graph.weight(w) for w in layer[e])
                h_NO = graph.op("Relu", graph.op("Gemm", h_NO, weight, bias))
            outputs.append(graph.op("Unsqueeze", h_NO, graph.ints(1)))
        return graph.op("Concat", *outputs, axis=1)

    def _beside(
        self, graph: Graph, own: str, shared: str | None, kept: Kept, domain: int
    ) -> list[str]:
        """What else reads a row: the bottom's gate, then cross network, its head, the wide part."""
        blocks = self._readers(kept)
        weight_IX = torch.cat([weight for weight, _ in blocks]).T
        bias_X = torch.cat([w.new_zeros(len(w)) if b is None else b for w, b in blocks])
        bias_X = bias_X + self._domain_DK[domain] @ weight_IX[self._domain_I]
        weights = [_array(weight_IX[who]) for who in (self._own_I, self._shared_I)]
        if len(bias_X) == self._whole["beside:own"][0].shape[1]:  # all of the domain's are there
            weights = [self._whole[f"beside:{who}"][1] for who in ("own", "shared")]
        start = self._read(graph, shared, weights[1], bias_X)
        read = graph.op("Gemm", own, graph.weight(weights[0]), start)
        sizes = graph.ints(*(len(weight) for weight, _ in blocks))
        return graph.ops("Split", read, sizes, outputs=len(blocks), axis=1)

    def _readers(self, kept: Kept) -> list[tuple[Tensor, Tensor | None]]:
        """Weights, [*, I], and biases of these."""
        model = self._model
        blocks: list[tuple[Tensor, Tensor | None]] = [self._gate(kept)]
        if model.cross is not None and model.cross_head is not None:
            blocks += [(model.cross.weight, None)]
            blocks += [(model.cross_head.weight[list(kept.experts[-1])], None)]
        if model.wide is not None:
            blocks += [(model.wide.weight, None)]
        return blocks

    def _gate(self, kept: Kept) -> tuple[Tensor, Tensor]:
        """The bottom's gate for the first-level inputs that are read: a domain's own head reads all."""
        gate, experts = self._model.bottom_gate, self._config.bottom_experts
        read = self._first_inputs(kept)
        weight_HEI = gate.weight.unflatten(0, (-1, experts))[read]
        return weight_HEI.flatten(0, 1), gate.bias.unflatten(0, (-1, experts))[read].flatten()

    def _first_inputs(self, kept: Kept) -> list[int]:
        if self._model.domain_head is None:
            return list(kept.experts[0])
        return list(range(self._config.experts[0]))

    def _around(self, graph: Graph, parts: list[str], kept: Kept, domain: int) -> str:
        """What goes past the hierarchy: [N, W], or [N, 1] or [1] for all heads alike."""
        model, parts = self._model, list(parts)
        constant: Tensor = model.bias
        terms = []
        if model.cross is not None and model.cross_head is not None:
            steps_L, plus_I = model.cross.fixed()
            constant = constant + model.cross_head.weight[list(kept.experts[-1])] @ plus_I
            times_N1 = _cross_times(graph, parts.pop(0), steps_L)
            terms.append(graph.op("Mul", parts.pop(0), times_N1))
        terms += parts
        around = graph.weight(_array(constant))
        for term in terms:
            around = graph.op("Add", around, term)
        return around

    def _hierarchy(
        self, graph: Graph, inputs_NHO: str, kept: Kept, domain: int, around_NW: str
    ) -> str:
        """Logits of the heads that the domain uses: [N, W]."""
        h_SNO = graph.op("Transpose", inputs_NHO, perm=[1, 0, 2])
        read = self._first_inputs(kept)
        if list(kept.experts[0]) != read:
            h_SNO = graph.op("Gather", h_SNO, graph.ints(*kept.experts[0]), axis=0)
        # the same shape: without it onnxruntime 1.31 makes one node of the transposition and the
        # product, which divides by zero where there are no rows, and ends the process
        shape = graph.ints(len(kept.experts[0]), -1, self._model.bottom.width)
        h_SNO = graph.op("Reshape", h_SNO, shape)
        for level, used in enumerate(kept.experts):
            if level:
                gate_ST = self._gates[level - 1][domain][list(kept.experts[level - 1])][
                    :, list(used)
                ]
                flat = graph.op("Flatten", h_SNO, axis=1)
                mixed = graph.op("MatMul", graph.weight(_array(gate_ST.T)), flat)
                width = self._whole[f"expert weight:{level}.0"][0].shape[1]
                h_SNO = graph.op("Reshape", mixed, graph.ints(len(used), -1, width))
            for n in range(len(self._model.config.levels()[level][1])):
                weight, bias = (
                    graph.weight(self._used(f"expert {what}:{level}.{n}", used))
                    for what in ("weight", "bias")
                )
                h_SNO = graph.op("Relu", graph.op("Add", graph.op("MatMul", h_SNO, weight), bias))
        heads = graph.weight(self._used("heads", kept.experts[-1]))
        logit_WN1 = graph.op("MatMul", h_SNO, heads)
        logit_NW = graph.op("Transpose", graph.op("Squeeze", logit_WN1, graph.ints(2)), perm=[1, 0])
        return graph.op("Add", logit_NW, around_NW)


def _array(values: Tensor) -> Array:
    array: Array = values.detach().cpu().contiguous().numpy()
    return array


def _side_by_side(graph: Graph, parts: Sequence[str]) -> str | None:
    if len(parts) < 2:
        return parts[0] if parts else None
    return graph.op("Concat", *parts, axis=1)


def _cross_times(graph: Graph, dots_NL: str, steps_L: Sequence[float]) -> str:
    """By how much the cross network multiplies a row, [N, 1]: see ``CrossNetwork``."""
    dots = graph.ops(
        "Split", dots_NL, graph.ints(*[1] * len(steps_L)), outputs=len(steps_L), axis=1
    )
    times = graph.weight(np.ones((1, 1), np.float32))
    for dot, step in zip(dots, steps_L, strict=True):
        more = graph.op("Add", times, graph.weight(np.full((1, 1), step, np.float32)))
        times = graph.op("Add", more, graph.op("Mul", times, dot))
    return times
