"""Layers that models are built of."""

from isthmus.nn.attention import FeatureAttention
from isthmus.nn.embedding import EmbeddingTable, FeatureEmbedding, RowEmbedding
from isthmus.nn.experts import ExpertLayer, Experts
from isthmus.nn.hierarchy import ExpertHierarchy
from isthmus.nn.interaction import (
    BilinearFusion,
    CrossNetwork,
    FeatureGate,
    LowRankCrossNetwork,
    MatrixCrossNetwork,
    pairwise_products,
)
from isthmus.nn.mlp import MLP, relu_dropout
from isthmus.nn.part_experts import PartExpertLinear, PartExperts, gated
from isthmus.nn.towers import DomainLinear, DomainTowers, Routing, grouped_linear

__all__ = [
    "MLP",
    "BilinearFusion",
    "CrossNetwork",
    "DomainLinear",
    "DomainTowers",
    "EmbeddingTable",
    "ExpertHierarchy",
    "ExpertLayer",
    "Experts",
    "FeatureAttention",
    "FeatureEmbedding",
    "FeatureGate",
    "LowRankCrossNetwork",
    "MatrixCrossNetwork",
    "PartExpertLinear",
    "PartExperts",
    "Routing",
    "RowEmbedding",
    "gated",
    "grouped_linear",
    "pairwise_products",
    "relu_dropout",
]
