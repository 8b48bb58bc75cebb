"""AREAD for one user and many items: what the user, the context and the domain decide, once.

All that reads a row of embeddings reads it linearly first: the bottom experts' first layer, their
gate, the cross network (its depth is a scalar recurrence), its head and the wide part. So a row's
products are those of its item's features, plus two vectors that are the bias of that first layer:
one that all candidates share, and one of the domain. The rest is the model with its normalisation
multiplied in, and of its hierarchy the experts that the domain's mask uses; all of it is one graph.

Shape letters: N candidates, J columns of item features, C columns of ``Impressions.features``, I row
width, K embedding width, Y width of an item's embeddings, U that of all shared features, E bottom
experts, S and T experts of a level and of the next one, O an expert's output width, L cross layers,
W experts of the last level, X outputs of all that reads a row, side by side.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isthmus.models.aread import AREAD
from isthmus.service.bundle import Ints
from isthmus.service.graph import Compiled, Graph, arrays, can_compute

Arrays = dict[str, NDArray[Any]]
_ROWS, _SHARED, _DOMAIN = "rows", "shared", "domain"
_FIRST, _LAST, _HEAD, _OWN = "first experts", "last experts", "heads", "own head"


class Folded:
    """An AREAD whose weights no longer change; the same probabilities to 1e-6."""

    @torch.inference_mode()
    def __init__(self, model: AREAD) -> None:
        self._model = model.eval()
        self._rows = _Rows(model)
        readers = _readers(model)
        weight_XI = torch.cat([weight for weight, _ in readers])
        own_XY, self._shared_XU, self._domain_XK = self._rows.split(weight_XI)
        self._bias_X = torch.cat([bias for _, bias in readers])
        widths = [len(bias) for _, bias in readers]
        self._graph = _graph(model, own_XY.split(widths), self._shared_XU)
        self._domains: dict[int, Arrays] = {}

    @staticmethod
    def fits(model: AREAD) -> bool:
        """Whether every item feature is one column (a history of an item's is not taken apart), and
        there is what computes graphs."""
        item = (f for f in model.schema.features if f.role == "item")
        return can_compute() and all(feature.kind != "history" for feature in item)

    def __call__(self, shared_C: Ints, items_NJ: Ints, domain_N: Ints) -> NDArray[np.float64]:
        shared_1U = self._rows.shared(shared_C)
        domains = set(domain_N.tolist())
        if len(domains) == 1:
            return self._probabilities(shared_1U, items_NJ, domains.pop())
        probability_N = np.empty(len(domain_N))
        for domain in domains:
            is_of_N = domain_N == domain
            probability_N[is_of_N] = self._probabilities(shared_1U, items_NJ[is_of_N], domain)
        return probability_N

    def _probabilities(
        self, shared_1U: NDArray[np.float32], items_NJ: Ints, domain: int
    ) -> NDArray[np.float64]:
        """Of candidates of one domain, [N]: the mean of its heads, in double precision."""
        if domain not in self._domains:
            self._domains[domain] = self._of(domain)
        rows = {_ROWS: self._rows.items(items_NJ), _SHARED: shared_1U}
        return self._graph(self._domains[domain] | rows)

    @torch.inference_mode()
    def _of(self, domain: int) -> Arrays:
        """What a domain decides: its experts, their gates, and what it adds by itself."""
        model, hierarchy = self._model, self._model.hierarchy
        assert model.embed.domain is not None
        domain_DK = model.embed.domain.weight
        used = [active_DE[domain].nonzero()[:, 0] for active_DE in hierarchy.active()]
        found = {
            _DOMAIN: (self._bias_X + self._domain_XK @ domain_DK[domain])[None],
            _FIRST: used[0],
            _HEAD: model.head[used[-1]][..., None],
        }
        if model.cross is not None:
            found[_LAST] = used[-1]
        if model.domain_head is not None:
            found[_OWN] = model.domain_head[domain][:, None]
        levels = zip(hierarchy.folded(), used, strict=True)
        for level, (layers, chosen) in enumerate(levels):
            for layer, (weight, bias) in enumerate(layers):
                found[_weight(level, layer)] = weight[chosen]
                found[_bias(level, layer)] = bias[chosen]
        gates = zip(hierarchy.gates(domain_DK), used[:-1], used[1:], strict=True)
        for level, (gate_DST, below, above) in enumerate(gates, 1):
            found[_gate(level)] = gate_DST[domain][below][:, above].T
        return dict(zip(found, arrays(*found.values()), strict=True))


def _weight(level: int, layer: int) -> str:
    return f"weight {level} {layer}"


def _bias(level: int, layer: int) -> str:
    return f"bias {level} {layer}"


def _gate(level: int) -> str:
    return f"gate {level}"


class _Rows:
    """Embeddings of a row's features, by who brings them."""

    def __init__(self, model: AREAD) -> None:
        embed, schema = model.embed.features, model.schema
        (self._table,) = arrays(embed.table.weight)
        self._dim = embed.dim
        starts = np.array([embed.starts[feature.table] for feature in schema.features])
        is_item_F = np.array([feature.role == "item" for feature in schema.features])
        self._starts_J = starts[is_item_F]
        # of the others: their columns, where each begins, and which are histories
        others = [f for f in schema.features if f.role != "item"]
        lengths = [feature.length for feature in others]
        places = [range(schema.num_columns)[schema.columns[f.name]] for f in others]
        self._columns = np.array([column for place in places for column in place], np.int64)
        self._offsets = np.repeat(starts[~is_item_F], lengths)
        self._begins = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
        self._is_pooled = np.repeat([f.kind == "history" for f in others], lengths)
        width = np.repeat(np.append(is_item_F, False), self._dim)
        self._is_item_I = torch.from_numpy(width)

    def split(self, weight_XI: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weights that read a row, by whose inputs they read: items', shared ones, the domain's."""
        features_XI, domain_XK = weight_XI[:, : -self._dim], weight_XI[:, -self._dim :]
        is_item = self._is_item_I[: -self._dim]
        return features_XI[:, is_item], features_XI[:, ~is_item], domain_XK

    def items(self, items_NJ: Ints) -> NDArray[np.float32]:
        """Embeddings of item features, side by side: [N, Y]."""
        rows_NJK = self._table.take(items_NJ + self._starts_J, axis=0)
        return rows_NJK.reshape(len(items_NJ), -1)

    def shared(self, shared_C: Ints) -> NDArray[np.float32]:
        """Embeddings of all other features, histories averaged over their known entries: [1, U]."""
        if not len(self._columns):
            return np.zeros((1, 0), np.float32)
        ids = shared_C[self._columns]
        known = (~self._is_pooled | (ids > 0)).astype(np.float32)
        number = np.maximum(np.add.reduceat(known, self._begins), 1)
        rows_CK = self._table.take(ids + self._offsets, axis=0) * known[:, None]
        sums_FK = np.add.reduceat(rows_CK, self._begins, axis=0)
        means_FK = (sums_FK / number[:, None]).astype(np.float32, copy=False)
        return means_FK.reshape(1, -1)


def _readers(model: AREAD) -> list[tuple[Tensor, Tensor]]:
    """Weight [., I] and bias of all that reads a row: the experts' first layers, then the others."""
    (weight_EIO, bias_E1O), *_ = model.bottom.folded()
    found = [(weight.T, bias[0]) for weight, bias in zip(weight_EIO, bias_E1O, strict=True)]
    found.append((model.bottom_gate.weight, model.bottom_gate.bias))
    others = []
    if model.cross is not None and model.cross_head is not None:
        others += [model.cross.weight, model.cross_head.weight]
    if model.wide is not None:
        others.append(model.wide.weight)
    return found + [(weight, torch.zeros(len(weight))) for weight in others]


def _graph(model: AREAD, own: tuple[Tensor, ...], shared_XU: Tensor) -> Compiled:
    """An item's embeddings [N, Y], what is shared, and what its domain decides -> probabilities [N]."""
    graph = Graph()
    rows = graph.input(_ROWS, ["N", own[0].shape[1]])
    shared = graph.node("MatMul", graph.input(_SHARED, [1, shared_XU.shape[1]]), shared_XU.T)
    bias_1X = graph.node("Add", shared, graph.input(_DOMAIN, [1, len(shared_XU)]))
    sizes = torch.tensor([len(weight) for weight in own])
    biases = graph.split("Split", len(own), bias_1X, sizes, axis=1)
    read = (graph.node("Gemm", rows, w, b, transB=1) for w, b in zip(own, biases, strict=True))
    h_NSO = _first_inputs(graph, model, read)
    logit = _around(graph, model, read)
    if model.domain_head is not None:
        own_X1 = graph.input(_OWN, [model.domain_head.shape[1], 1])
        flat_NX = graph.node("Flatten", h_NSO)
        logit = graph.node("Add", logit, graph.node("MatMul", flat_NX, own_X1))
    logit_NW = graph.node("Add", logit, _hierarchy(graph, model, h_NSO))
    probability_NW = graph.node("Sigmoid", graph.node("Cast", logit_NW, to=11))  # double
    return graph.compiled(
        graph.node("ReduceMean", probability_NW, [1], keepdims=0), ["N"], "double"
    )


def _first_inputs(graph: Graph, model: AREAD, read: Iterator[str]) -> str:
    """Inputs of the first level: [N, S, O]."""
    experts = model.config.bottom_experts
    _, *above = model.bottom.folded()
    outputs = []
    for expert in range(experts):
        h_NO = graph.node("Relu", next(read))
        for weight_EIO, bias_E1O in above:
            h_NO = graph.node(
                "Relu", graph.node("Gemm", h_NO, weight_EIO[expert], bias_E1O[expert])
            )
        outputs.append(graph.node("Unsqueeze", h_NO, [1]))
    h_NEO = graph.node("Concat", *outputs, axis=1)
    gate_NSE = graph.node("Reshape", next(read), [0, -1, experts])
    return graph.node("MatMul", graph.node("Softmax", gate_NSE, axis=2), h_NEO)


def _around(graph: Graph, model: AREAD, read: Iterator[str]) -> str:
    """What goes past the hierarchy for the used heads: [N, W], or [N, 1] for all alike."""
    sum_N1 = graph.node("Unsqueeze", model.bias, [0])
    if model.cross is not None and model.cross_head is not None:
        steps, plus_I = model.cross.fixed()
        plus_W = model.cross_head.weight @ plus_I
        dots = graph.split("Split", len(steps), next(read), axis=1, num_outputs=len(steps))
        times_N1 = graph.node("Add", dots[0], torch.ones(1) + steps[0])
        for dot_N1, step in zip(dots[1:], steps[1:], strict=True):
            more = graph.node("Mul", times_N1, dot_N1)
            times_N1 = graph.node("Add", graph.node("Add", times_N1, torch.tensor(step)), more)
        crossed_NW = graph.node("Add", graph.node("Mul", next(read), times_N1), plus_W)
        last = graph.input(_LAST, ["W"], "int64")
        sum_N1 = graph.node("Add", graph.node("Gather", crossed_NW, last, axis=1), sum_N1)
    return graph.node("Add", next(read), sum_N1) if model.wide is not None else sum_N1


def _hierarchy(graph: Graph, model: AREAD, h_NSO: str) -> str:
    """Inputs of the first level -> logits of the used heads, [N, W]."""
    first = graph.input(_FIRST, ["S"], "int64")
    h_SNO = graph.node("Gather", graph.node("Transpose", h_NSO, perm=[1, 0, 2]), first, axis=0)
    for level, layers in enumerate(model.hierarchy.folded()):
        if level:
            gate_TS = graph.input(_gate(level), [f"T{level}", f"S{level}"])
            width = layers[0][0].shape[1]
            flat = graph.node("Flatten", h_SNO)
            h_SNO = graph.node("Reshape", graph.node("MatMul", gate_TS, flat), [0, -1, width])
        for layer, (weight_SIO, _) in enumerate(layers):
            _, inputs, outputs = weight_SIO.shape
            weight = graph.input(_weight(level, layer), [f"E{level}", inputs, outputs])
            bias = graph.input(_bias(level, layer), [f"E{level}", 1, outputs])
            product = graph.node("MatMul", h_SNO, weight)
            h_SNO = graph.node("Relu", graph.node("Add", product, bias))
    head = graph.input(_HEAD, ["W", model.head.shape[1], 1])
    logit_WN = graph.node("Squeeze", graph.node("MatMul", h_SNO, head), [2])
    return graph.node("Transpose", logit_WN, perm=[1, 0])
