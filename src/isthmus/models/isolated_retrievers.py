"""One retriever a domain, side by side in one: what joint retrievers are measured against.

Shape letters: B histories, L places, I items.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from isthmus.batch import Histories
from isthmus.models.base import ModelConfig, Retriever
from isthmus.schema import Schema


class IsolatedRetrievers(Retriever):
    """Retrievers of one kind, each with the items and the weights of its own domain alone.

    It is put together from models that were trained apart, and never trained itself. A history's
    items of other domains than the target's are not read, and items of other domains are never
    given: their score is minus infinity. Where a domain has no model all its items are alike, as
    all items are where the domain is unknown.
    """

    name = "isolated"
    paper = "https://arxiv.org/abs/2412.11905"

    def __init__(
        self,
        config: ModelConfig,
        schema: Schema,
        kind: type[Retriever],
        domains: Iterable[int],
    ) -> None:
        super().__init__(config, schema)
        self.parts = nn.ModuleDict(
            {str(domain): DomainRetriever(config, schema, kind, domain) for domain in domains}
        )

    def forward(self, batch: Histories) -> Tensor:
        raise NotImplementedError("models of a domain each have scores of items, no common vectors")

    def scores(self, batch: Histories) -> Tensor:
        score_BI = torch.zeros(len(batch), self.schema.items, dtype=torch.float64)
        score_BI = score_BI.to(batch.domain.device)
        for domain in torch.unique(batch.domain).tolist():
            if not domain:
                continue
            rows = (batch.domain == domain).nonzero().squeeze(1)
            own = self.schema.items_of(domain)
            found_BI = torch.full_like(score_BI[rows], float("-inf"))
            found_BI[:, own] = 0.0
            if str(domain) in self.parts:
                part = self.parts[str(domain)]
                assert isinstance(part, DomainRetriever)
                found_BI[:, own] = part.scores(batch[rows]).double()
            score_BI[rows] = found_BI
        return score_BI


class DomainRetriever(Retriever):
    """A retriever over one domain's items, by ids of its own; of a history it reads those alone."""

    name = "isolated"
    paper = IsolatedRetrievers.paper

    def __init__(
        self, config: ModelConfig, schema: Schema, kind: type[Retriever], domain: int
    ) -> None:
        super().__init__(config, schema)
        items = schema.items_of(domain)
        self.domain, self.before = domain, items.start - 1
        own = {
            "items": items.stop - items.start + 1,
            "domains": ("own",),
            "domain_items": (items.stop - items.start,),
        }
        self.retriever = kind(config, schema.model_copy(update=own))

    def forward(self, batch: Histories) -> Tensor:
        query_BH: Tensor = self.retriever(self.own(batch))
        return query_BH

    def scores(self, batch: Histories) -> Tensor:
        """Scores of the domain's items, [B, own items]."""
        return self.retriever.scores(self.own(batch))[:, 1:]

    def own(self, rows: Histories) -> Histories:
        """The rows in this domain's ids; ``retriever`` is trained on these."""
        kept_BL = rows.domains == self.domain
        order_BL = kept_BL.to(torch.int8).argsort(dim=1, stable=True)  # padding stays on the left
        item_BL = (rows.items - self.before).masked_fill(~kept_BL, 0).gather(1, order_BL)
        target_B = (rows.target - self.before).masked_fill(rows.target == 0, 0)
        domain_BL = (item_BL > 0).long()
        return Histories(item_BL, domain_BL, target_B, torch.ones_like(rows.domain))
