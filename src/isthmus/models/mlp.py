"""MLP: the plain network that others are measured against, domain-blind if asked."""

from pydantic import PositiveInt
from torch import Tensor, nn

from isthmus.batch import Impressions
from isthmus.models.base import ModelConfig, Ranker, register
from isthmus.nn import MLP, RowEmbedding
from isthmus.schema import Schema


@register("mlp", paper="https://doi.org/10.1145/2988450.2988454")
class MLPRanker(Ranker):
    """Embeddings and an MLP (the deep part of Wide & Deep, DLRS 2016), one for all domains."""

    class Config(ModelConfig):
        hidden: tuple[PositiveInt, ...] = (256, 128, 64)
        domain_blind: bool = False

    config: Config

    def __init__(self, config: Config, schema: Schema) -> None:
        super().__init__(config, schema)
        self.embed = RowEmbedding(schema, config.embedding_dim, domain=not config.domain_blind)
        self.mlp = MLP(self.embed.width, config.hidden, dropout=config.dropout)
        self.out = nn.Linear(self.mlp.width, 1)

    def forward(self, batch: Impressions) -> Tensor:
        logit_B: Tensor = self.out(self.mlp(self.embed(batch))).squeeze(1)
        return logit_B
