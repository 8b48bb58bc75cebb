"""PEPNet: embeddings gated by domain, and towers whose units are gated by user and item."""

import itertools

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from isthmus.batch import Impressions
from isthmus.device import picked
from isthmus.errors import ConfigError
from isthmus.models.base import register
from isthmus.models.parts import PartsConfig, PartsRanker
from isthmus.nn import DomainLinear, FeatureEmbedding, relu_dropout
from isthmus.nn.gates import DomainGate, GateNU
from isthmus.schema import Schema


@register("pepnet", paper="https://arxiv.org/abs/2302.01115")
class PEPNet(PartsRanker):
    """Parameter and Embedding Personalised Network (Chang et al., KDD 2023), domains for its tasks.

    EPNet's gated embeddings feed the towers, one a part; PPNet scales the units of every hidden
    layer by a gate that reads the prior (user's and item's id) and, without a gradient,
    EPNet's output.

    Other than in the paper:

    * one gate a layer serves all parts (the paper's last gate layer has columns for each task): it
      knows the domain from EPNet's output;
    * the prior is the id of user and of item, there being no author: of each role the `id` feature
      with the largest vocabulary, or the features named in ``prior``;
    * dropout after hidden layers of the towers (``dropout``).
    """

    class Config(PartsConfig):
        gate_hidden: PositiveInt = 64
        tower_hidden: tuple[PositiveInt, ...] = (128, 64)
        prior: tuple[str, ...] = ()

    config: Config

    def __init__(self, config: Config, schema: Schema) -> None:
        super().__init__(config, schema)
        dim, hidden, parts = config.embedding_dim, config.gate_hidden, self.num_parts
        self.features = FeatureEmbedding(schema, dim)
        width = self.features.num_features * dim
        self.embedding_gate = DomainGate(schema, dim, width, hidden)
        self.prior = _prior(config, schema)
        gate_width = len(self.prior) * dim + width
        self.gates = nn.ModuleList(GateNU(gate_width, hidden, o) for o in config.tower_hidden)
        self.layers = nn.ModuleList(
            DomainLinear(parts, i, o)
            for i, o in itertools.pairwise([width, *config.tower_hidden, 1])
        )

    def forward(self, batch: Impressions) -> Tensor:
        # B rows, F features, K embedding width, I input width, O a tower layer's width
        e_BFK = self.features(batch)
        x_BI = self.embedding_gate(e_BFK.flatten(1), batch.domain)
        routing = self.routing(batch)
        x_BO = routing.sort(x_BI)
        prior_BI = routing.sort(picked(e_BFK, 1, self.prior).flatten(1))
        known_BI = torch.cat([prior_BI, x_BO.detach()], dim=1)
        for layer, gate in zip(self.layers, self.gates, strict=False):
            x_BO = relu_dropout(layer(x_BO, routing.sizes), self.config.dropout, self.training)
            x_BO = gate(known_BI) * x_BO
        return routing.unsort(self.layers[-1](x_BO, routing.sizes)).squeeze(1)


def _prior(config: PEPNet.Config, schema: Schema) -> list[int]:
    """Places of the features that the towers' gates read."""
    names = [feature.name for feature in schema.features]
    strange = [name for name in config.prior if name not in names]
    if strange:
        raise ConfigError(
            f"settings.prior names {', '.join(map(repr, strange))}, which the data lack; "
            f"their features: {', '.join(names)}"
        )
    if config.prior:
        return [names.index(name) for name in config.prior]
    sizes = {
        role: {n: f.size for n, f in enumerate(schema.features) if (f.role, f.kind) == (role, "id")}
        for role in ("user", "item")
    }
    return [max(size, key=lambda n: size[n]) for size in sizes.values() if size]
