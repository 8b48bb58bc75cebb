"""Layers that models are built of."""

from isthmus.nn.embedding import EmbeddingTable, FeatureEmbedding, RowEmbedding
from isthmus.nn.experts import ExpertLayer, Experts
from isthmus.nn.hierarchy import ExpertHierarchy
from isthmus.nn.interaction import CrossNetwork
from isthmus.nn.mlp import MLP, relu_dropout
from isthmus.nn.towers import DomainLinear, DomainTowers, Routing

__all__ = [
    "MLP",
    "CrossNetwork",
    "DomainLinear",
    "DomainTowers",
    "EmbeddingTable",
    "ExpertHierarchy",
    "ExpertLayer",
    "Experts",
    "FeatureEmbedding",
    "Routing",
    "RowEmbedding",
    "relu_dropout",
]
