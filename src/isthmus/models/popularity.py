"""Popularity: what most took next."""

from torch import Tensor

from isthmus.batch import Histories
from isthmus.models.base import register
from isthmus.models.counted import Counted


@register("popularity", paper="https://arxiv.org/abs/1907.06902")
class Popularity(Counted):
    """Items by how often they came next in training; among those of a domain, the domain's own.

    A floor; on why it has to be in the table: Ferrari Dacrema et al., RecSys 2019.
    """

    def scores(self, batch: Histories) -> Tensor:
        return self.count_I.expand(len(batch), -1)
