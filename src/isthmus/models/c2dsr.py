"""C2DSR: a cross-domain and a single-domain reading of a history, and what they have in common.

Shape letters: B histories, L their length, N tokens, H width.
"""

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat
from torch import Tensor, nn

from isthmus import distributed
from isthmus.batch import Histories
from isthmus.device import looked_up, moved, on_host
from isthmus.models.base import Losses, register
from isthmus.models.sequential import SequentialRetriever, TransformerConfig
from isthmus.nn import DomainLinear, Routing
from isthmus.nn.sequence import Inputs, SequenceEmbedding, Tokens
from isthmus.nn.transformer import Transformers
from isthmus.schema import Schema


class C2DSRConfig(TransformerConfig):
    """``infomax_weight`` of the agreement of both readings; the loss of the next item has the rest.

    ``domain_blind``: items are read without their domains.
    """

    domain_blind: bool = False
    infomax_weight: NonNegativeFloat = Field(0.3, lt=1)


@register("c2dsr", paper="https://arxiv.org/abs/2304.00578")
class C2DSR(SequentialRetriever):
    """Contrastive cross-domain sequential recommendation (Cao et al., CIKM 2022), for any number of domains.

    A target is predicted by its domain's linear layer from the sum of both readings. Infomax: a
    bilinear discriminator tells a user's cross-domain reading from one in which the items of other
    domains were replaced at random, given the reading of one of the user's domains.

    Other than in the paper: one single-domain encoder serves all domains, each with a start of its
    own, so that the cost does not grow with them; items are not smoothed over a graph of
    co-occurrences; of each user one domain, drawn anew, is compared at a step; every position is
    predicted, not the last ten. The layer of the unknown domain is never trained.
    """

    Config = C2DSRConfig
    config: C2DSRConfig

    def __init__(self, config: C2DSRConfig, schema: Schema) -> None:
        super().__init__(config, schema)
        width, self.parts = config.embedding_dim, schema.num_domains + 1
        domains = 0 if config.domain_blind else self.parts
        self.embed = SequenceEmbedding(domains, schema.max_history, width, dropout=config.dropout)
        self.start = nn.Embedding(self.parts, width)
        nn.init.normal_(self.start.weight, std=0.02)
        self.cross, self.own = (config.transformers() for _ in range(2))
        self.out = DomainLinear(self.parts, width, width)
        self.agree = nn.Bilinear(width, width, 1) if config.infomax_weight else None

    def states(self, tokens: Tokens) -> Tensor:
        return self._joined(tokens, *self.readings(tokens))

    def readings(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """States from all items before each token, and from those of its own domain: [N, H] each."""
        cross_NH = self._read(self.cross, tokens, tokens.cross, None)
        return cross_NH, self._read(self.own, tokens, tokens.own, self.start(tokens.domain))

    def losses(self, batch: Histories) -> Losses:
        tokens, weight = self.note(batch), self.config.infomax_weight
        cross_NH, own_NH = self.readings(tokens)
        loss_N = self.token_losses(self._joined(tokens, cross_NH, own_NH), tokens.target)
        losses: Losses = {self.config.loss: (1 - weight) * distributed.mean(loss_N)}
        if self.agree is not None:
            losses["infomax"] = weight * self._infomax(batch, tokens, cross_NH, own_NH)
        return losses

    def _read(
        self, encoder: Transformers, tokens: Tokens, inputs: Inputs, start_NH: Tensor | None
    ) -> Tensor:
        x_PH = tokens.spread(self.embed(self.items, inputs, start_NH))
        mask = tokens.mask(x_PH.dtype, own=start_NH is not None)
        return encoder(x_PH[None], mask)[0].index_select(0, tokens.place)

    def _joined(self, tokens: Tokens, cross_NH: Tensor, own_NH: Tensor) -> Tensor:
        routing = Routing.of(tokens.domain, self.parts)
        return routing.unsort(self.out(routing.sort(cross_NH + own_NH), routing.sizes))

    def _infomax(
        self, batch: Histories, tokens: Tokens, cross_NH: Tensor, own_NH: Tensor
    ) -> Tensor:
        assert self.agree is not None
        domain_B, device = self._one_domain(tokens), tokens.domain.device
        is_own_N = on_host(tokens.domain) == domain_B[on_host(tokens.user)]
        own_X = moved(is_own_N.nonzero()[:, 0], device)
        own_XH, user_X = own_NH.index_select(0, own_X), looked_up(tokens.user, own_X)
        own_BH = _means(own_XH, user_X, len(batch))
        other = self.tokens(self._corrupted(batch.on_host(), domain_B).to(device))
        other_NH = self._read(self.cross, other, other.cross, None)
        true_B1 = self.agree(own_BH, _means(cross_NH, tokens.user, len(batch)))
        false_B1 = self.agree(own_BH, _means(other_NH, other.user, len(batch)))
        return (F.softplus(-true_B1) + F.softplus(false_B1)).mean()

    def _one_domain(self, tokens: Tokens) -> Tensor:
        """The domain of a random token of each user, [B], on the host."""
        size_B = torch.bincount(on_host(tokens.user), minlength=len(tokens.last))
        back_B = (torch.rand(len(size_B)) * size_B).long()
        return on_host(tokens.domain)[on_host(tokens.last) - back_B]

    def _corrupted(self, batch: Histories, domain_B: Tensor) -> Histories:
        """Items of other domains replaced by random ones of theirs; on the host."""
        of = self.next_item.catalogue.candidates("domain")
        group_BL, start_G = on_host(of.group_I)[batch.items], on_host(of.start_G)
        chance_BL = torch.rand(batch.items.shape)
        size_BL = torch.tensor(of.sizes)[group_BL]
        drawn_BL = on_host(of.items)[start_G[group_BL] + (chance_BL * size_BL).long()]
        kept_BL = (batch.items == 0) | (batch.domains == domain_B[:, None])
        items_BL = batch.items.where(kept_BL, drawn_BL)
        return Histories(items_BL, batch.domains, batch.target, batch.domain)


def _means(state_NH: Tensor, user_N: Tensor, users: int) -> Tensor:
    """Mean state of each user, [B, H]."""
    sum_BH = state_NH.new_zeros(users, state_NH.shape[1]).index_add(0, user_N, state_NH)
    size_B1 = torch.bincount(on_host(user_N), minlength=users).clamp(min=1)[:, None]
    return sum_BH / moved(size_B1, sum_BH.device)
