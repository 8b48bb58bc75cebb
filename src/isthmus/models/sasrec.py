"""SASRec: causal self-attention over a history."""

from typing import Literal

from torch import Tensor

from isthmus.models.base import register
from isthmus.models.sequential import SequentialRetriever, TransformerConfig
from isthmus.nn.sequence import SequenceEmbedding, Tokens
from isthmus.schema import Schema


class SASRecConfig(TransformerConfig):
    """``domain_blind``: items are read without their domains.

    ``reads``: a next item is predicted from all items before it, or from those of its "own" domain
    alone: the single-domain model of every domain, with weights in common and in one pass.
    """

    domain_blind: bool = False
    reads: Literal["all", "own"] = "all"


@register("sasrec", paper="https://arxiv.org/abs/1808.09781")
class SASRec(SequentialRetriever):
    """Self-Attentive Sequential Recommendation (Kang and McAuley, ICDM 2018), a loss at every position.

    Other than in the paper:

    * the loss is a softmax over the target domain's items (the paper: loss = "bce", candidates =
      "all", negatives = 1), which ranks far better (Klenitskiy and Vasilev, RecSys 2023);
    * norms come before a sublayer on its whole branch, feed-forward layers are four times as wide
      and GELU; what sublayers give is dropped, attention weights are not;
    * an item's domain is embedded too, the sum is normalised, and the first item is predicted from
      a learned start; positions count from the oldest item.
    """

    Config = SASRecConfig
    config: SASRecConfig

    def __init__(self, config: SASRecConfig, schema: Schema) -> None:
        super().__init__(config, schema)
        width, domains = config.embedding_dim, schema.num_domains + 1
        self.embed = SequenceEmbedding(
            0 if config.domain_blind else domains,
            schema.max_history,
            width,
            dropout=config.dropout,
        )
        self.encoder = config.transformers()

    def states(self, tokens: Tokens) -> Tensor:
        return self.encoded(tokens, own=self.config.reads == "own")

    def encoded(self, tokens: Tokens, *, own: bool = False) -> Tensor:
        """States of all tokens, [N, H], from all items before each, or its ``own`` domain's alone."""
        x_PH = tokens.spread(self.embed(self.items, tokens.own if own else tokens.cross))
        state_PH = self.encoder(x_PH[None], tokens.mask(x_PH.dtype, own=own))[0]
        return state_PH.index_select(0, tokens.place)
