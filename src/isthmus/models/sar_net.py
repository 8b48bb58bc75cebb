"""SAR-Net: attention over behaviour, a linear transform a scenario, shared and specific experts.

Shape letters: B rows, L history length, K embedding width, I input width, E experts, O expert width.
"""

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from isthmus.batch import Impressions
from isthmus.models.base import Widths, register
from isthmus.models.parts import PartsConfig, PartsRanker
from isthmus.nn import MLP, DomainLinear, Experts, PartExperts, RowEmbedding, gated
from isthmus.schema import Schema


@register("sar_net", paper="https://arxiv.org/abs/2110.06475")
class SARNet(PartsRanker):
    """Scenario-Aware Ranking Network (Shen et al., CIKM 2021), with parts as scenarios.

    A history that counts in the table of another feature (the item) is weighed by attention to that
    feature and to the row's domain; other histories are averaged. Deviations:

    * Entries of a history carry no scenario of their own here, so the scenario attention compares
      the row's domain with the entry's item.
    * The two attentions' weights are multiplied, as the paper does, and then made to sum to 1.
    * No fairness coefficient: the data do not say where exposure was steered by hand.
    * Debias experts are linear, batch norm, ReLU, dropout (the paper's: batch norm, linear); those
      of a scenario normalise over all rows.
    """

    class Config(PartsConfig):
        attention_hidden: PositiveInt = 32
        shared_experts: PositiveInt = 8
        specific_experts: PositiveInt = 2
        expert_hidden: Widths = (64,)
        tower_hidden: tuple[PositiveInt, ...] = (32,)

    config: Config

    def __init__(self, config: Config, schema: Schema) -> None:
        super().__init__(config, schema)
        dim, rate, parts = config.embedding_dim, config.dropout, self.num_parts
        self.histories = _with_target(schema)
        kept = tuple(f for f in schema.features if f.name not in self.histories)
        self.embed = RowEmbedding(schema.model_copy(update={"features": kept}), dim)
        self.names, self.columns = [f.name for f in kept], schema.columns
        self.tables = {f.name: f.table for f in schema.features}
        kept_C = torch.cat([torch.arange(schema.num_columns)[self.columns[n]] for n in self.names])
        self.register_buffer("kept_C", kept_C, persistent=False)
        self.kept_C: Tensor
        self.attention = nn.ModuleList(
            BehaviourAttention(dim, config.attention_hidden) for _ in self.histories
        )
        width = self.embed.width + dim * len(self.histories)
        self.scale = nn.Parameter(torch.ones(parts, width))
        self.shift = nn.Parameter(torch.zeros(parts, width))
        self.shared = Experts(config.shared_experts, width, config.expert_hidden, dropout=rate)
        self.specific = PartExperts(
            parts, config.specific_experts, width, config.expert_hidden, dropout=rate
        )
        self.gate = DomainLinear(parts, width, config.specific_experts + config.shared_experts)
        self.tower = MLP(self.shared.width, config.tower_hidden, dropout=rate)
        self.out = nn.Linear(self.tower.width, 1)

    def forward(self, batch: Impressions) -> Tensor:
        routing, part_B = self.routing(batch), self.part(batch)
        scale_BI, shift_BI = (nn.functional.embedding(part_B, t) for t in (self.scale, self.shift))
        x_BI = torch.addcmul(shift_BI, self._row(batch), scale_BI)
        sorted_BI = routing.sort(x_BI)
        # What all share is done in the batch's order: last bits depend on where a row lies.
        own_BEO = routing.unsort(self.specific(sorted_BI, routing.sizes))
        expert_BEO = torch.cat([own_BEO, self.shared(x_BI).transpose(0, 1)], dim=1)
        gate_BE = routing.unsort(self.gate(sorted_BI, routing.sizes))
        mixed_BO = gated(gate_BE, expert_BEO)
        logit_B: Tensor = self.out(self.tower(mixed_BO)).squeeze(1)
        return logit_B

    def _row(self, batch: Impressions) -> Tensor:
        """Embeddings of the kept features and of the domain, then an interest a history: [B, I]."""
        kept = batch.features.index_select(1, self.kept_C)
        parts = [row_BI := self.embed(Impressions(kept, batch.domain, batch.label))]
        vectors = row_BI.split(self.config.embedding_dim, dim=1)  # the domain's is the last
        features = self.embed.features
        for attention, (name, target) in zip(self.attention, self.histories.items(), strict=True):
            ids_BL = batch.features[:, self.columns[name]]
            entry_BLK = features.table(ids_BL + features.starts[self.tables[name]])
            item_BK = vectors[self.names.index(target)]
            parts.append(attention(entry_BLK, item_BK, vectors[-1], ids_BL > 0))
        return torch.cat(parts, dim=1)


class BehaviourAttention(nn.Module):
    """Cross-scenario behaviour extraction (sec. 3.2): [B, L, K] -> [B, K].

    An entry's weight is the product of its attention to the item and its attention to the scenario,
    each a small network on query, entry, difference and product. An empty history gives zero.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.item, self.scenario = (
            nn.Sequential(
                nn.Linear(4 * dim, hidden),
                nn.ReLU(),
                nn.Linear(hidden, 1, bias=False),  # a bias would cancel in the softmax
            )
            for _ in range(2)
        )

    def forward(
        self, entry_BLK: Tensor, item_BK: Tensor, scenario_BK: Tensor, known_BL: Tensor
    ) -> Tensor:
        logit_BL = self.item(_pair(entry_BLK, item_BK)).squeeze(2)
        logit_BL = logit_BL + self.scenario(_pair(entry_BLK, scenario_BK)).squeeze(2)
        lowest = torch.finfo(logit_BL.dtype).min
        weight_BL = logit_BL.masked_fill(~known_BL, lowest).softmax(dim=1) * known_BL
        interest_BK: Tensor = (weight_BL[:, None] @ entry_BLK).squeeze(1)
        return interest_BK


def _pair(entry_BLK: Tensor, query_BK: Tensor) -> Tensor:
    query_BLK = query_BK[:, None].expand_as(entry_BLK)
    return torch.cat([query_BLK, entry_BLK, query_BLK - entry_BLK, query_BLK * entry_BLK], dim=2)


def _with_target(schema: Schema) -> dict[str, str]:
    """Histories whose table another feature shares, and that feature: the item's, if there is one."""
    found = {}
    for history in schema.features:
        same = [f for f in schema.features if f.table == history.table and f.kind != "history"]
        if history.kind == "history" and same:
            found[history.name] = min(same, key=lambda f: f.role != "item").name
    return found
