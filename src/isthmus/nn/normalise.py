"""Batch normalisation of a batch of which several processes have parts.

Shape letters: B rows, E experts, O width.
"""

from typing import Any

import torch
from torch import Tensor

from isthmus import distributed

EPS = 1e-5  # as in torch


class NormaliseActive(torch.autograd.Function):
    """(x - mean) / std for each expert, both taken over that expert's active rows alone.

    [E, B, O] and [E, B] (0 or 1) -> normal [E, B, O], mean and biased variance [E, 1, O], and the
    active rows [E, 1, 1]. Where several processes have parts of a batch, all but the first are of
    the whole batch.
    """

    @staticmethod
    def forward(
        ctx: Any, x_EBO: Tensor, active_EB: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rows_E11 = active_EB.sum(1)[:, None, None]
        share_E1B = active_EB[:, None] / rows_E11.clamp(min=1)
        mean_E1O = share_E1B @ x_EBO
        normal_EBO = x_EBO - mean_E1O
        var_E1O = share_E1B @ normal_EBO.square()
        if distributed.divided():
            rows_E11, mean_E1O, var_E1O = distributed.moments(rows_E11, mean_E1O, var_E1O)
            share_E1B = active_EB[:, None] / rows_E11.clamp(min=1)
            normal_EBO = x_EBO - mean_E1O
        inv_std_E1O = (var_E1O + EPS).rsqrt()
        normal_EBO *= inv_std_E1O
        ctx.save_for_backward(normal_EBO, inv_std_E1O, share_E1B)
        ctx.mark_non_differentiable(mean_E1O, var_E1O, rows_E11)
        return normal_EBO, mean_E1O, var_E1O, rows_E11

    @staticmethod
    def backward(ctx: Any, grad_EBO: Tensor, *_: Tensor) -> tuple[Tensor, None]:
        normal_EBO, inv_std_E1O, share_E1B = ctx.saved_tensors
        through_mean_E1O = grad_EBO.sum(1, keepdim=True)
        through_std_E1O = (grad_EBO * normal_EBO).sum(1, keepdim=True)
        if distributed.divided():
            both = torch.stack([through_mean_E1O, through_std_E1O])
            through_mean_E1O, through_std_E1O = distributed.total(both).unbind()
        share_EB1 = share_E1B.transpose(1, 2)
        shared_EBO = torch.addcmul(through_mean_E1O, normal_EBO, through_std_E1O)
        return (grad_EBO - shared_EBO.mul_(share_EB1)).mul_(inv_std_E1O), None
