"""Pruners: which neurons of a layer a row's domain keeps, and how strongly (AdaSparse, CIKM 2022).

Shape letters: B rows, I width of a layer's input, K width of the domain's embedding.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from isthmus import distributed
from isthmus.nn.precision import exact

Form = Literal["binarisation", "scaling", "fusion"]


class Pruner(nn.Module):
    """Weights of a layer's input neurons, from these and the domain.

    ``v`` is a linear map of both. Binarisation keeps neurons with sigmoid(alpha v) above
    ``threshold``; scaling weights them by beta * sigmoid(v); fusion weights by beta *
    sigmoid(alpha v) those of which this is above ``threshold``, and drops the others.
    """

    def __init__(
        self, width: int, domain_width: int, form: Form, *, beta: float, threshold: float
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(width + domain_width, width)
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)
        self.form, self.beta, self.threshold = form, beta, threshold

    def forward(self, x_BI: Tensor, domain_BK: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
        """Factors of the neurons, [B, I], and the share that was pruned, a scalar."""
        v_BI = exact(self.linear(torch.cat([x_BI, domain_BK], dim=1)))
        if self.form == "scaling":
            return self.beta * v_BI.sigmoid(), v_BI.new_zeros(())
        soft_BI = (alpha * v_BI).sigmoid()
        weight_BI = soft_BI if self.form == "binarisation" else self.beta * soft_BI
        hard_BI = (weight_BI > self.threshold).to(soft_BI.dtype)
        # A step has no gradient: backwards it counts as the sigmoid that it hardens.
        kept_BI = hard_BI + soft_BI - soft_BI.detach()
        pruned = 1 - distributed.total(distributed.share() * kept_BI.mean())
        return (kept_BI if self.form == "binarisation" else weight_BI * hard_BI), pruned
