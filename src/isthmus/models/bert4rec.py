"""BERT4Rec: attention in both directions, and items that are masked and guessed."""

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor

from isthmus import distributed
from isthmus.batch import Histories
from isthmus.device import looked_up, moved, on_host
from isthmus.models.base import Losses, register
from isthmus.models.sequential import SequentialRetriever, TransformerConfig
from isthmus.nn.sequence import Inputs, SequenceEmbedding, Tokens
from isthmus.schema import Schema


class BERT4RecConfig(TransformerConfig):
    """``mask_share`` of the items of a row are guessed at each step, its last one besides.

    ``domain_blind``: items are read without their domains.
    """

    mask_share: PositiveFloat = Field(0.2, lt=1)
    domain_blind: bool = False


@register("bert4rec", paper="https://arxiv.org/abs/1904.06690")
class BERT4Rec(SequentialRetriever):
    """BERT for sequential recommendation (Sun et al., CIKM 2019): a Cloze task over a history.

    The next item is scored as a mask at the end. Other than in the paper: the row's last item is
    masked at every step, as in scoring, and not in samples of its own; the loss is a softmax over
    the target domain's items; an item's domain is embedded too (a mask has none); norms come before
    sublayers (``pre_norm``), and states are compared with items without another layer.
    """

    Config = BERT4RecConfig
    config: BERT4RecConfig
    special = 1  # the mask

    def __init__(self, config: BERT4RecConfig, schema: Schema) -> None:
        super().__init__(config, schema)
        width = config.embedding_dim
        domains = 0 if config.domain_blind else schema.num_domains + 1
        self.embed = SequenceEmbedding(
            domains, schema.max_history, width, dropout=config.dropout, starts=False
        )
        self.encoder = config.transformers()

    def states(self, tokens: Tokens) -> Tensor:
        hidden_N = torch.zeros_like(tokens.user, dtype=torch.bool)
        hidden_N[tokens.last] = True
        return self.guesses(tokens, hidden_N)

    def guesses(self, tokens: Tokens, hidden_N: Tensor) -> Tensor:
        """States of all tokens, [N, H], when those that are hidden are not read."""
        item_N = tokens.target.masked_fill(hidden_N, self.schema.items)
        domain_N = tokens.domain.masked_fill(hidden_N, 0)
        x_NH = self.embed(self.items, Inputs(item_N, domain_N, tokens.cross.position))
        x_PH = tokens.spread(x_NH)
        state_PH = self.encoder(x_PH[None], tokens.mask(x_PH.dtype, ahead=True))[0]
        return state_PH.index_select(0, tokens.place)

    def losses(self, batch: Histories) -> Losses:
        tokens = self.note(batch)
        hidden_N = torch.rand(len(tokens.user)) < self.config.mask_share
        hidden_N[on_host(tokens.last)] = True
        device = tokens.user.device
        place_X = moved(hidden_N.nonzero()[:, 0], device)
        state_XH = self.guesses(tokens, moved(hidden_N, device)).index_select(0, place_X)
        loss_X = self.token_losses(state_XH, looked_up(tokens.target, place_X))
        return {self.config.loss: distributed.mean(loss_X)}
