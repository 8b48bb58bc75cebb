"""CL4SRec: SASRec, and two altered views of a history that are to look alike.

Shape letters: B histories, L their length, H width.
"""

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor

from isthmus import distributed
from isthmus.batch import Histories
from isthmus.models.base import Losses, register
from isthmus.models.sasrec import SASRec, SASRecConfig


class CL4SRecConfig(SASRecConfig):
    """``crop``, ``mask``, ``reorder``: the share of a history's items that is kept, hidden, shuffled.

    ``contrast_weight`` of the agreement of two views, at ``contrast_temperature``.
    """

    crop: float = Field(0.6, gt=0, le=1)
    mask: float = Field(0.3, gt=0, le=1)
    reorder: float = Field(0.6, gt=0, le=1)
    contrast_weight: NonNegativeFloat = 0.1
    contrast_temperature: PositiveFloat = 0.1


@register("cl4srec", paper="https://arxiv.org/abs/2010.14395")
class CL4SRec(SASRec):
    """Contrastive learning for sequential recommendation (Xie et al., ICDE 2022), on our SASRec.

    Each history gives two views, each by one of three operators at random: crop, mask, reorder.
    Other than in the paper: views agree by cosine, over a temperature; the next item itself is no
    part of a view. See ``sasrec`` for the encoder.
    """

    Config = CL4SRecConfig
    config: CL4SRecConfig
    special = 1  # the mask

    def losses(self, batch: Histories) -> Losses:
        views = [self(self._view(batch)) for _ in range(2)] if self.config.contrast_weight else []
        losses = super().losses(batch)
        if views:
            one, other = map(distributed.gathered, views)
            contrast = agreement_loss(one, other, self.config.contrast_temperature)
            losses["contrast"] = self.config.contrast_weight * contrast
        return losses

    def _view(self, batch: Histories) -> Histories:
        """Another view, made on the host, which makes its tokens too."""
        device, batch = batch.domain.device, batch.on_host()
        c, mask_id = self.config, self.schema.items
        altered = [
            cropped(batch, c.crop),
            masked(batch, c.mask, mask_id),
            reordered(batch, c.reorder),
        ]
        which_B = torch.randint(len(altered), (len(batch),), device=batch.domain.device)
        rows = torch.arange(len(batch), device=batch.domain.device)
        items_BL = torch.stack([view.items for view in altered])[which_B, rows]
        domains_BL = torch.stack([view.domains for view in altered])[which_B, rows]
        return Histories(items_BL, domains_BL, batch.target, batch.domain).to(device)


def _span(batch: Histories, share: float) -> tuple[Tensor, Tensor, Tensor]:
    """Place of each cell in its history (below 0: padding), a random span's start and its end [B, 1]."""
    length = batch.items.shape[1]
    size_B1 = (batch.items > 0).sum(1, keepdim=True)
    place_BL = torch.arange(length, device=size_B1.device) - (length - size_B1)
    long_B1 = (size_B1 * share).ceil().long()
    chance_B1 = torch.rand(size_B1.shape, device=size_B1.device)
    start_B1 = (chance_B1 * (size_B1 - long_B1 + 1)).long()
    return place_BL, start_B1, start_B1 + long_B1


def cropped(batch: Histories, share: float) -> Histories:
    """A span of each history, alone."""
    place_BL, start_B1, end_B1 = _span(batch, share)
    outside_BL = (place_BL < start_B1) | (place_BL >= end_B1)
    items_BL = batch.items.masked_fill(outside_BL, 0)
    return Histories(items_BL, batch.domains.masked_fill(outside_BL, 0), batch.target, batch.domain)


def masked(batch: Histories, share: float, mask_id: int) -> Histories:
    """Each history with so many of its items hidden behind ``mask_id``."""
    chance_BL = torch.rand(batch.items.shape, device=batch.items.device)
    chance_BL = chance_BL.masked_fill(batch.items == 0, 2.0)
    many_B1 = ((batch.items > 0).sum(1, keepdim=True) * share).floor()
    hidden_BL = chance_BL.argsort(1).argsort(1) < many_B1
    items_BL = batch.items.masked_fill(hidden_BL, mask_id)
    return Histories(items_BL, batch.domains.masked_fill(hidden_BL, 0), batch.target, batch.domain)


def reordered(batch: Histories, share: float) -> Histories:
    """Each history with a span of it shuffled."""
    place_BL, start_B1, end_B1 = _span(batch, share)
    inside_BL = (place_BL >= start_B1) & (place_BL < end_B1)
    within_BL = torch.rand(place_BL.shape, device=place_BL.device) * (end_B1 - start_B1)
    order_BL = torch.where(inside_BL, start_B1 + within_BL, place_BL).argsort(dim=1, stable=True)
    items_BL, domains_BL = batch.items.gather(1, order_BL), batch.domains.gather(1, order_BL)
    return Histories(items_BL, domains_BL, batch.target, batch.domain)


def agreement_loss(one_BH: Tensor, other_BH: Tensor, temperature: float) -> Tensor:
    """NT-Xent: each view's other one among all views of the batch but itself."""
    rows = len(one_BH)
    views = F.normalize(torch.cat([one_BH, other_BH]), dim=1)
    alike = (views @ views.T / temperature).fill_diagonal_(float("-inf"))
    partner = torch.arange(2 * rows, device=alike.device).roll(rows)
    return F.cross_entropy(alike, partner)
