"""CGRec: domains weighed by what each brings to a coalition of domains."""

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from isthmus import distributed
from isthmus.batch import Histories
from isthmus.device import moved, on_host
from isthmus.models.base import Losses, Told, register
from isthmus.models.sasrec import SASRec, SASRecConfig
from isthmus.models.sequential import whole
from isthmus.nn.sequence import Tokens
from isthmus.schema import Schema


class CGRecConfig(SASRecConfig):
    """Settings of CGRec.

    Settings:
        temperature: of the domains' weights; the smaller, the further apart.
        momentum: of the running values that they follow.
        every, rows, orders: values are estimated every so many steps, on so many rows of the batch,
            by so many random orders in which domains join.
    """

    temperature: PositiveFloat = 0.3
    momentum: NonNegativeFloat = Field(0.9, lt=1)
    every: PositiveInt = 20
    rows: PositiveInt = 64
    orders: PositiveInt = 1


@register("cgrec", paper="https://arxiv.org/abs/2311.13188")
class CGRec(SASRec):
    """Cooperative-game weights for cross-domain sequences (Park et al., CIKM 2023), on our SASRec.

    A coalition is worth what its members gain by it: the loss of each domain's targets when only
    its own items are read, less that when the items of all members are. A domain's Shapley value,
    negative where its company harms, decides its weight in the loss.

    Other than in the paper: values are estimated by random orders of joining, now and then and
    without gradient, for the number of coalitions is exponential; the contrast of sequences of
    categories is left out, since items have none here. See ``sasrec`` for the encoder.
    """

    Config = CGRecConfig
    config: CGRecConfig

    def __init__(self, config: CGRecConfig, schema: Schema) -> None:
        super().__init__(config, schema)
        self.register_buffer("value_D", torch.zeros(schema.num_domains + 1))
        self.register_buffer("met_D", torch.zeros(schema.num_domains + 1, dtype=torch.bool))
        self.value_D: Tensor
        self.met_D: Tensor

    def losses(self, batch: Histories) -> Losses:
        tokens = self.note(batch)
        if self.training and self.next_item.step[2] % self.config.every == 0:
            self._estimate(batch)
        loss_N = self.token_losses(self.states(tokens), tokens.target)
        return {self.config.loss: distributed.mean(self.weights()[tokens.domain] * loss_N)}

    def weights(self) -> Tensor:
        """Each domain's weight in the loss, [D]: of mean 1 over the domains met so far."""
        logit_D = (self.value_D / self.config.temperature).masked_fill(~self.met_D, float("-inf"))
        weight_D = logit_D.softmax(0) * self.met_D.sum()
        return weight_D.where(self.met_D, 1.0)

    def told(self) -> Told:
        value_D, weight_D = self.value_D.tolist(), self.weights().tolist()
        met = {n: d for d, n in enumerate(self.schema.domains, 1) if self.met_D[d]}
        return {
            "running worth to all": {name: round(value_D[d], 6) for name, d in met.items()},
            "weight in the loss": {name: round(weight_D[d], 6) for name, d in met.items()},
        }

    @torch.no_grad()
    def _estimate(self, batch: Histories) -> None:
        """Move the running values of the batch's domains."""
        self.eval()
        device = batch.domain.device
        batch = whole(batch).on_host()[: self.config.rows]
        tokens = self.tokens(batch.to(device))
        present = on_host(tokens.domain).unique()
        alone_D = self._means(tokens, self.encoded(tokens, own=True))
        value_D = torch.zeros_like(self.value_D)
        for _ in range(self.config.orders):
            order = present[torch.randperm(len(present))]
            before = torch.zeros((), device=device)
            for number, domain in enumerate(order.tolist(), 1):
                worth = self._worth(batch, order[:number], alone_D)
                value_D[domain] += (worth - before) / self.config.orders
                before = worth
        # several processes estimate the same worth, each by orders of its own
        value_D = distributed.total(distributed.share() * value_D)
        kept, present = self.config.momentum, moved(present, device)
        self.value_D[present] = torch.lerp(value_D, self.value_D, kept)[present]
        self.met_D.index_fill_(0, present, True)
        self.train()

    def _worth(self, batch: Histories, members: Tensor, alone_D: Tensor) -> Tensor:
        """What the members gain, all together, when each reads the items of all."""
        if len(members) == 1:
            return alone_D.new_zeros(())
        outside_BL = ~torch.isin(batch.domains, members)
        items_BL = batch.items.masked_fill(outside_BL, 0)
        batch = Histories(items_BL, batch.domains, batch.target, batch.domain)
        tokens = self.tokens(batch.to(alone_D.device))
        together_D = self._means(tokens, self.encoded(tokens))
        return (alone_D - together_D)[moved(members, alone_D.device)].sum()

    def _means(self, tokens: Tokens, state_NH: Tensor) -> Tensor:
        """Mean loss of each domain's targets, [D]."""
        loss_N = self.token_losses(state_NH, tokens.target)
        sum_D = torch.zeros_like(self.value_D).index_add_(0, tokens.domain, loss_N)
        count_D = torch.bincount(on_host(tokens.domain), minlength=len(sum_D)).clamp(min=1)
        return sum_D / moved(count_D, sum_D.device)
