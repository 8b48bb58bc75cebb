"""PLE on a sequence encoder: levels of shared and specific experts over its states."""

from typing import Annotated

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from isthmus.models.base import Widths, register
from isthmus.models.ple import Level, PLEConfig
from isthmus.models.sasrec import SASRec, SASRecConfig
from isthmus.nn import DomainLinear, Routing
from isthmus.nn.sequence import Tokens
from isthmus.nn.transformer import PartFeedForward
from isthmus.schema import Schema


class PLESeqConfig(SASRecConfig):
    """``expert_levels``: layer widths of a level's experts, shared and specific ones alike."""

    expert_levels: Annotated[tuple[Widths, ...], Field(min_length=1)] = ((128, 64), (64,))
    shared_experts: PositiveInt = 3
    specific_experts: PositiveInt = 1


@register("ple_seq", paper="https://doi.org/10.1145/3383313.3412236")
class PLESeq(SASRec):
    """Progressive Layered Extraction (Tang et al., RecSys 2020), the next item's domain as the task.

    Levels are those of ``ple``, with its deviations; they read the states of our SASRec. Towers
    have a residual and a norm, and a layer takes what they give to the width of the items. Experts
    and tower of the unknown domain are never trained: ask for one that is known.
    """

    Config = PLESeqConfig
    config: PLESeqConfig

    def __init__(self, config: PLESeqConfig, schema: Schema) -> None:
        super().__init__(config, schema)
        width, self.parts = config.embedding_dim, schema.num_domains + 1
        size = PLEConfig(
            levels=config.expert_levels,
            shared_experts=config.shared_experts,
            specific_experts=config.specific_experts,
            dropout=config.dropout,
        )
        widths = [width, *(hidden[-1] for hidden in config.expert_levels)]
        self.levels = nn.ModuleList(
            Level(self.parts, width, hidden, size, last=number == len(size.levels))
            for number, (width, hidden) in enumerate(zip(widths[:-1], size.levels, strict=True), 1)
        )
        self.tower = PartFeedForward(self.parts, widths[-1], config.feed_forward * widths[-1])
        self.out = DomainLinear(self.parts, widths[-1], width)

    def states(self, tokens: Tokens) -> Tensor:
        # N tokens, O width of the last level
        routing = Routing.of(tokens.domain, self.parts)
        own = shared = routing.sort(super().states(tokens))
        for level in self.levels:
            own, shared = level(own, shared, routing.sizes)
        out_NH = self.out(self.tower(own, routing.sizes), routing.sizes)
        return routing.unsort(out_NH)
