"""DeepFM: a factorisation machine and an MLP over the same embeddings."""

from pydantic import PositiveInt
from torch import Tensor, nn

from isthmus.batch import Impressions
from isthmus.models.base import ModelConfig, Ranker, register
from isthmus.nn import MLP, RowEmbedding, pairwise_products
from isthmus.schema import Schema


@register("deepfm", paper="https://doi.org/10.24963/ijcai.2017/239")
class DeepFM(Ranker):
    """DeepFM (Guo et al., IJCAI 2017), with the domain as one more feature.

    Logit: <w, x> + the inner products of all pairs of features (eq. 2) + MLP(embeddings) (eq. 1, 4).
    Differs from the paper: a history is one feature (the mean of its entries' weights and
    embeddings); hidden layers have batch norm.
    """

    class Config(ModelConfig):
        hidden: tuple[PositiveInt, ...] = (256, 128, 64)
        domain_blind: bool = False

    config: Config

    def __init__(self, config: Config, schema: Schema) -> None:
        super().__init__(config, schema)
        domain = not config.domain_blind
        self.weight = RowEmbedding(schema, 1, domain=domain)  # of the first order: a number an id
        self.embed = RowEmbedding(schema, config.embedding_dim, domain=domain)
        self.mlp = MLP(self.embed.width, config.hidden, dropout=config.dropout)
        self.out = nn.Linear(self.mlp.width, 1)

    def forward(self, batch: Impressions) -> Tensor:
        # B rows, F features, K embedding width, I = F * K
        row_BI = self.embed(batch)
        e_BFK = row_BI.unflatten(1, (-1, self.config.embedding_dim))
        first_B = self.weight(batch).sum(1)
        logit_B: Tensor = self.out(self.mlp(row_BI)).squeeze(1)
        return logit_B + first_B + pairwise_products(e_BFK)
