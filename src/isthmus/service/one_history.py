"""The query of one history, where it is the same whatever domain is asked for.

A retriever's forward pass makes the state of every token of many histories; a request needs that of
the last token of one. Of the last layer nothing else is computed, nothing is packed that one history
does not need, and all of it is one graph.

Shape letters: T tokens (the start, then the items), S the most of them, K experts, H width, A heads,
W head width, X heads and widths side by side.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isthmus.models import Retriever
from isthmus.models.sasrec import SASRec
from isthmus.models.sequential import SequentialRetriever
from isthmus.models.syncrec import Head, SyNCRec
from isthmus.nn.transformer import (
    EPS,
    StackedAttention,
    StackedNorm,
    TransformerBlock,
    Transformers,
)
from isthmus.service.bundle import Ints
from isthmus.service.graph import Compiled, Graph, arrays, can_compute, product

_TINY = 1e-12  # of ``F.normalize``
_SUM, _HIDDEN = "sum_TH", "hidden_TT"


class OneHistory:
    """A SASRec that reads all domains, or the cross-domain path of a SyNCRec."""

    @torch.inference_mode()
    def __init__(self, model: SASRec | SyNCRec) -> None:
        embed = model.embed
        assert embed.start is not None
        assert embed.position is not None
        self._newest = model.schema.max_history
        (self._items, self._start, self._position) = arrays(
            model.items.weight, embed.start.weight, embed.position.weight
        )
        self._domains = arrays(embed.domain.weight)[0] if embed.domain is not None else None
        slots = self._newest + 1
        self._hidden_SS = np.triu(np.full((slots, slots), -np.inf, np.float32), 1)
        self._graph = _graph(model)

    @staticmethod
    def fits(model: Retriever) -> bool:
        """Whether the model's queries are these, and there is what computes graphs."""
        if not can_compute():
            return False
        if type(model) is SASRec:
            return model.config.reads == "all"
        return type(model) is SyNCRec and model.config.inference == "cross"

    def __call__(self, item: Ints, domain: Ints) -> NDArray[np.float32]:
        """Item ids and domain ids of a history, oldest first -> its query, [H]."""
        x_TH = self._position[: min(len(item), self._newest) + 1].copy()
        x_TH[0] += self._start[0]
        x_TH[1:] += self._items[item[-self._newest :]]
        if self._domains is not None:
            x_TH[1:] += self._domains[domain[-self._newest :]]
        hidden_TT = np.ascontiguousarray(self._hidden_SS[: len(x_TH), : len(x_TH)])
        query: NDArray[np.float32] = self._graph({_SUM: x_TH, _HIDDEN: hidden_TT})
        return query


def _graph(model: SASRec | SyNCRec) -> Compiled:
    """Sums of a history's embeddings [T, H], and what hides later tokens [T, T] -> its query [H]."""
    graph, norm = Graph(), model.embed.norm
    sum_TH = graph.input(_SUM, ["T", model.config.embedding_dim])
    graph.input(_HIDDEN, ["T", "T"])
    x_TH = graph.node(
        "LayerNormalization", sum_TH, norm.weight, norm.bias, axis=-1, epsilon=norm.eps
    )
    last_1H = _last(graph, x_TH, axis=0)
    if isinstance(model, SASRec):
        state_1H = graph.node("Squeeze", _encoded(graph, model.encoder, x_TH), [1])
    else:
        state_K1H = _encoded(graph, model.experts, x_TH)
        state_1H = _through(graph, model.cross_head, last_1H, graph.node("Squeeze", state_K1H, [1]))
    query_1H = _as_query(graph, model, state_1H)
    return graph.compiled(graph.node("Squeeze", query_1H, [0]), [model.config.embedding_dim])


def _encoded(graph: Graph, encoder: Transformers, x_TH: str) -> str:
    """The last token's state by each expert: [K, 1, H]."""
    x_KTH = graph.node("Expand", graph.node("Unsqueeze", x_TH, [0]), [_experts(encoder), 1, 1])
    *below, top = (block for block in encoder.blocks if isinstance(block, TransformerBlock))
    for block in below:
        taken = _attention(graph, block.attention, _read(graph, block, x_KTH))
        x_KTH = _with(graph, block, x_KTH, taken)
    taken = _last_attention(graph, top.attention, _read(graph, top, x_KTH))
    x_K1H = _with(graph, top, _last(graph, x_KTH, axis=1), taken)
    return x_K1H if encoder.norm is None else _norm(graph, encoder.norm, x_K1H)


def _experts(encoder: Transformers) -> int:
    (first, *_) = (block for block in encoder.blocks if isinstance(block, TransformerBlock))
    return len(first.up.weight)


def _last(graph: Graph, x: str, *, axis: int) -> str:
    return graph.node("Slice", x, [-1], [np.iinfo(np.int64).max], [axis])


def _read(graph: Graph, block: TransformerBlock, x_KTH: str) -> str:
    return _norm(graph, block.norm_1, x_KTH) if block.pre_norm else x_KTH


def _norm(graph: Graph, norm: StackedNorm, x_KTH: str) -> str:
    if len(norm.scale) == 1:
        own = (norm.scale.flatten(), norm.shift.flatten())
        return graph.node("LayerNormalization", x_KTH, *own, axis=-1, epsilon=EPS)
    ones_H = torch.ones(norm.scale.shape[-1])
    normal = graph.node("LayerNormalization", x_KTH, ones_H, axis=-1, epsilon=EPS)
    return graph.node("Add", graph.node("Mul", normal, norm.scale), norm.shift)


