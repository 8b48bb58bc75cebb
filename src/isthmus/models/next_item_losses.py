"""What to minimise when the next item is to be told from other items: a choice apart from the model.

Shape letters: Q kinds of query (paths that are compared share their negatives), N tokens, X tokens
of one group, H width, G groups (domains, or one of all items), V items of a group, M negatives.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from isthmus.batch import Histories
from isthmus.data.feed import generator
from isthmus.device import looked_up, moved, on_host, picked, written
from isthmus.models.base import ModelConfig
from isthmus.nn.precision import exact, full_precision
from isthmus.nn.towers import Routing
from isthmus.schema import Schema

Vectors = Callable[[Tensor], Tensor]
"""Ids of items [...] -> what queries are compared with [..., H]."""
CELLS, GPU_CELLS = 2**19, 2**26
"""Scores of a full softmax that are in memory at a time: what a cache holds, and what a GPU likes."""
_NEGATIVES = 2  # the purpose of a generator: which items a step compares with


class NextItemConfig(ModelConfig):
    """How the next item is told from others.

    Settings:
        loss: "softmax" over all candidates; "sampled_softmax", "bce" and "gbce" over drawn ones.
        candidates: items of the target's own domain, or of all domains.
        negatives: drawn a step and a group of candidates, shared by all of its tokens.
        negative_power: an item is drawn in proportion to its count to this power; 0 is evenly.
        calibration: t of gBCE; 0 is BCE, 1 is calibrated fully.
        cosine: compare directions alone, divided by ``cosine_temperature``; else by inner product.
    """

    embedding_dim: PositiveInt = 64
    loss: Literal["softmax", "sampled_softmax", "bce", "gbce"] = "softmax"
    candidates: Literal["domain", "all"] = "domain"
    negatives: PositiveInt = 256
    negative_power: NonNegativeFloat = Field(0.0, le=1)
    calibration: NonNegativeFloat = Field(0.75, le=1)
    cosine: bool = False
    cosine_temperature: PositiveFloat = 0.05


class Catalogue(nn.Module):
    """Which items are candidates, of which domain each is, and how often it was trained on.

    The schema says it, or the training rows do: then an item's domain is the first that it was met
    in, and items never met are no candidates.
    """

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        domain_I = torch.zeros(schema.items, dtype=torch.int64)
        if schema.domain_items:
            sizes = torch.tensor(schema.domain_items)
            domain_I[1:] = torch.arange(1, len(sizes) + 1).repeat_interleave(sizes)
        self.register_buffer("domain_I", domain_I)
        self.register_buffer("known_I", domain_I > 0)
        self.register_buffer("count_I", torch.zeros_like(domain_I))
        self.domain_I: Tensor
        self.known_I: Tensor
        self.count_I: Tensor
        self.domains = schema.num_domains + 1
        self._groups: dict[str, Candidates] = {}
        self.register_load_state_dict_post_hook(lambda *_: self._groups.clear())

    @torch.no_grad()
    def learn(self, batch: Histories) -> None:
        """Take note of the domains of a batch's items."""
        batch = batch.on_host()
        domain_I, known_I = on_host(self.domain_I), on_host(self.known_I)
        items = torch.cat([batch.items.flatten(), batch.target])
        news = (~known_I[items] & (items > 0)).nonzero()[:, 0].flip(0)  # the first comes last
        if len(news):
            domains = torch.cat([batch.domains.flatten(), batch.domain])
            domain_I[items[news]] = domains[news]
            known_I[items[news]] = True
            written(self.domain_I, domain_I)
            written(self.known_I, known_I)
            self._groups.clear()

    @torch.no_grad()
    def count(self, items: Tensor) -> None:
        """Take note of items that are trained on."""
        self.count_I.index_add_(0, items, torch.ones_like(items))

    def candidates(self, kind: str) -> "Candidates":
        """Known items by "domain", or "all" as one group."""
        if kind not in self._groups or self._groups[kind].items.device != self.known_I.device:
            group_I = self.domain_I if kind == "domain" else torch.zeros_like(self.domain_I)
            groups = self.domains if kind == "domain" else 1
            self._groups[kind] = Candidates(group_I, self.known_I, groups)
        return self._groups[kind]

    def draw(
        self, kind: str, number: int, power: float, rng: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Items drawn with replacement in each group, [G, M], and the log of their odds.

        In proportion to their counts to this power; those of a group without items mean nothing.
        """
        of = self.candidates(kind)
        weight = self.count_I[of.items].clamp(min=1).double().pow(power)
        edge = F.pad(weight.cumsum(0), (1, 0))
        low_G1, high_G1 = edge[of.start_G, None], edge[of.end_G, None]
        chance_GM = torch.rand(len(of.sizes), number, generator=rng, dtype=torch.float64)
        height_GM = low_G1 + moved(chance_GM, edge.device) * (high_G1 - low_G1)
        place_GM = torch.searchsorted(edge, height_GM, right=True) - 1
        last_G1 = (of.end_G - 1).clamp(min=0)[:, None]
        place_GM = place_GM.clamp(min=0).minimum(last_G1)  # rounding may reach the edge
        return of.items[place_GM], (weight[place_GM] / (high_G1 - low_G1)).log()


class Candidates:
    """Known items sorted by group: ``items``, ``sizes`` of the G groups, ``place_I`` within its own.

    Sorted on the host, and then brought to where ``group_I`` is.
    """

    def __init__(self, group_I: Tensor, known_I: Tensor, groups: int) -> None:
        self.group_I, device = group_I, group_I.device
        group_I, known = on_host(group_I), on_host(known_I).nonzero()[:, 0]
        items = known[group_I[known].argsort(stable=True)]
        size_G = torch.bincount(group_I[items], minlength=groups)
        self.sizes: list[int] = size_G.tolist()
        end_G = size_G.cumsum(0)
        place_I, start_G = torch.zeros_like(group_I), end_G - size_G
        place_I[items] = torch.arange(len(items)) - start_G.repeat_interleave(size_G)
        self.items, self.place_I = moved(items, device), moved(place_I, device)
        self.start_G, self.end_G = moved(start_G, device), moved(end_G, device)


class NextItemLoss(nn.Module):
    """Loss of each token, whatever query it is predicted by: [Q, N, H] queries -> [Q, N]."""

    def __init__(self, config: NextItemConfig, schema: Schema) -> None:
        super().__init__()
        self.catalogue = Catalogue(schema)
        self.config = config
        self.step = (0, 0, 0)  # seed, epoch, step: what negatives are drawn from

    def forward(self, query_QNH: Tensor, target_N: Tensor, items: Vectors) -> Tensor:
        of = self.catalogue.candidates(self.config.candidates)
        routing = Routing.of(looked_up(of.group_I, target_N), len(of.sizes))
        if not len(target_N):
            return query_QNH.sum(2)
        query_QNH, sorted_N = exact(query_QNH), routing.sort(target_N)
        sorted_QNH = query_QNH.index_select(1, routing.order)
        with full_precision(query_QNH):
            if self.config.loss == "softmax":
                loss_QN = _full_softmax(sorted_QNH, of.place_I[sorted_N], routing.sizes, items, of)
            else:
                loss_QN = self._sampled(sorted_QNH, sorted_N, routing.sizes, items, of)
        return torch.empty_like(loss_QN).index_copy(1, routing.order, loss_QN)

    def _sampled(
        self,
        query_QNH: Tensor,
        target_N: Tensor,
        sizes: list[int],
        items: Vectors,
        of: Candidates,
    ) -> Tensor:
        drawn_GM, log_odds_GM = self._drawn()
        positive_QN = (query_QNH * items(target_N)).sum(2)
        groups = [group for group, size in enumerate(sizes) if size]
        present = [sizes[group] for group in groups]
        rows = zip(
            groups,
            items(picked(drawn_GM, 0, groups)).unbind(),
            query_QNH.split(present, 1),
            positive_QN.split(present, 1),
            target_N.split(present),
            strict=True,
        )
        losses = []
        for group, vector_MH, query_QXH, positive_QX, target_X in rows:
            hit_XM = target_X[:, None] == drawn_GM[group]
            negative_QXM = (query_QXH @ vector_MH.T).masked_fill(hit_XM, float("-inf"))
            log_odds_M = log_odds_GM[group].to(query_QXH.dtype)
            losses.append(self._group_loss(positive_QX, negative_QXM, log_odds_M, of.sizes[group]))
        return torch.cat(losses, 1)

    def _drawn(self) -> tuple[Tensor, Tensor]:
        seed, epoch, step = self.step
        c, rng = self.config, generator(seed, epoch, step, _NEGATIVES)
        return self.catalogue.draw(c.candidates, c.negatives, c.negative_power, rng)

    def _group_loss(
        self, positive_QX: Tensor, negative_QXM: Tensor, log_odds_M: Tensor, items: int
    ) -> Tensor:
        if self.config.loss == "sampled_softmax":
            return sampled_softmax(positive_QX, negative_QXM, log_odds_M)
        if self.config.loss == "bce":
            return binary(positive_QX, negative_QXM)
        beta = calibrated_power(len(log_odds_M), items, self.config.calibration)
        return binary(positive_QX, negative_QXM, beta)


def _full_softmax(
    query_QNH: Tensor,
    place_N: Tensor,
    sizes: list[int],
    items: Vectors,
    of: Candidates,
) -> Tensor:
    """Each token among all items of its group; tokens and items are sorted by group."""
    vectors = items(of.items).split(of.sizes)
    rows = zip(query_QNH.split(sizes, 1), place_N.split(sizes), vectors, strict=True)
    losses = [
        _Softmax.apply(query_QXH.flatten(0, 1), vector_VH, place_X.repeat(len(query_QXH))).view(
            len(query_QXH), -1
        )
        for query_QXH, place_X, vector_VH in rows
        if len(place_X)
    ]
    return torch.cat(losses, 1)


class _Softmax(torch.autograd.Function):
    """Cross-entropy of queries [X, H] among vectors [V, H]: [X].

    A few rows at a time, whose scores are made again for the gradient: those of all tokens and all
    items at once are gigabytes, and slower than what stays in the cache.
    """

    @staticmethod
    def forward(ctx: Any, query_XH: Tensor, vector_VH: Tensor, place_X: Tensor) -> Tensor:
        cells = CELLS if query_XH.device.type == "cpu" else GPU_CELLS
        ctx.rows = max(1, cells // len(vector_VH))
        total_X, own_X = query_XH.new_empty(2, len(query_XH))
        chunks = (x.split(ctx.rows) for x in (query_XH, place_X, total_X, own_X))
        for query, place, total, own in zip(*chunks, strict=True):
            score = query @ vector_VH.T
            own.copy_(score.gather(1, place[:, None]).squeeze(1))
            top = score.amax(1)
            total.copy_(score.sub_(top[:, None]).exp_().sum(1).log_().add_(top))
        ctx.save_for_backward(query_XH, vector_VH, place_X, total_X)
        return total_X - own_X

    @staticmethod
    def backward(ctx: Any, grad_X: Tensor) -> tuple[Tensor, Tensor, None]:
        query_XH, vector_VH, place_X, total_X = ctx.saved_tensors
        to_query_XH, to_vector_VH = torch.empty_like(query_XH), torch.zeros_like(vector_VH)
        columns = (query_XH, place_X, total_X, grad_X, to_query_XH)
        for query, place, total, grad, to_query in zip(
            *(x.split(ctx.rows) for x in columns), strict=True
        ):
            chance = torch.addmm(total[:, None], query, vector_VH.T, beta=-1).exp_()
            chance.scatter_add_(1, place[:, None], chance.new_full((len(place), 1), -1.0))
            chance *= grad[:, None]
            torch.mm(chance, vector_VH, out=to_query)
            to_vector_VH.addmm_(chance.T, query)
        return to_query_XH, to_vector_VH, None


def sampled_softmax(positive_QX: Tensor, negative_QXM: Tensor, log_odds_M: Tensor) -> Tensor:
    """Softmax with its denominator estimated from M draws, each divided by what it is drawn with.

    The positive is no draw and counts as itself, and a draw that hit it (-inf) counts nothing
    (Bengio and Senecal 2008; on why the positive stays uncorrected: arXiv 2507.09331).
    """
    corrected_QXM = negative_QXM - log_odds_M - math.log(len(log_odds_M))
    every = torch.cat([positive_QX[..., None], corrected_QXM], dim=2)
    return every.logsumexp(2) - positive_QX


def binary(positive_QX: Tensor, negative_QXM: Tensor, beta: float = 1.0) -> Tensor:
    """Binary cross-entropy over a positive, whose likelihood is taken to ``beta``, and M negatives.

    Its mean over 1 + M, as gSASRec's (Petrov and Macdonald, RecSys 2023, eq. 16).
    """
    negative_QX = F.softplus(negative_QXM).sum(2)
    return (beta * F.softplus(-positive_QX) + negative_QX) / (1 + negative_QXM.shape[2])


def calibrated_power(negatives: int, items: int, calibration: float) -> float:
    """gBCE's beta = a (t (1 - 1/a) + 1/a), where a = negatives / (items - 1) is the sampling rate."""
    rate = min(1.0, negatives / max(1, items - 1))
    return rate * (calibration * (1 - 1 / rate) + 1 / rate)
