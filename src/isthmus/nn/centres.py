"""Running centres of rows, by which rows are routed to one of a few networks.

Shape letters: B rows, C centres, I width of a row.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus import distributed
from isthmus.device import on_host, picked
from isthmus.nn.precision import exact, full_precision


class Centres(nn.Module):
    """Dynamic routing to C centres (ADL, SIGIR 2023): rows [B, I] -> centre of each [B].

    Rows and centres are compared on the unit sphere. In training each of ``iterations`` shares the
    batch's rows out by a softmax over similarities and moves the batch's centres to the shares'
    mean directions; then the running centres follow these with ``momentum``. No gradient passes.
    """

    def __init__(
        self, centres: int, width: int, *, iterations: int, momentum: float, temperature: float
    ) -> None:
        super().__init__()
        self.register_buffer("centre", F.normalize(torch.randn(centres, width), dim=1))
        self.register_buffer("started", torch.tensor(False))
        self.centre: Tensor
        self.started: Tensor
        self.iterations, self.momentum, self.temperature = iterations, momentum, temperature

    @torch.no_grad()
    def forward(self, x_BI: Tensor) -> Tensor:
        with full_precision(x_BI):
            unit_BI = F.normalize(exact(x_BI), dim=1)
            if self.training:
                self._follow(unit_BI)
            return (unit_BI @ self.centre.T).argmax(dim=1)

    def _follow(self, unit_BI: Tensor) -> None:
        if not on_host(self.started):
            whole_BI = distributed.gathered(unit_BI)
            if len(whole_BI) < len(self.centre):
                return  # centres that start at one row stay one
            self.centre.copy_(_spread(whole_BI, len(self.centre)))
            self.started.fill_(True)
        centre_CI = self.centre
        for _ in range(self.iterations):
            share_BC = (unit_BI @ centre_CI.T / self.temperature).softmax(dim=1)
            centre_CI = F.normalize(distributed.total(share_BC.T @ unit_BI), dim=1)
        self.centre.copy_(F.normalize(centre_CI.lerp(self.centre, self.momentum), dim=1))


def _spread(unit_BI: Tensor, centres: int) -> Tensor:
    """Rows to start from: each is the one least like those before it; [C, I]."""
    places = [0]
    for _ in range(centres - 1):
        likeness_B = (unit_BI @ picked(unit_BI, 0, places).T).amax(dim=1)
        places.append(int(likeness_B.argmin()))
    return picked(unit_BI, 0, places)
