"""ADL: rows are clustered as they come, and each cluster has its own factors on a shared network."""

import itertools

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from isthmus.batch import Impressions
from isthmus.models.base import ModelConfig, Ranker, register
from isthmus.nn import Routing, RowEmbedding, relu_dropout
from isthmus.nn.centres import Centres
from isthmus.nn.mlp import BatchNorm
from isthmus.nn.star import StarLinear
from isthmus.schema import Schema


@register("adl", paper="https://doi.org/10.1145/3539618.3591944")
class ADL(Ranker):
    """Adaptive Distribution Learning (Li et al., SIGIR 2023; AdaptDHM, arXiv 2211.12105).

    A row goes to the nearest of ``distributions`` running centres, and then through that
    distribution's network alone, whose weights are shared * own and whose biases are shared + own
    at every layer. Which domain a row is of matters only by its embedding.

    Other than in the paper:

    * similarities are cosines, divided by ``temperature``: of small embeddings the softmax of plain
      products is uniform, and all centres become one;
    * the centres start at rows of the first batch that are least alike, not at random;
    * batch norm (shared) and dropout in hidden layers, as in the other networks here.
    """

    class Config(ModelConfig):
        distributions: PositiveInt = 3
        hidden: tuple[PositiveInt, ...] = (128, 64)
        iterations: PositiveInt = 3
        momentum: NonNegativeFloat = Field(0.9, lt=1)
        temperature: PositiveFloat = 0.1

    config: Config

    def __init__(self, config: Config, schema: Schema) -> None:
        super().__init__(config, schema)
        self.embed = RowEmbedding(schema, config.embedding_dim)
        self.centres = Centres(
            config.distributions,
            self.embed.width,
            iterations=config.iterations,
            momentum=config.momentum,
            temperature=config.temperature,
        )
        self.layers = nn.ModuleList(
            StarLinear(config.distributions, i, o)
            for i, o in itertools.pairwise([self.embed.width, *config.hidden, 1])
        )
        self.norms = nn.ModuleList(BatchNorm(o) for o in config.hidden)

    def forward(self, batch: Impressions) -> Tensor:
        # B rows, I input width, O a layer's width
        x_BI = self.embed(batch)
        routing = Routing.of(self.centres(x_BI), self.config.distributions)
        x_BO = routing.sort(x_BI)
        for layer, norm in zip(self.layers, self.norms, strict=False):
            x_BO = norm(layer(x_BO, routing.sizes))
            x_BO = relu_dropout(x_BO, self.config.dropout, self.training)
        return routing.unsort(self.layers[-1](x_BO, routing.sizes)).squeeze(1)
