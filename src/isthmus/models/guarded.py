"""A joint model beside which some domains have a model of their own: what ``isthmus guard`` makes.

Shape letters: B rows or histories, I items.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from isthmus.batch import Histories, Impressions
from isthmus.models.base import Ranker, Retriever, Told
from isthmus.models.isolated import DomainRanker
from isthmus.models.isolated_retrievers import DomainRetriever


class Guarded(Ranker):
    """Rows of the domains in ``parts`` are scored by these, all other rows by the joint model.

    The joint model sees the whole batch, and what it says of guarded rows is thrown away: sums of
    floats depend in their last bits on how many rows are multiplied at once, and the scores of all
    other domains shall be those of the joint model to the bit. A batch of guarded rows alone does
    not meet it. Put together from models that were trained before, and never trained itself.
    """

    name = "guarded"
    paper = "https://arxiv.org/abs/2412.11905"

    def __init__(self, joint: Ranker, parts: Mapping[int, DomainRanker]) -> None:
        super().__init__(joint.config, joint.schema)
        self.joint = joint
        self.parts = nn.ModuleDict({str(domain): part for domain, part in parts.items()})

    def forward(self, batch: Impressions) -> Tensor:
        own = _guarded(self.parts, batch.domain)
        if not own:
            joint_B: Tensor = self.joint(batch)
            return joint_B
        alone = sum(map(len, own.values())) == len(batch)
        logit_B = torch.zeros_like(batch.label) if alone else self.joint(batch).clone()
        for domain, rows in own.items():
            logit_B[rows] = self.parts[str(domain)](batch[rows]).to(logit_B.dtype)
        return logit_B

    def expert_masks(self) -> list[Tensor]:
        return self.joint.expert_masks()

    def told(self) -> Told:
        return self.joint.told()


class GuardedRetriever(Retriever):
    """As ``Guarded``, of retrievers: histories whose target is of a guarded domain go to its own.

    There, items of other domains are never given: their score is minus infinity. Where a domain has
    a model of its own, there are no vectors that all queries could be compared with; ``scores``
    always works.
    """

    name = "guarded"
    paper = Guarded.paper

    def __init__(self, joint: Retriever, parts: Mapping[int, DomainRetriever]) -> None:
        super().__init__(joint.config, joint.schema)
        self.joint = joint
        self.parts = nn.ModuleDict({str(domain): part for domain, part in parts.items()})

    def forward(self, batch: Histories) -> Tensor:
        self._refuse_vectors()
        query_BH: Tensor = self.joint(batch)
        return query_BH

    def item_vectors(self) -> Tensor:
        self._refuse_vectors()
        return self.joint.item_vectors()

    def scores(self, batch: Histories) -> Tensor:
        """Scores of all items, [B, I]; of float64 where the joint model's or an own one's are."""
        own = _guarded(self.parts, batch.domain)
        found = {domain: self._own_scores(domain, batch[rows]) for domain, rows in own.items()}
        if sum(map(len, own.values())) < len(batch):
            score_BI = self.joint.scores(batch)
        else:
            score_BI = torch.empty(len(batch), self.schema.items, device=batch.domain.device)
        for domain, rows in own.items():
            wide = torch.promote_types(
                score_BI.dtype, found[domain].dtype
            )  # which keeps all values
            score_BI = score_BI.to(wide)
            score_BI[rows] = found[domain].to(wide)
        return score_BI

    def told(self) -> Told:
        return self.joint.told()

    def _own_scores(self, domain: int, batch: Histories) -> Tensor:
        part = self.parts[str(domain)]
        assert isinstance(part, DomainRetriever)
        own_BX = part.scores(batch)
        score_BI = own_BX.new_full((len(batch), self.schema.items), float("-inf"))
        score_BI[:, self.schema.items_of(domain)] = own_BX
        return score_BI

    def _refuse_vectors(self) -> None:
        if len(self.parts):
            raise NotImplementedError(
                "models of a domain each have scores of items, no common vectors; ask for scores"
            )


def _guarded(parts: nn.ModuleDict, domain_B: Tensor) -> dict[int, Tensor]:
    """By guarded domain that is in the batch, the places of its rows."""
    met = [domain for domain in torch.unique(domain_B).tolist() if str(domain) in parts]
    return {domain: (domain_B == domain).nonzero().squeeze(1) for domain in met}
