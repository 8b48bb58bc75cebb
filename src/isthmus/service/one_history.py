"""The query of one history, where it is the same whatever domain is asked for.

A retriever's forward pass makes the state of every token of many histories; a request needs that of
the last token of one. Of the last layer nothing else is computed, and nothing is packed or masked
that one history does not need.

Shape letters: T tokens, K experts, H width, S the longest history and its next item.
"""

import torch
from torch import Tensor

from isthmus.models import Retriever
from isthmus.models.sasrec import SASRec
from isthmus.models.syncrec import SyNCRec
from isthmus.nn.sequence import Inputs
from isthmus.nn.transformer import Transformers


class OneHistory:
    """A SASRec that reads all domains, or the cross-domain path of a SyNCRec."""

    @torch.inference_mode()
    def __init__(self, model: SASRec | SyNCRec) -> None:
        self._model, self._newest = model.eval(), model.schema.max_history
        self._encoder: Transformers = model.encoder if isinstance(model, SASRec) else model.experts
        self._experts = model.config.num_experts if isinstance(model, SyNCRec) else 1
        slots = self._newest + 1
        self._place_S = torch.arange(slots)
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
        start = item.new_zeros(1)
        item_T = torch.cat([start, item[-self._newest :]])
        domain_T = torch.cat([start, domain[-self._newest :]])  # nobody reads the start's
        slots = len(item_T)
        inputs = Inputs(item_T, domain_T, self._place_S[:slots])
        x_TH = self._model.embed(self._model.items, inputs)
        x_KTH = x_TH.expand(self._experts, -1, -1)
        state_KH = self._encoder.last(x_KTH, self._mask_K1SS[..., :slots, :slots])[:, 0]
        return self._model.queries(self._mixed(x_TH[-1:], state_KH))[0]

    def _mixed(self, last_1H: Tensor, state_KH: Tensor) -> Tensor:
        """The experts' states weighed by their gates, through the tower: [1, H]."""
        if isinstance(self._model, SASRec):
            return state_KH
        head = self._model.cross_head
        mixed_1H = head.gate(last_1H, [1]).softmax(1) @ state_KH
        out_1H: Tensor = head.tower(mixed_1H, [1])
        return out_1H
