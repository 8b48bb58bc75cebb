"""STAR: one network in the centre, and each domain's own factors around it."""

import itertools

from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from isthmus.batch import Impressions
from isthmus.models.base import register
from isthmus.models.parts import PartsConfig, PartsRanker
from isthmus.nn import RowEmbedding, relu_dropout
from isthmus.nn.star import PartitionedNorm, StarLinear
from isthmus.schema import Schema


@register("star", paper="https://arxiv.org/abs/2101.11427")
class STAR(PartsRanker):
    """Star Topology Adaptive Recommender (Sheng et al., CIKM 2021).

    Features are normalised by the statistics of a row's part (partitioned normalisation), then pass
    layers whose weights are shared * own and whose biases are shared + own; an auxiliary network
    that reads the domain adds its logit.

    Other than in the paper:

    * a batch mixes domains; parts with few rows in it lean on their running statistics
      (``few_rows``; see ``nn.star.PartitionedNorm``);
    * the domain's embedding enters the auxiliary network alone: within a part it is constant, and
      the normalisation would make zeros of it;
    * layers are narrower than a lone network's: every part has weights of its own of their size,
      and with (256, 128, 64, 32) they would be most of a step's cost at 60 domains;
    * dropout after hidden layers of the star (``dropout``).
    """

    class Config(PartsConfig):
        hidden: tuple[PositiveInt, ...] = (64, 32)
        auxiliary_hidden: PositiveInt = 32
        few_rows: NonNegativeFloat = 16.0

    config: Config

    def __init__(self, config: Config, schema: Schema) -> None:
        super().__init__(config, schema)
        self.embed = RowEmbedding(schema, config.embedding_dim)
        self.width = self.embed.width - config.embedding_dim
        self.norm = PartitionedNorm(self.num_parts, self.width, few_rows=config.few_rows)
        widths = [self.width, *config.hidden, 1]
        self.layers = nn.ModuleList(
            StarLinear(self.num_parts, i, o) for i, o in itertools.pairwise(widths)
        )
        self.auxiliary = nn.Sequential(
            nn.Linear(self.embed.width, config.auxiliary_hidden),
            nn.ReLU(),
            nn.Linear(config.auxiliary_hidden, 1),
        )

    def forward(self, batch: Impressions) -> Tensor:
        # B rows, I width of features and domain, W of features alone
        row_BI = self.embed(batch)
        routing = self.routing(batch)
        x_BW = self.norm(routing.sort(row_BI[:, : self.width]), routing.sizes)
        for number, layer in enumerate(self.layers):
            if number:
                x_BW = relu_dropout(x_BW, self.config.dropout, self.training)
            x_BW = layer(x_BW, routing.sizes)
        logit_B: Tensor = (routing.unsort(x_BW) + self.auxiliary(row_BI)).squeeze(1)
        return logit_B
