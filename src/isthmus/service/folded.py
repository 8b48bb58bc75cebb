"""AREAD for one user and many items: what the user, the context and the domain decide, once.

All that reads a row of embeddings reads it linearly first: the bottom experts' first layer, their
gate, the cross network (its depth is a scalar recurrence), its head and the wide part. So a row's
products are those of its own embeddings, the item's features and the domain, plus a vector that all
candidates share, which is the bias of that first layer. The rest is the model with its normalisation
multiplied in, and of its hierarchy the experts that the domain's mask uses.

Shape letters: N candidates, J columns of item features, C columns of ``Impressions.features``,
I row width, F features that candidates share, K embedding width, Y width of a row's own embeddings, Z width of what is read beside the experts,
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
from isthmus.nn import CrossNetwork
from isthmus.service.bundle import Ints

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
        assert model.embed.domain is not None
        self._model = model.eval()
        self._table, self._domain_DK = model.embed.features.table.weight, model.embed.domain.weight
        (weight_EIO, bias_E1O), *above = model.bottom.folded()
        first = [(w.T, b[0]) for w, b in zip(weight_EIO, bias_E1O, strict=True)]
        self._above = [
            [(w.T.contiguous(), b[0]) for w, b in zip(weights, biases, strict=True)]
            for weights, biases in above
        ]
        blocks: list[Tensor] = [model.bottom_gate.weight]
        biases: list[Tensor] = [model.bottom_gate.bias]
        if model.cross is not None and model.cross_head is not None:
            blocks += [model.cross.weight, model.cross_head.weight]
            self._steps_L, self._plus_W = _cross_constants(model.cross, model.cross_head.weight)
        if model.wide is not None:
            blocks.append(model.wide.weight)
        biases += [torch.zeros(len(block)) for block in blocks[1:]]
        self._widths = [len(block) for block in blocks]
        self._take_apart([*first, (torch.cat(blocks), torch.cat(biases))])
        self._domains: dict[int, _Domain] = {}

    @staticmethod
    def fits(model: AREAD) -> bool:
        """Whether every item feature is one column: a history of an item's is not taken apart."""
        return all(f.kind != "history" or f.role != "item" for f in model.schema.features)

    @torch.inference_mode()
    def __call__(self, shared_C: Ints, items_NJ: Ints, domain_N: Ints) -> NDArray[np.float64]:
        rows_NY = self._own_rows(torch.from_numpy(items_NJ), torch.from_numpy(domain_N))
        beside_NZ, h_NEO = self._read(rows_NY, torch.from_numpy(shared_C))
        gate, *rest = beside_NZ.split(self._widths, 1)
        h_NSO = gate.unflatten(1, (-1, h_NEO.shape[1])).softmax(2) @ h_NEO
        around_N1 = self._around(rest)
        domains = set(domain_N.tolist())
        if len(domains) == 1:
            return self._probabilities(h_NSO, around_N1, domains.pop()).numpy()
        probability_N = torch.empty(len(domain_N), dtype=torch.float64)
        for domain in domains:
            rows = torch.from_numpy(np.flatnonzero(domain_N == domain))
            around = around_N1[rows] if len(around_N1) > 1 else around_N1
            probability_N[rows] = self._probabilities(h_NSO[rows], around, domain)
        return probability_N.numpy()

    def _take_apart(self, layers: Layers) -> None:
        """Layers that read a row, the experts' and the one beside them, by who brings their inputs."""
        schema, dim = self._model.schema, self._model.embed.features.dim
        items = [n for n, feature in enumerate(schema.features) if feature.role == "item"]
        starts = self._model.embed.features.starts
        self._starts_J = torch.tensor([starts[schema.features[n].table] for n in items])
        domain = len(schema.features)
        is_own_FK = torch.zeros(domain + 1, dim, dtype=torch.bool)
        is_own_FK[[*items, domain]] = True
        is_own_I = is_own_FK.flatten()
        self._shared_F = (~is_own_FK[:domain, 0]).nonzero()[:, 0]
        self._own_weights = [weight_OI[:, is_own_I].contiguous() for weight_OI, _ in layers]
        self._shared_weight_XI = torch.cat([weight_OI[:, ~is_own_I] for weight_OI, _ in layers])
        self._bias_X = torch.cat([bias for _, bias in layers])
        self._outputs = [len(bias) for _, bias in layers]

    def _own_rows(self, items_NJ: Tensor, domain_N: Tensor) -> Tensor:
        """Embeddings of candidates' item features and domains, side by side: [N, Y]."""
        rows_NJK = F.embedding(items_NJ + self._starts_J, self._table)
        return torch.cat([rows_NJK.flatten(1), F.embedding(domain_N, self._domain_DK)], 1)

    def _read(self, rows_NY: Tensor, shared_C: Tensor) -> tuple[Tensor, Tensor]:
        """What is read beside the bottom experts, [N, Z], and their outputs, [N, E, O]."""
        row = Impressions(shared_C[None], torch.zeros(1, dtype=torch.int64), torch.zeros(1))
        row_FK = self._model.embed.features(row)[0, self._shared_F]
        shared_X = torch.addmv(self._bias_X, self._shared_weight_XI, row_FK.flatten())
        *first, beside = zip(self._own_weights, shared_X.split(self._outputs), strict=True)
        outputs = []
        for expert, layer in enumerate(first):
            h_NO = rectified(rows_NY, *layer)
            for experts in self._above:
                h_NO = rectified(h_NO, *experts[expert])
            outputs.append(h_NO)
        return F.linear(rows_NY, *beside), torch.stack(outputs, 1)

    def _around(self, rest: list[Tensor]) -> Tensor:
        """What goes past the hierarchy, whatever the domain: [N, W], or [N, 1] for all alike."""
        sum_N1: Tensor = self._model.bias
        if self._model.cross is not None:
            dots_NL, head_NW, *rest = rest
            times_N = torch.ones(len(dots_NL))
            for dot_N, step in zip(dots_NL.unbind(1), self._steps_L, strict=True):
                times_N = torch.addcmul(times_N + step, times_N, dot_N)
            sum_N1 = torch.addcmul(self._plus_W + sum_N1, head_NW, times_N[:, None])
        return sum_N1 + rest[0] if rest else sum_N1

    def _probabilities(self, h_NSO: Tensor, around_N1: Tensor, domain: int) -> Tensor:
        """Of candidates of one domain, [N]: the mean of its heads, in double precision."""
        own = self._domain(domain)
        logit_NW = around_N1 if around_N1.shape[-1] == 1 else around_N1[:, own.last]
        if own.own_X is not None:
            logit_NW = logit_NW + (h_NSO.flatten(1) @ own.own_X)[:, None]
        h_SNO = h_NSO.transpose(0, 1)[own.first]
        for number, layers in enumerate(own.levels):
            if number:
                h_SNO = (own.gates_TS[number - 1] @ h_SNO.flatten(1)).unflatten(1, h_SNO.shape[1:])
            for weight_SIO, bias_S1O in layers:
                h_SNO = torch.baddbmm(bias_S1O, h_SNO, weight_SIO).relu_()
        logit_NW = logit_NW + (h_SNO @ own.head_WO1)[..., 0].T
        return logit_NW.double().sigmoid().mean(1)

    def _domain(self, domain: int) -> _Domain:
        if domain not in self._domains:
            self._domains[domain] = self._made(domain)
        return self._domains[domain]

    def _made(self, domain: int) -> _Domain:
        model, hierarchy = self._model, self._model.hierarchy
        used = [active_DE[domain].nonzero()[:, 0] for active_DE in hierarchy.active()]
        gates = hierarchy.gates(self._domain_DK)
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


_FUSED = torch.backends.mkldnn.is_available()


def rectified(x_NI: Tensor, weight_OI: Tensor, bias_O: Tensor) -> Tensor:
    """ReLU(x W^T + b), [N, O]: by oneDNN where torch has it, whose one kernel does it all, with all
    of the vector units of any maker's processor."""
    if _FUSED:
        out_NO: Tensor = torch.ops.mkldnn._linear_pointwise(x_NI, weight_OI, bias_O, "relu", [], "")
        return out_NO
    return F.linear(x_NI, weight_OI, bias_O).relu_()


def _cross_constants(cross: CrossNetwork, head_WI: Tensor) -> tuple[list[float], Tensor]:
    """What does not depend on a row: a number a layer, and what the head makes of the biases, [W].

    See ``CrossNetwork``: a layer's output is the row times a number, plus a vector.
    """
    plus_I, steps = torch.zeros_like(cross.bias[0]), []
    for weight_I, bias_I in zip(cross.weight, cross.bias, strict=True):
        steps.append(float(plus_I @ weight_I))
        plus_I = plus_I + bias_I
    return steps, head_WI @ plus_I
