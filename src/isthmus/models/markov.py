"""A Markov chain of first order: what came next after the last item."""

from collections.abc import Iterator

import torch
from torch import Tensor

from isthmus.batch import Histories
from isthmus.models.base import ModelConfig, register
from isthmus.models.counted import Counted, CountMatrix, counted
from isthmus.schema import Schema


class MarkovConfig(ModelConfig):
    """``within_domain``: a chain a domain, over its own items; without it one over all events."""

    within_domain: bool = True


@register("markov", paper="https://doi.org/10.1145/1772690.1772773")
class Markov(Counted):
    """P(next | last), by counts: (times that next followed last + popularity of next) / (n_last + 1).

    A floor, as the chain without factors in Rendle et al., WWW 2010. The last item is the newest of
    the domain that is asked for, whatever was taken elsewhere since; where there is none, what is
    popular. Popularity counts less than one event, shared out among all items. Pairs are counted
    within a row: two events of one domain that two rows part are no pair.
    """

    Config = MarkovConfig
    config: MarkovConfig

    def __init__(self, config: MarkovConfig, schema: Schema) -> None:
        super().__init__(config, schema)
        self.follows = CountMatrix(schema.items)

    def learn(self, rows: Iterator[Histories]) -> None:
        before, after = [], []
        for batch in rows:
            chain_BL = torch.cat([batch.items, batch.target[:, None]], dim=1)
            domain_BL = torch.cat([batch.domains, batch.domain[:, None]], dim=1)
            place_BL = self._previous(chain_BL, domain_BL)
            there_BL = (place_BL >= 0) & (chain_BL > 0)
            before.append(chain_BL.gather(1, place_BL.clamp(min=0))[there_BL])
            after.append(chain_BL[there_BL])
        self.follows.set(counted(torch.cat(before), torch.cat(after), self.schema.items))

    def _previous(self, item_BL: Tensor, domain_BL: Tensor) -> Tensor:
        """Place of the item before each one in its chain, [B, L]; -1 where it is the first."""
        length = item_BL.shape[1]
        place_L = torch.arange(length)
        if not self.config.within_domain:
            domain_BL = torch.ones_like(domain_BL)
        latest = torch.full((len(item_BL), self.schema.num_domains + 1), -1)
        found_BL = torch.empty_like(item_BL)
        for place in range(length):
            own_B1 = domain_BL[:, place, None]
            found_BL[:, place] = latest.gather(1, own_B1)[:, 0]
            there_B1 = item_BL[:, place, None] > 0
            now_B1 = place_L[place].where(there_B1, latest.gather(1, own_B1))
            latest.scatter_(1, own_B1, now_B1)
        return found_BL

    def scores(self, batch: Histories) -> Tensor:
        last_B = self._last(batch).cpu()
        matrix = self.follows.get()
        times_BI = torch.from_numpy(matrix[last_B.numpy()].toarray())
        share_I = (self.count_I / self.count_I.sum().clamp(min=1)).cpu()
        return (times_BI + share_I) / (times_BI.sum(1, keepdim=True) + 1)

    def _last(self, batch: Histories) -> Tensor:
        """The newest item of the chain that is asked for, [B]; 0 where there is none."""
        asked_BL = batch.items > 0
        if self.config.within_domain:
            asked_BL &= batch.domains == batch.domain[:, None]
        if not asked_BL.shape[1]:
            return torch.zeros_like(batch.domain)
        place_L = torch.arange(1, asked_BL.shape[1] + 1, device=asked_BL.device)
        newest_B = (asked_BL * place_L).argmax(1)
        item_B = batch.items.gather(1, newest_B[:, None])[:, 0]
        return item_B.where(asked_BL.any(1), 0)
