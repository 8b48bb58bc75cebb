"""AESM2: layers of experts that all share; a row's scenario selects which of them it uses.

Shape letters: B rows, I input width, K embedding width, P parts (0 is the unknown domain's),
E experts, O expert width.
"""

import math

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveInt, model_validator
from torch import Tensor, nn

from isthmus.batch import Impressions
from isthmus.models.base import Losses, Widths, register
from isthmus.models.parts import PartsConfig, PartsRanker
from isthmus.nn import MLP, Experts, RowEmbedding, gated
from isthmus.nn.precision import exact
from isthmus.schema import Schema


class AESM2Config(PartsConfig):
    """``specific`` and ``shared``: how many experts are selected as the one and as the other.

    ``noise``: standard deviation of what is added to the gates' logits for selecting in training.
    """

    num_experts: PositiveInt = 8
    layers: Widths = (128, 64)
    specific: PositiveInt = 2
    shared: PositiveInt = 2
    noise: NonNegativeFloat = 0.1
    specific_weight: NonNegativeFloat = 0.01
    shared_weight: NonNegativeFloat = 0.01
    tower_hidden: tuple[PositiveInt, ...] = (64, 32)

    @model_validator(mode="after")
    def _enough_experts(self) -> "AESM2Config":
        if max(self.specific, self.shared) > self.num_experts:
            raise ValueError(
                f"specific = {self.specific} and shared = {self.shared} experts cannot be selected "
                f"of num_experts = {self.num_experts}; lower them, or raise num_experts"
            )
        return self


@register("aesm2", paper="https://arxiv.org/abs/2205.14321")
class AESM2(PartsRanker):
    """Automatic Expert Selection (Zou et al., SIGIR 2022), with parts as scenarios.

    Deviations:

    * One task and one level of scenarios: the multi-task layers, whose selection among one task
      would be void, are left out; the tower follows the last multi-scenario layer.
    * The unknown domain is a scenario like any other.
    * An expert's batch norm takes its statistics of the rows that selected it alone.
    * All scenarios' gates are computed for each row, as the paper's divergences ask for: ``E`` numbers
      a scenario a layer. Experts are shared, so nothing else grows with the number of domains.
    """

    reads_other_domains = True
    Config = AESM2Config
    config: AESM2Config

    def __init__(self, config: AESM2Config, schema: Schema) -> None:
        super().__init__(config, schema)
        self.embed = RowEmbedding(schema, config.embedding_dim)
        self.scenario = nn.Embedding(self.num_parts, config.embedding_dim)
        widths = [self.embed.width, *config.layers]
        self.layers = nn.ModuleList(
            SelectionLayer(self.num_parts, width, out, config)
            for width, out in zip(widths[:-1], config.layers, strict=True)
        )
        self.tower = MLP(widths[-1], config.tower_hidden, dropout=config.dropout)
        self.out = nn.Linear(self.tower.width, 1)

    def forward(self, batch: Impressions) -> Tensor:
        return self._scored(batch)[0]

    def losses(self, batch: Impressions) -> Losses:
        logit_B, specific, shared = self._scored(batch)
        return {
            "bce": F.binary_cross_entropy_with_logits(exact(logit_B), batch.label),
            "specific": self.config.specific_weight * specific,
            "shared": self.config.shared_weight * shared,
        }

    def _scored(self, batch: Impressions) -> tuple[Tensor, Tensor, Tensor]:
        """Logits [B], and the divergences of the experts selected, summed over layers."""
        x_BI, part_B = self.embed(batch), self.part(batch)
        scenario_BK = self.scenario(part_B)
        divergences = []
        for layer in self.layers:
            x_BI, specific, shared = layer(x_BI, scenario_BK, part_B)
            divergences.append((specific, shared))
        specific, shared = (torch.stack(terms).sum() for terms in zip(*divergences, strict=True))
        return self.out(self.tower(x_BI)).squeeze(1), specific, shared


class SelectionLayer(nn.Module):
    """A multi-scenario layer (sec. 3.3): experts selected by the Kullback-Leibler divergence.

    A gate a scenario gives logits [B, P, E]; their softmax over scenarios is each expert's
    distribution. Experts closest to the row's one-hot scenario are selected as specific, those
    closest to the uniform distribution as shared; the own scenario's gate mixes the union.
    """

    def __init__(self, parts: int, width: int, out: int, config: AESM2Config) -> None:
        super().__init__()
        self.parts, self.config = parts, config
        self.experts = Experts(config.num_experts, width, (out,), dropout=config.dropout)
        self.gate = nn.Linear(width + config.embedding_dim, parts * config.num_experts)

    def forward(
        self, x_BI: Tensor, scenario_BK: Tensor, part_B: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        logit_BX = exact(self.gate(torch.cat([x_BI, scenario_BK], dim=1)))
        logit_BPE = logit_BX.unflatten(1, (self.parts, -1))
        selected_BE, specific, shared = self._select(logit_BPE, part_B)
        gate_BE = _own(logit_BPE, part_B).masked_fill(~selected_BE, -torch.inf)
        expert_EBO = self.experts(x_BI, selected_BE.T.to(x_BI.dtype))
        return gated(gate_BE, expert_EBO.transpose(0, 1)), specific, shared

    def _select(self, logit_BPE: Tensor, part_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Which experts each row uses [B, E], and the mean divergences of those selected."""
        if self.training and self.config.noise:
            logit_BPE = logit_BPE + self.config.noise * torch.randn_like(logit_BPE)
        log_BPE = logit_BPE.log_softmax(dim=1)
        to_one_hot_BE = -_own(log_BPE, part_B)
        to_uniform_BE = -math.log(self.parts) - log_BPE.mean(dim=1)
        selected_BE = torch.zeros_like(to_one_hot_BE, dtype=torch.bool)
        means = []
        for divergence_BE, count in (
            (to_one_hot_BE, self.config.specific),
            (to_uniform_BE, self.config.shared),
        ):
            least = divergence_BE.topk(count, dim=1, largest=False)
            selected_BE.scatter_(1, least.indices, True)
            means.append(least.values.mean())
        specific, shared = means
        return selected_BE, specific, shared


def _own(x_BPE: Tensor, part_B: Tensor) -> Tensor:
    """The row's own scenario's numbers: [B, E]."""
    return x_BPE.gather(1, part_B[:, None, None].expand(-1, 1, x_BPE.shape[2])).squeeze(1)
