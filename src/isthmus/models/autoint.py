"""AutoInt: features attend to each other, beside an MLP if asked."""

from pydantic import PositiveInt
from torch import Tensor, nn

from isthmus.batch import Impressions
from isthmus.models.base import ModelConfig, Ranker, register
from isthmus.nn import MLP, FeatureAttention, RowEmbedding
from isthmus.schema import Schema


@register("autoint", paper="https://arxiv.org/abs/1810.11921")
class AutoInt(Ranker):
    """AutoInt+ (Song et al., CIKM 2019), with the domain as one more feature.

    Logit: a linear layer over the features after ``layers`` rounds of attention (eq. 9), plus an
    MLP's over the embeddings; ``deep = false`` leaves the MLP out, which is plain AutoInt.
    Differs from the paper: hidden layers of the MLP have batch norm.
    """

    class Config(ModelConfig):
        layers: PositiveInt = 3
        heads: PositiveInt = 2
        head_width: PositiveInt = 32
        deep: bool = True
        hidden: tuple[PositiveInt, ...] = (256, 128, 64)
        domain_blind: bool = False

    config: Config

    def __init__(self, config: Config, schema: Schema) -> None:
        super().__init__(config, schema)
        dim, width = config.embedding_dim, config.heads * config.head_width
        self.embed = RowEmbedding(schema, dim, domain=not config.domain_blind)
        self.attention = nn.Sequential(
            *(
                FeatureAttention(width if layer else dim, config.heads, config.head_width)
                for layer in range(config.layers)
            )
        )
        self.out = nn.Linear(self.embed.width // dim * width, 1)
        self.mlp = self.mlp_out = None
        if config.deep:
            self.mlp = MLP(self.embed.width, config.hidden, dropout=config.dropout)
            self.mlp_out = nn.Linear(self.mlp.width, 1, bias=False)

    def forward(self, batch: Impressions) -> Tensor:
        # B rows, F features, K embedding width, I = F * K
        row_BI = self.embed(batch)
        e_BFK = row_BI.unflatten(1, (-1, self.config.embedding_dim))
        logit_B1: Tensor = self.out(self.attention(e_BFK).flatten(1))
        if self.mlp is not None and self.mlp_out is not None:
            logit_B1 = logit_B1 + self.mlp_out(self.mlp(row_BI))
        return logit_B1.squeeze(1)
