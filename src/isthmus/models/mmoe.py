"""MMoE: shared experts, and a gate and a tower for each domain."""

from pydantic import PositiveInt
from torch import Tensor

from isthmus.batch import Impressions
from isthmus.models.base import Widths, register
from isthmus.models.parts import PartsConfig, PartsRanker
from isthmus.nn import DomainLinear, DomainTowers, Experts, Routing, RowEmbedding, gated
from isthmus.schema import Schema


@register("mmoe", paper="https://doi.org/10.1145/3219819.3220007")
class MMoE(PartsRanker):
    """Multi-gate Mixture-of-Experts (Ma et al., KDD 2018), with domains in the place of tasks.

    Differs from the paper: experts have batch norm and dropout.
    """

    class Config(PartsConfig):
        num_experts: PositiveInt = 4
        expert_hidden: Widths = (256, 128, 64)
        tower_hidden: tuple[PositiveInt, ...] = (64, 32)

    config: Config

    def __init__(self, config: Config, schema: Schema) -> None:
        super().__init__(config, schema)
        self.embed = RowEmbedding(schema, config.embedding_dim)
        self.experts = Experts(
            config.num_experts, self.embed.width, config.expert_hidden, dropout=config.dropout
        )
        self.gate = DomainLinear(self.num_parts, self.embed.width, config.num_experts)
        self.tower = DomainTowers(self.num_parts, self.experts.width, config.tower_hidden)

    def forward(self, batch: Impressions) -> Tensor:
        # B rows, I input width, E experts, O expert width
        x_BI = self.embed(batch)
        routing = self.routing(batch)
        mixed_BO = gated(self._gate(x_BI, routing), self.experts(x_BI).transpose(0, 1))
        logit_B: Tensor = self.tower(mixed_BO, routing)
        return logit_B

    def gate_shares(self, batch: Impressions) -> dict[str, Tensor]:
        return {"experts": self._gate(self.embed(batch), self.routing(batch)).softmax(1)}

    def _gate(self, x_BI: Tensor, routing: Routing) -> Tensor:
        """Logits of the row's own part: [B, E]."""
        return routing.unsort(self.gate(routing.sort(x_BI), routing.sizes))
