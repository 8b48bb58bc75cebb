"""AREAD for one user and many items: what the user, the context and the domain decide, once.

All that reads a row of embeddings reads it linearly first: the bottom experts' first layer, their
gate, the cross network (its depth is a scalar recurrence), its head and the wide part. Side by side
they are one matrix, so a row's product with it is the sum of one vector that all candidates share
and of one of each item feature; for small vocabularies those are tables. The rest is the model with
its normalisation multiplied in, and of its hierarchy the experts that the domain's mask uses.

Shape letters: N candidates, J columns of item features, X width of the matrix, K embedding width,
E bottom experts, S and T experts of a level and of the next one, O an expert's output width,
L cross layers, W experts of the last level.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from isthmus.batch import Impressions
from isthmus.models.aread import AREAD
from isthmus.models.hemp import mean_probability_logit
from isthmus.nn import CrossNetwork
from isthmus.service.bundle import Ints

_SMALL = 4096  # ids of a vocabulary whose products are kept: 16 MiB at a width of 1,024

Layers = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class _Domain:
    """What a domain decides: its experts, their gates, and what it adds by itself."""

    first: Tensor
    levels: list[Layers]
    gates_TS: list[Tensor]
    head_WO1: Tensor
    last: Tensor
    own_X: Tensor | None


class Folded:
    """An AREAD whose weights no longer change; the same probabilities to 1e-6."""

    @torch.inference_mode()
    def __init__(self, model: AREAD) -> None:
        self._model = model.eval()
        self._embed = model.embed.features
        (weight_EIO, bias_E1O), *self._bottom = model.bottom.folded()
        blocks = [weight_EIO.transpose(0, 1).flatten(1), model.bottom_gate.weight.T]
        biases = [bias_E1O.flatten(), model.bottom_gate.bias]
        if model.cross is not None and model.cross_head is not None:
            blocks += [model.cross.weight.T, model.cross_head.weight.T]
            biases += [torch.zeros(block.shape[1]) for block in blocks[-2:]]
            self._steps_L, self._beside_W = _cross_constants(model.cross, model.cross_head.weight)
            self._beside_W = self._beside_W + model.bias
        if model.wide is not None:
            blocks.append(model.wide.weight.T)
            biases.append(torch.zeros(1))
        self._widths = [block.shape[1] for block in blocks]
        self._matrix_IX, self._bias_X = torch.cat(blocks, 1).contiguous(), torch.cat(biases)
        self._take_apart()
        self._domains: dict[int, _Domain] = {}

    @staticmethod
    def fits(model: AREAD) -> bool:
        """Whether every item feature is one column: a history of an item's is not taken apart."""
        return all(f.kind != "history" or f.role != "item" for f in model.schema.features)

    @torch.inference_mode()
    def __call__(self, shared_C: Ints, items_NJ: Ints, domain_N: Ints) -> NDArray[np.float64]:
        items_NX = self._of_items(torch.from_numpy(items_NJ))
        logit_N = torch.empty(len(items_NJ), dtype=torch.float64)
        found, place_N = np.unique(domain_N, return_inverse=True)
        for number, domain in enumerate(found.tolist()):
            rows = torch.from_numpy(np.flatnonzero(place_N == number))
            rows_NX = items_NX[rows] if len(found) > 1 else items_NX
            rows_NX += self._of_all(shared_C, domain)
            logit_N[rows] = self._logits(rows_NX, domain).double()
        return logit_N.sigmoid().numpy()

    def _take_apart(self) -> None:
        """Item features by the size of their vocabulary: a table of products, or their embeddings."""
        schema, table_RK, dim = self._model.schema, self._embed.table.weight, self._embed.dim
        # 0 where an item feature is embedded
        self._own_rows_I1 = torch.ones(len(self._matrix_IX), 1)
        tables, rows = [torch.zeros(0, self._matrix_IX.shape[1])], self._matrix_IX[:0]
        # columns of item features, and where their rows begin
        self._small: tuple[list[int], list[int]] = ([], [])
        self._large: tuple[list[int], list[int]] = ([], [])
        items = [(n, f) for n, f in enumerate(schema.features) if f.role == "item"]
        for column, (place, feature) in enumerate(items):
            own = slice(place * dim, (place + 1) * dim)
            self._own_rows_I1[own] = 0.0
            start = self._embed.starts[feature.table]
            small = feature.size <= _SMALL
            columns, starts = self._small if small else self._large
            columns.append(column)
            starts.append(sum(len(table) for table in tables) if small else start)
            if small:
                tables.append(table_RK[start : start + feature.size] @ self._matrix_IX[own])
            else:
                rows = torch.cat([rows, self._matrix_IX[own]])
        self._table_RX, self._large_YX = torch.cat(tables), rows

    def _of_items(self, items_NJ: Tensor) -> Tensor:
        """What item features add, [N, X]."""
        (columns, starts), width = self._small, self._matrix_IX.shape[1]
        if columns:
            ids = items_NJ[:, columns] + torch.tensor(starts)
            sum_NX = F.embedding_bag(ids, self._table_RX, mode="sum")
        else:
            sum_NX = torch.zeros(len(items_NJ), width)
        columns, starts = self._large
        if columns:
            rows_NJK = self._embed.table.weight[items_NJ[:, columns] + torch.tensor(starts)]
            sum_NX.addmm_(rows_NJK.flatten(1), self._large_YX)
        return sum_NX

    def _of_all(self, shared_C: Ints, domain: int) -> Tensor:
        """What all candidates of a domain have in common, [1, X]."""
        domain_1 = torch.tensor([domain])
        row = Impressions(torch.from_numpy(shared_C)[None], domain_1, torch.zeros(1))
        row_I1 = self._model.embed(row).T * self._own_rows_I1
        return (row_I1.T @ self._matrix_IX) + self._bias_X

    def _logits(self, z_NX: Tensor, domain: int) -> Tensor:
        """The domain's logits from products with the matrix, [N]."""
        own, experts = self._domain(domain), self._model.config.bottom_experts
        first, gate, *rest = z_NX.split(self._widths, 1)
        h_ENO = first.relu().unflatten(1, (experts, -1)).transpose(0, 1)
        for weight_EIO, bias_E1O in self._bottom:
            h_ENO = torch.baddbmm(bias_E1O, h_ENO, weight_EIO).relu_()
        gate_NSE = gate.unflatten(1, (-1, experts)).softmax(2)
        h_NSO = gate_NSE @ h_ENO.transpose(0, 1)
        bypass_N1 = self._around(rest, h_NSO, own)
        h_SNO = h_NSO.transpose(0, 1)[own.first]
        for number, layers in enumerate(own.levels):
            if number:
                h_SNO = (own.gates_TS[number - 1] @ h_SNO.flatten(1)).unflatten(1, h_SNO.shape[1:])
            for weight_SIO, bias_S1O in layers:
                h_SNO = torch.baddbmm(bias_S1O, h_SNO, weight_SIO).relu_()
        logit_NW = (h_SNO @ own.head_WO1)[..., 0].T
        if bypass_N1.shape[1] > 1:
            bypass_N1 = bypass_N1[:, own.last]
        logit_NW = logit_NW + bypass_N1
        return mean_probability_logit(logit_NW, torch.ones(1, dtype=torch.bool), dim=1)

    def _around(self, rest: list[Tensor], h_NSO: Tensor, own: _Domain) -> Tensor:
        """What goes past the hierarchy: [N, 1] or one number a last expert."""
        sum_N1 = self._model.bias.expand(len(h_NSO), 1)
        if self._model.cross is not None:
            dots_NL, head_NW, *rest = rest
            times_N = torch.ones(len(dots_NL))
            for dot_N, step in zip(dots_NL.T, self._steps_L, strict=True):
                times_N = torch.addcmul(times_N + step, times_N, dot_N)
            sum_N1 = torch.addcmul(self._beside_W, head_NW, times_N[:, None])
        if rest:
            sum_N1 = sum_N1 + rest[0]
        if own.own_X is not None:
            sum_N1 = sum_N1 + (h_NSO.flatten(1) @ own.own_X)[:, None]
        return sum_N1

    def _domain(self, domain: int) -> _Domain:
        if domain not in self._domains:
            self._domains[domain] = self._made(domain)
        return self._domains[domain]

    def _made(self, domain: int) -> _Domain:
        model, hierarchy = self._model, self._model.hierarchy
        assert model.embed.domain is not None
        used = [active_DE[domain].nonzero()[:, 0] for active_DE in hierarchy.active()]
        gates = hierarchy.gates(model.embed.domain.weight)
        return _Domain(
            first=used[0],
            levels=[
                [(weight[chosen], bias[chosen]) for weight, bias in layers]
                for layers, chosen in zip(hierarchy.folded(), used, strict=True)
            ],
            gates_TS=[
                gate_DST[domain][below][:, above].T.contiguous()
                for gate_DST, below, above in zip(gates, used[:-1], used[1:], strict=True)
            ],
            head_WO1=model.head[used[-1]][..., None],
            last=used[-1],
            own_X=model.domain_head[domain] if model.domain_head is not None else None,
        )


def _cross_constants(cross: CrossNetwork, head_WI: Tensor) -> tuple[list[float], Tensor]:
    """What does not depend on a row: a number a layer, and what the head makes of the biases, [W].

    See ``CrossNetwork``: a layer's output is the row times a number, plus a vector.
    """
    plus_I, steps = torch.zeros_like(cross.bias[0]), []
    for weight_I, bias_I in zip(cross.weight, cross.bias, strict=True):
        steps.append(float(plus_I @ weight_I))
        plus_I = plus_I + bias_I
    return steps, head_WI @ plus_I
