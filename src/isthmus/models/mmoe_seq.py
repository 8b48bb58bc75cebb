"""MMoE on a sequence encoder: shared experts over its states, a gate and a tower for each domain."""

from pydantic import PositiveInt
from torch import Tensor

from isthmus.models.base import Widths, register
from isthmus.models.sasrec import SASRec, SASRecConfig
from isthmus.nn import DomainLinear, Experts, Routing, gated
from isthmus.nn.sequence import Tokens
from isthmus.nn.transformer import PartFeedForward
from isthmus.schema import Schema


class MMoESeqConfig(SASRecConfig):
    """``expert_hidden``: layers of an expert; a tower has ``feed_forward`` times its width."""

    num_experts: PositiveInt = 4
    expert_hidden: Widths = (128, 64)


@register("mmoe_seq", paper="https://doi.org/10.1145/3219819.3220007")
class MMoESeq(SASRec):
    """Multi-gate Mixture-of-Experts (Ma et al., KDD 2018), the domain of the next item as the task.

    Experts read the states of our SASRec, which all domains share. Other than in the paper: experts
    have batch norm (over tokens) and dropout, towers a residual and a norm; a layer takes what they
    give to the width of the items. The tower of the unknown domain is never trained: ask for one
    that is known.
    """

    Config = MMoESeqConfig
    config: MMoESeqConfig

    def __init__(self, config: MMoESeqConfig, schema: Schema) -> None:
        super().__init__(config, schema)
        width, self.parts = config.embedding_dim, schema.num_domains + 1
        self.experts = Experts(
            config.num_experts, width, config.expert_hidden, dropout=config.dropout
        )
        hidden = config.feed_forward * self.experts.width
        self.gate = DomainLinear(self.parts, width, config.num_experts)
        self.tower = PartFeedForward(self.parts, self.experts.width, hidden)
        self.out = DomainLinear(self.parts, self.experts.width, width)

    def states(self, tokens: Tokens) -> Tensor:
        # N tokens, E experts, O expert width
        routing = Routing.of(tokens.domain, self.parts)
        state_NH = routing.sort(super().states(tokens))
        expert_NEO = self.experts(state_NH).transpose(0, 1)
        mixed_NO = gated(self.gate(state_NH, routing.sizes), expert_NEO)
        out_NH = self.out(self.tower(mixed_NO, routing.sizes), routing.sizes)
        return routing.unsort(out_NH)
