"""The query of one history, where it is the same whatever domain is asked for.

A retriever's forward pass makes the state of every token of many histories; a request needs that of
the last token of one. Of the last layer nothing else is computed, and nothing is packed or masked
that one history does not need.

Shape letters: T tokens, K experts, H width, S the longest history and its next item.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from isthmus.models import Retriever
from isthmus.models.sasrec import SASRec
from isthmus.models.syncrec import Head, SyNCRec
from isthmus.nn.sequence import SequenceEmbedding
from isthmus.nn.transformer import EPS, Transformers


class OneHistory:
    """A SASRec that reads all domains, or the cross-domain path of a SyNCRec."""

    @torch.inference_mode()
    def __init__(self, model: SASRec | SyNCRec) -> None:
        self._model, self._newest = model.eval(), model.schema.max_history
        self._encoder: Transformers = model.encoder if isinstance(model, SASRec) else model.experts
        self._head = model.cross_head if isinstance(model, SyNCRec) else None
        self._experts = model.config.num_experts if isinstance(model, SyNCRec) else 1
        slots = self._newest + 1
        seen_SS = torch.ones(slots, slots, dtype=torch.bool).tril()
        mask_SS = torch.zeros(slots, slots).masked_fill_(~seen_SS, float("-inf"))
        self._mask_K1SS = mask_SS.expand(self._experts, 1, slots, slots)

    @staticmethod
    def fits(model: Retriever) -> bool:
        """Whether the model's queries are these."""
        if type(model) is SASRec:
            return model.config.reads == "all"
        return type(model) is SyNCRec and model.config.inference == "cross"

    @torch.inference_mode()
    def __call__(self, item: Tensor, domain: Tensor) -> Tensor:
        """Item ids and domain ids of a history, oldest first -> its query, [H]."""
        x_TH = self._inputs(item[-self._newest :], domain[-self._newest :])
        slots = len(x_TH)
        x_KTH = x_TH.expand(self._experts, -1, -1)
        state_KH = self._encoder.last(x_KTH, self._mask_K1SS[..., :slots, :slots])[:, 0]
        if self._head is not None:
            state_KH = _through(self._head, x_TH[-1:], state_KH)
        return self._model.queries(state_KH)[0]

    def _inputs(self, item: Tensor, domain: Tensor) -> Tensor:
        """What each token reads: the start, then the items, embedded as in ``SequenceEmbedding``."""
        embed: SequenceEmbedding = self._model.embed
        assert embed.start is not None
        assert embed.position is not None
        x_TH = F.embedding(item, self._model.items.weight)
        if embed.domain is not None:
            x_TH = x_TH + F.embedding(domain, embed.domain.weight)
        x_TH = torch.cat([embed.start.weight, x_TH]).add_(embed.position.weight[: len(item) + 1])
        out_TH: Tensor = embed.norm(x_TH)
        return out_TH


def _through(head: Head, last_1H: Tensor, state_KH: Tensor) -> Tensor:
    """The experts' states weighed by the last token's gate, through the tower: [1, H]."""
    gate, up, down = head.gate, head.tower.up, head.tower.down
    gate_1K = torch.addmm(gate.bias, last_1H, gate.weight[0]).softmax(1)
    mixed_1H = gate_1K @ state_KH
    hidden = F.gelu(torch.addmm(up.bias, mixed_1H, up.weight[0]))
    mixed_1H = mixed_1H + torch.addmm(down.bias, hidden, down.weight[0])
    scale_H, shift_H = head.tower.scale[0], head.tower.shift[0]
    return F.layer_norm(mixed_1H, scale_H.shape, scale_H, shift_H, EPS)
