"""AdaSparse: one network, of which each domain keeps the neurons that serve it."""

import itertools

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn

from isthmus.batch import Impressions
from isthmus.device import moved, on_host
from isthmus.models.base import Losses, ModelConfig, Ranker, register
from isthmus.nn import RowEmbedding, relu_dropout
from isthmus.nn.mlp import BatchNorm
from isthmus.nn.precision import exact
from isthmus.nn.pruner import Form, Pruner
from isthmus.schema import Schema


@register("adasparse", paper="https://arxiv.org/abs/2206.13108")
class AdaSparse(Ranker):
    """AdaSparse (Yang et al., CIKM 2022): every layer's input neurons are weighted for the domain.

    Factors near 0 become 0: the neuron is pruned for that row. ``alpha``, which hardens the factors,
    and the weight of the sparsity term grow with the training steps, which the state dict counts.
    The term is the mean over layers of the pruned share's distance from the middle of
    [``prune_min``, ``prune_max``], for layers outside these bounds.

    Other than in the paper:

    * the pruned share is a batch's: of all its rows and a layer's neurons. Backwards a pruning step
      counts as its sigmoid, so that the term reaches the pruners;
    * the term's weight grows to ``sparsity_max`` and no further: late steps would be its alone;
    * ``alpha`` goes from ``alpha_start`` to ``alpha_end`` in ``anneal_steps``, for runs of some
      thousand steps, not of a production log's number;
    * batch norm and dropout in hidden layers, as in the other networks here.
    """

    class Config(ModelConfig):
        hidden: tuple[PositiveInt, ...] = (256, 128, 64)
        form: Form = "fusion"
        beta: float = Field(2.0, ge=1)
        threshold: PositiveFloat = Field(0.25, lt=1)
        alpha_start: PositiveFloat = 1.0
        alpha_end: PositiveFloat = 5.0
        anneal_steps: PositiveInt = 1000
        prune_min: NonNegativeFloat = Field(0.15, lt=1)
        prune_max: NonNegativeFloat = Field(0.25, lt=1)
        sparsity: NonNegativeFloat = 0.01
        sparsity_growth: NonNegativeFloat = 1e-2
        sparsity_max: NonNegativeFloat = 1.0

        @model_validator(mode="after")
        def _bounds_in_order(self) -> "AdaSparse.Config":
            if self.prune_min >= self.prune_max:
                raise ValueError(
                    f"prune_min is {self.prune_min} and prune_max {self.prune_max}; "
                    "prune_min must be the smaller"
                )
            if self.alpha_start > self.alpha_end:
                raise ValueError(
                    f"alpha_start is {self.alpha_start} and alpha_end {self.alpha_end}; "
                    "alpha grows, so alpha_start must not be the larger"
                )
            return self

    config: Config

    def __init__(self, config: Config, schema: Schema) -> None:
        super().__init__(config, schema)
        self.embed = RowEmbedding(schema, config.embedding_dim)
        widths = [self.embed.width, *config.hidden, 1]
        self.pruners = nn.ModuleList(
            Pruner(
                i, config.embedding_dim, config.form, beta=config.beta, threshold=config.threshold
            )
            for i in widths[:-1]
        )
        self.layers = nn.ModuleList(
            nn.Linear(i, o, bias=o == 1) for i, o in itertools.pairwise(widths)
        )
        self.norms = nn.ModuleList(BatchNorm(o) for o in config.hidden)
        self.register_buffer("taken", torch.tensor(0))
        self.taken: Tensor

    def alpha(self) -> float:
        """How hard the factors are by now."""
        start, end = self.config.alpha_start, self.config.alpha_end
        return start + (end - start) * min(int(on_host(self.taken)) / self.config.anneal_steps, 1.0)

    def forward(self, batch: Impressions) -> Tensor:
        return self.score(batch)[0]

    def score(self, batch: Impressions) -> tuple[Tensor, Tensor]:
        """Logits [B], and the share of each layer's input neurons that were pruned [layers]."""
        # B rows, K width of the domain's embedding, I a layer's input width
        x_BI = self.embed(batch)
        domain_BK = x_BI[:, -self.config.embedding_dim :]
        alpha, shares = self.alpha(), []
        for number, (layer, pruner) in enumerate(zip(self.layers, self.pruners, strict=True)):
            if number:
                x_BI = self.norms[number - 1](x_BI)
                x_BI = relu_dropout(x_BI, self.config.dropout, self.training)
            factor_BI, pruned = pruner(x_BI, domain_BK, alpha)
            x_BI = layer(factor_BI * x_BI)
            shares.append(pruned)
        return x_BI.squeeze(1), torch.stack(shares)

    def losses(self, batch: Impressions) -> Losses:
        logit_B, pruned_L = self.score(batch)
        bce = nn.functional.binary_cross_entropy_with_logits(exact(logit_B), batch.label)
        if self.config.form == "scaling":  # prunes nothing
            return {"bce": bce}
        low, high = self.config.prune_min, self.config.prune_max
        outside_L = (pruned_L < low) | (pruned_L > high)
        distance = ((pruned_L - (low + high) / 2).abs() * outside_L).mean()
        weight = self.config.sparsity + self.config.sparsity_growth * int(on_host(self.taken))
        weight = min(weight, self.config.sparsity_max)
        if self.training:
            self.taken = moved(on_host(self.taken) + 1, self.taken.device)
        return {"bce": bce, "sparsity": weight * distance}
