"""SharedBottom: one MLP that all domains share, and a tower for each."""

from pydantic import PositiveInt
from torch import Tensor

from isthmus.batch import Impressions
from isthmus.models.base import register
from isthmus.models.parts import PartsConfig, PartsRanker
from isthmus.nn import MLP, DomainTowers, RowEmbedding
from isthmus.schema import Schema


@register("shared_bottom", paper="https://doi.org/10.1023/A:1007379606734")
class SharedBottom(PartsRanker):
    """Hard parameter sharing (Caruana, Machine Learning 1997), with domains in the place of tasks.

    The bottom has batch norm and dropout, as all MLPs here; towers have neither.
    """

    class Config(PartsConfig):
        bottom_hidden: tuple[PositiveInt, ...] = (256, 128)
        tower_hidden: tuple[PositiveInt, ...] = (64, 32)

    config: Config

    def __init__(self, config: Config, schema: Schema) -> None:
        super().__init__(config, schema)
        self.embed = RowEmbedding(schema, config.embedding_dim)
        self.bottom = MLP(self.embed.width, config.bottom_hidden, dropout=config.dropout)
        self.tower = DomainTowers(self.num_parts, self.bottom.width, config.tower_hidden)

    def forward(self, batch: Impressions) -> Tensor:
        logit_B: Tensor = self.tower(self.bottom(self.embed(batch)), self.routing(batch))
        return logit_B
