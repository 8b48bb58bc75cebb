"""PLE: levels of shared and specific experts, each level's mixed by gates, and a tower a domain.

Shape letters: B rows, I input width of a level, E experts, O expert width.
"""

from typing import Annotated, cast

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from isthmus.batch import Impressions
from isthmus.models.base import Widths, register
from isthmus.models.parts import PartsConfig, PartsRanker
from isthmus.nn import DomainLinear, DomainTowers, Experts, PartExperts, RowEmbedding, gated
from isthmus.schema import Schema


class PLEConfig(PartsConfig):
    """``levels``: layer widths of a level's experts, shared and specific ones alike.

    Experts a row meets: 1 of its own and 3 shared, as many as MMoE's; parts may be dozens, and of
    the weights of each only a few rows of a batch learn.
    """

    levels: Annotated[tuple[Widths, ...], Field(min_length=1)] = ((256, 128), (64,))
    shared_experts: PositiveInt = 3
    specific_experts: PositiveInt = 1
    tower_hidden: tuple[PositiveInt, ...] = (64, 32)


@register("ple", paper="https://doi.org/10.1145/3383313.3412236")
class PLE(PartsRanker):
    """Progressive Layered Extraction (Tang et al., RecSys 2020), with domains in the place of tasks.

    Deviations: the shared gate of an inner level mixes the shared experts and the *row's own part's*
    specific ones, where the paper's sees the specific experts of all tasks (eq. 6): a row meets no
    weights but its own part's, so the cost does not grow with the number of domains. Experts have
    batch norm and dropout; specific ones normalise over all rows (see ``PartExperts``).
    """

    Config = PLEConfig
    config: PLEConfig

    def __init__(self, config: PLEConfig, schema: Schema) -> None:
        super().__init__(config, schema)
        self.embed = RowEmbedding(schema, config.embedding_dim)
        widths = [self.embed.width, *(hidden[-1] for hidden in config.levels)]
        self.levels = nn.ModuleList(
            Level(self.num_parts, width, hidden, config, last=number == len(config.levels))
            for number, (width, hidden) in enumerate(
                zip(widths[:-1], config.levels, strict=True), 1
            )
        )
        self.tower = DomainTowers(self.num_parts, widths[-1], config.tower_hidden)

    def forward(self, batch: Impressions) -> Tensor:
        routing = self.routing(batch)
        own_BI = shared_BI = routing.sort(self.embed(batch))
        for level in self.levels:
            own_BI, shared_BI = level(own_BI, shared_BI, routing.sizes)
        logit_B: Tensor = self.tower(routing.unsort(own_BI), routing)
        return logit_B


class Level(nn.Module):
    """Customized Gate Control (sec. 4.2): specific path and shared path of rows sorted by part.

    ``own_BI`` and ``shared_BI`` -> their successors, both [B, O]; the last level has no shared gate.
    """

    def __init__(
        self, parts: int, width: int, hidden: Widths, config: PLEConfig, *, last: bool
    ) -> None:
        super().__init__()
        shared, specific = config.shared_experts, config.specific_experts
        self.shared = Experts(shared, width, hidden, dropout=config.dropout)
        self.specific = PartExperts(parts, specific, width, hidden, dropout=config.dropout)
        self.gate = DomainLinear(parts, width, specific + shared)
        # The paper's shared gate has columns for the shared experts and for every task's.
        self.shared_gate = None if last else nn.Linear(width, shared)
        self.shared_gate_own = None if last else DomainLinear(parts, width, specific)

    def forward(self, own_BI: Tensor, shared_BI: Tensor, sizes: list[int]) -> tuple[Tensor, Tensor]:
        expert_BEO = torch.cat(
            [self.specific(own_BI, sizes), self.shared(shared_BI).transpose(0, 1)], dim=1
        )
        own_BO = gated(self.gate(own_BI, sizes), expert_BEO)
        if self.shared_gate is None:
            return own_BO, own_BO
        to_own_BE = cast(DomainLinear, self.shared_gate_own)(shared_BI, sizes)
        gate_BE = torch.cat([to_own_BE, self.shared_gate(shared_BI)], dim=1)
        return own_BO, gated(gate_BE, expert_BEO)
