"""Repeat-own: what the user took most often before."""

import torch
from torch import Tensor

from isthmus.batch import Histories
from isthmus.models.base import register
from isthmus.models.counted import Counted


@register("repeat_own", paper="https://arxiv.org/abs/2006.00556")
class RepeatOwn(Counted):
    """Items of the history by how often it holds them, the newest first of equals; then the popular.

    A floor (P-TopFreq of Hu et al., SIGIR 2020, the user's own frequency): where people buy again
    what they bought, it is hard to beat. It knows as much of the past as a history is long.
    """

    def scores(self, batch: Histories) -> Tensor:
        item_BL = batch.items.cpu()
        times_BI = torch.zeros(len(batch), self.schema.items, dtype=torch.float64)
        newness_BI = torch.zeros_like(times_BI)
        age_L = torch.arange(item_BL.shape[1], 0, -1, dtype=torch.float64)  # the newest is 1 old
        newness_BL = (1 / (1 + age_L)).expand(item_BL.shape)
        times_BI.scatter_add_(1, item_BL, (item_BL > 0).double())
        newness_BI.scatter_reduce_(1, item_BL, newness_BL, "amax")
        own_BI = times_BI + newness_BI
        return own_BI.where(times_BI > 0, self.popularity().cpu())