def _linear(graph: Graph, x: str, weight: Tensor, bias: Tensor) -> str:
    return graph.node("Add", graph.node("MatMul", x, weight), bias)


def _with(graph: Graph, block: TransformerBlock, x_KTH: str, taken_KTH: str) -> str:
    """``TransformerBlock`` after its attention."""
    x_KTH = graph.node("Add", x_KTH, taken_KTH)
    if not block.pre_norm:
        x_KTH = _norm(graph, block.norm_1, x_KTH)
    read_KTH = _norm(graph, block.norm_2, x_KTH) if block.pre_norm else x_KTH
    hidden = graph.node("Gelu", _linear(graph, read_KTH, block.up.weight, block.up.bias))
    x_KTH = graph.node("Add", x_KTH, _linear(graph, hidden, block.down.weight, block.down.bias))
    return x_KTH if block.pre_norm else _norm(graph, block.norm_2, x_KTH)


def _attention(graph: Graph, attention: StackedAttention, x_KTH: str) -> str:
    """Each token takes of itself and of those before it."""
    experts, width, _ = attention.project.weight.shape
    heads = attention.heads
    scale = torch.ones(3 * width)
    scale[:width] = (width // heads) ** -0.5  # of queries
    projected = _linear(
        graph, x_KTH, attention.project.weight * scale, attention.project.bias * scale
    )
    apart = graph.node("Reshape", projected, [experts, -1, 3 * heads, width // heads])
    query, key, value = graph.split(
        "Split", 3, graph.node("Transpose", apart, perm=[0, 2, 1, 3]), axis=1, num_outputs=3
    )
    score_KATT = graph.node("MatMul", query, graph.node("Transpose", key, perm=[0, 1, 3, 2]))
    score_KATT = graph.node("Add", score_KATT, _HIDDEN)
    mixed = graph.node("MatMul", graph.node("Softmax", score_KATT, axis=-1), value)
    side_by_side = graph.node("Transpose", mixed, perm=[0, 2, 1, 3])
    mixed_KTH = graph.node("Reshape", side_by_side, [experts, -1, width])
    return _linear(graph, mixed_KTH, attention.out.weight, attention.out.bias)


def _last_attention(graph: Graph, attention: StackedAttention, x_KTH: str) -> str:
    """What the last token takes, which sees all: [K, 1, H].

    No token's key or value is made. The query's product with the keys is that of the query, mapped
    back through their weights, with the inputs (their bias adds the same to all, which softmax
    passes over), and the mean of the values is the value of the mean.
    """
    experts, width, _ = attention.project.weight.shape
    heads = attention.heads
    apart = (experts, width, heads, width // heads)
    query, key, value = (
        part.unflatten(2, (heads, -1)).movedim(2, 1)
        for part in attention.project.weight.split(width, 2)
    )  # [K, A, H, W] each
    query_bias, _, value_bias = attention.project.bias.split(width, 2)
    scaled_KAWH = key.mT * apart[3] ** -0.5
    back_KHX = product(query, scaled_KAWH).movedim(1, 2).flatten(2)
    back_bias = product(query_bias.unflatten(2, (heads, 1, -1))[:, 0], scaled_KAWH)
    back = _linear(graph, _last(graph, x_KTH, axis=1), back_KHX, back_bias.movedim(1, 2).flatten(2))
    back_KAH = graph.node("Reshape", back, [experts, heads, width])
    score_KAT = graph.node("MatMul", back_KAH, graph.node("Transpose", x_KTH, perm=[0, 2, 1]))
    mean_KAH = graph.node("MatMul", graph.node("Softmax", score_KAT, axis=-1), x_KTH)
    mean_K1X = graph.node("Reshape", mean_KAH, [experts, 1, heads * width])
    out_KAWH = attention.out.weight.unflatten(1, (heads, -1))
    taken_KXH = product(value, out_KAWH).flatten(1, 2)
    taken_bias = product(value_bias, attention.out.weight) + attention.out.bias
    return _linear(graph, mean_K1X, taken_KXH, taken_bias)


def _through(graph: Graph, head: Head, last_1H: str, state_KH: str) -> str:
    """The experts' states weighed by the last token's gate, through the tower: [1, H]."""
    gate, tower = head.gate, head.tower
    gate_1K = graph.node("Softmax", _linear(graph, last_1H, gate.weight[0], gate.bias[0]), axis=-1)
    mixed_1H = graph.node("MatMul", gate_1K, state_KH)
    hidden = graph.node("Gelu", _linear(graph, mixed_1H, tower.up.weight[0], tower.up.bias[0]))
    mixed_1H = graph.node(
        "Add", mixed_1H, _linear(graph, hidden, tower.down.weight[0], tower.down.bias[0])
    )
    return graph.node(
        "LayerNormalization", mixed_1H, tower.scale[0], tower.shift[0], axis=-1, epsilon=EPS
    )


def _as_query(graph: Graph, model: SequentialRetriever, state_1H: str) -> str:
    """``SequentialRetriever.queries``."""
    if not model.config.cosine:
        return state_1H
    norm_11 = graph.node("ReduceL2", state_1H, [-1])
    norm_11 = graph.node("Max", norm_11, torch.tensor(_TINY))
    normal_1H = graph.node("Div", state_1H, norm_11)
    return graph.node("Div", normal_1H, torch.tensor(model.config.cosine_temperature))
