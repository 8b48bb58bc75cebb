"""HiNet: what all scenarios share, what a scenario has of its own, and what it takes of others.

Shape letters: B rows, I embedding width, P parts (0 is the unknown domain's), J other parts read,
E experts, O expert width, H width after the scenario layer.
"""

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from isthmus.batch import Impressions
from isthmus.models.base import Widths, register
from isthmus.models.parts import PartsConfig, PartsRanker
from isthmus.nn import MLP, DomainLinear, Experts, PartExperts, Routing, RowEmbedding, gated
from isthmus.schema import Schema


@register("hinet", paper="https://arxiv.org/abs/2303.06095")
class HiNet(PartsRanker):
    """Hierarchical information extraction (Zhou et al., ICDE 2023), with parts as scenarios.

    The scenario layer joins the sub-expert integrations (SEI: experts mixed by a gate on the row)
    of all scenarios together and of the row's own, and the scenario-aware attention (SAN) over the
    SEIs of others; the task layer is a mixture of experts and a tower. Deviations:

    * The paper runs every row through every other scenario's SEI. Here the ``others`` of greatest
      attention are read, their weights made to sum to 1: cost is bounded, whatever the number of
      domains. While training, which are read is drawn by those weights (Gumbel noise times
      ``explore``), so that no scenario is left out for good.
    * The unknown domain attends to scenarios, but none attends to it.
    * One task: the task layer's shared and task-specific experts (CGC) are one group.
    * Experts have batch norm and dropout; those of a scenario normalise over all rows.
    """

    reads_other_domains = True

    class Config(PartsConfig):
        sub_experts: PositiveInt = 4
        expert_hidden: Widths = (64, 32)
        others: NonNegativeInt = 3
        explore: NonNegativeFloat = 1.0
        task_experts: PositiveInt = 4
        task_hidden: Widths = (64,)
        tower_hidden: tuple[PositiveInt, ...] = (64, 32)

    config: Config

    def __init__(self, config: Config, schema: Schema) -> None:
        super().__init__(config, schema)
        experts, parts, rate = config.sub_experts, self.num_parts, config.dropout
        self.embed = RowEmbedding(schema, config.embedding_dim)
        width = self.embed.width
        self.shared = Experts(experts, width, config.expert_hidden, dropout=rate)
        self.shared_gate = nn.Linear(width, experts)
        self.specific = PartExperts(parts, experts, width, config.expert_hidden, dropout=rate)
        self.specific_gate = DomainLinear(parts, width, experts)
        # A lone domain has no others. Where all are read, a part's own place is read for nothing.
        self.others = min(config.others, parts - 1) if parts > 2 else 0
        if self.others:
            self.scenario = nn.Embedding(parts, config.embedding_dim)
            self.attend = nn.Linear(config.embedding_dim, parts)
        joined = self.shared.width * (3 if self.others else 2)
        self.task = Experts(config.task_experts, joined, config.task_hidden, dropout=rate)
        self.task_gate = nn.Linear(joined, config.task_experts)
        self.tower = MLP(self.task.width, config.tower_hidden, dropout=rate)
        self.out = nn.Linear(self.tower.width, 1)

    def forward(self, batch: Impressions) -> Tensor:
        x_BI = self.embed(batch)
        shared_BO = gated(self.shared_gate(x_BI), self.shared(x_BI).transpose(0, 1))
        row_BH = torch.cat([shared_BO, self._scenarios(x_BI, self.part(batch))], dim=1)
        task_BO = gated(self.task_gate(row_BH), self.task(row_BH).transpose(0, 1))
        logit_B: Tensor = self.out(self.tower(task_BO)).squeeze(1)
        return logit_B

    def attention(self) -> tuple[Tensor, Tensor]:
        """Which others each part reads, and how much of each: [P, J] twice; shares sum to 1.

        Shares are divided by a constant sum: so the parts that were not read learn as well.
        """
        logit_PP = self.attend(self.scenario.weight)
        absent_PP = torch.eye(self.num_parts, dtype=torch.bool, device=logit_PP.device)
        absent_PP[:, 0] = True
        logit_PP = logit_PP.masked_fill(absent_PP, torch.finfo(logit_PP.dtype).min)
        score_PP = logit_PP.detach()
        if self.training and self.config.explore:
            gumbel_PP = -torch.empty_like(score_PP).exponential_().log()
            score_PP = score_PP + self.config.explore * gumbel_PP
        other_PJ = score_PP.masked_fill(absent_PP, -torch.inf).topk(self.others, dim=1).indices
        share_PJ = logit_PP.softmax(dim=1).gather(1, other_PJ)
        return other_PJ, share_PJ / share_PJ.sum(1, keepdim=True).detach()

    def _scenarios(self, x_BI: Tensor, part_B: Tensor) -> Tensor:
        """The own part's SEI, and beside it the attended mixture of others: [B, O] or [B, 2 O]."""
        if not self.others:
            return self._integrated(x_BI, part_B[:, None])[:, 0]
        other_PJ, share_PJ = self.attention()
        read_BX = torch.cat([part_B[:, None], other_PJ[part_B]], dim=1)
        read_BXO = self._integrated(x_BI, read_BX)
        share_BJ = nn.functional.embedding(part_B, share_PJ)
        attended_BO = (share_BJ[:, None] @ read_BXO[:, 1:]).squeeze(1)
        return torch.cat([read_BXO[:, 0], attended_BO], dim=1)

    def _integrated(self, x_BI: Tensor, part_BX: Tensor) -> Tensor:
        """SEI of each row by each of the X parts named: [B, X, O]."""
        routing = Routing.of(part_BX.flatten(), self.num_parts)
        x_YI = x_BI.index_select(0, routing.order // part_BX.shape[1])  # Y = B X, part by part
        expert_YEO = self.specific(x_YI, routing.sizes)
        mixed_YO = gated(self.specific_gate(x_YI, routing.sizes), expert_YEO)
        return routing.unsort(mixed_YO).unflatten(0, part_BX.shape)
