"""FinalMLP: two MLPs over differently gated features, fused by a bilinear form."""

from typing import Literal

from pydantic import PositiveInt, model_validator
from torch import Tensor

from isthmus.batch import Impressions
from isthmus.device import picked
from isthmus.models.base import ModelConfig, Ranker, Widths, register
from isthmus.nn import MLP, BilinearFusion, FeatureGate, RowEmbedding
from isthmus.schema import Schema

Context = Literal["learned", "user", "item", "domain"]


@register("finalmlp", paper="https://arxiv.org/abs/2304.00902")
class FinalMLP(Ranker):
    """FinalMLP (Mao et al., AAAI 2023), with the domain as one more feature.

    ``gates`` says what each stream's feature gate reads: the id features of the user or of the
    item, the domain, or a learned vector that is the same for all rows; the learned vector too
    where the data have no such feature. Where the paper leaves it open: gates read the row's own
    embeddings (the published code embeds a gate's features a second time). Differs from the paper:
    hidden layers of the streams have batch norm.
    """

    class Config(ModelConfig):
        hidden: Widths = (256, 128, 64)
        hidden_2: Widths = (256, 128, 64)
        gates: tuple[Context, Context] = ("user", "item")
        gate_hidden: PositiveInt = 64
        heads: PositiveInt = 4
        domain_blind: bool = False

        @model_validator(mode="after")
        def _streams_fit(self) -> "FinalMLP.Config":
            widths = (self.hidden[-1], self.hidden_2[-1])
            if any(width % self.heads for width in widths):
                raise ValueError(
                    f"heads is {self.heads}, but the streams end {widths[0]} and {widths[1]} wide: "
                    "heads must divide both last numbers of hidden and hidden_2"
                )
            if self.domain_blind and "domain" in self.gates:
                raise ValueError(
                    'gates read the "domain", but domain_blind hides it: choose another context'
                )
            return self

    config: Config

    def __init__(self, config: Config, schema: Schema) -> None:
        super().__init__(config, schema)
        self.embed = RowEmbedding(schema, config.embedding_dim, domain=not config.domain_blind)
        width, rate = self.embed.width, config.dropout
        self.places = tuple(_places(schema, context) for context in config.gates)
        gates = [
            FeatureGate(len(places) * config.embedding_dim, config.gate_hidden, width)
            for places in self.places
        ]
        self.gate, self.gate_2 = gates
        self.mlp = MLP(width, config.hidden, dropout=rate)
        self.mlp_2 = MLP(width, config.hidden_2, dropout=rate)
        self.fuse = BilinearFusion(self.mlp.width, self.mlp_2.width, config.heads)

    def forward(self, batch: Impressions) -> Tensor:
        # B rows, F features, K embedding width, I = F * K, X and Y the streams' widths
        row_BI = self.embed(batch)
        gate_BI, other_BI = (
            gate(self._context(row_BI, places))
            for gate, places in zip((self.gate, self.gate_2), self.places, strict=True)
        )
        one_BX, other_BY = self.mlp(row_BI * gate_BI), self.mlp_2(row_BI * other_BI)
        logit_B: Tensor = self.fuse(one_BX, other_BY)
        return logit_B

    def _context(self, row_BI: Tensor, places: list[int]) -> Tensor | None:
        """Embeddings of the features at ``places`` of a row; None where there are none."""
        if not places:
            return None
        e_BFK = row_BI.unflatten(1, (-1, self.config.embedding_dim))
        return picked(e_BFK, 1, places).flatten(1)


def _places(schema: Schema, context: Context) -> list[int]:
    """Which features of a row a gate reads; the domain comes after the schema's."""
    if context == "domain":
        return [len(schema.features)]
    return [
        place
        for place, feature in enumerate(schema.features)
        if feature.role == context and feature.kind == "id"
    ]
