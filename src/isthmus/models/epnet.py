"""EPNet: embeddings gated by domain, then a tower for each domain, or one for all (EPNet-S)."""

from pydantic import PositiveInt
from torch import Tensor, nn

from isthmus.batch import Impressions
from isthmus.models.base import ModelConfig, Ranker, register
from isthmus.models.parts import PartsConfig, PartsRanker
from isthmus.nn import MLP, DomainTowers, FeatureEmbedding
from isthmus.nn.gates import DomainGate
from isthmus.schema import Schema

PAPER = "https://arxiv.org/abs/2302.01115"


class GatedFeatures(nn.Module):
    """A row's features, scaled by EPNet's gate: ``Impressions`` -> [B, F * K]."""

    def __init__(self, schema: Schema, dim: int, hidden: int) -> None:
        super().__init__()
        self.features = FeatureEmbedding(schema, dim)
        self.width = self.features.num_features * dim
        self.gate = DomainGate(schema, dim, self.width, hidden)

    def forward(self, batch: Impressions) -> Tensor:
        gated_BI: Tensor = self.gate(self.features(batch).flatten(1), batch.domain)
        return gated_BI


@register("epnet", paper=PAPER)
class EPNet(PartsRanker):
    """The embedding half of PEPNet (Chang et al., KDD 2023), with domains in the place of its tasks.

    Other than in the paper: the gate's prior is the domain's id alone; statistics of a domain are
    features of the data like any other. Towers have no dropout, so ``dropout`` has no effect.
    """

    class Config(PartsConfig):
        gate_hidden: PositiveInt = 64
        tower_hidden: tuple[PositiveInt, ...] = (64, 32)

    config: Config

    def __init__(self, config: Config, schema: Schema) -> None:
        super().__init__(config, schema)
        self.embed = GatedFeatures(schema, config.embedding_dim, config.gate_hidden)
        self.tower = DomainTowers(self.num_parts, self.embed.width, config.tower_hidden)

    def forward(self, batch: Impressions) -> Tensor:
        logit_B: Tensor = self.tower(self.embed(batch), self.routing(batch))
        return logit_B


@register("epnet_s", paper=PAPER)
class EPNetS(Ranker):
    """EPNet with a single tower: domains differ by the gate on their embeddings alone.

    The tower has batch norm and dropout, as all MLPs here.
    """

    class Config(ModelConfig):
        gate_hidden: PositiveInt = 64
        hidden: tuple[PositiveInt, ...] = (256, 128, 64)

    config: Config

    def __init__(self, config: Config, schema: Schema) -> None:
        super().__init__(config, schema)
        self.embed = GatedFeatures(schema, config.embedding_dim, config.gate_hidden)
        self.mlp = MLP(self.embed.width, config.hidden, dropout=config.dropout)
        self.out = nn.Linear(self.mlp.width, 1)

    def forward(self, batch: Impressions) -> Tensor:
        logit_B: Tensor = self.out(self.mlp(self.embed(batch))).squeeze(1)
        return logit_B
