"""MLPs, and the activation that all hidden layers share."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus import distributed
from isthmus.nn.normalise import NormaliseActive
from isthmus.nn.precision import exact


class _ReluDropout(torch.autograd.Function):
    """ReLU and inverted dropout in one pass; the gradient needs the output alone.

    Random bytes come packed in 64-bit words: drawing a Bernoulli variable for each element costs
    more than the layer's matrix product on a CPU. The rate is therefore a multiple of 1/256.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, keep_256: int) -> Tensor:
        out = torch.relu(x)
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64, device=x.device).random_(
            -(2**63), None
        )
        bytes_ = words.view(torch.uint8)[: x.numel()].view(x.shape)
        out.mul_(bytes_ < keep_256).mul_(256 / keep_256)
        ctx.scale = 256 / keep_256
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (out,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(grad, out, 0.0).mul_(ctx.scale), None


def relu_dropout(x: Tensor, rate: float, training: bool) -> Tensor:
    """``dropout(relu(x))``, fused; ``rate`` is rounded to a multiple of 1/256."""
    keep_256 = 256 - round(256 * rate)
    if not training or keep_256 == 256:
        return torch.relu(x)
    if torch.compiler.is_compiling():  # which fuses plain dropout, and cannot see into ours
        return F.dropout(torch.relu(x), 1 - keep_256 / 256)
    out: Tensor = _ReluDropout.apply(x, keep_256)
    return out


class BatchNorm(nn.BatchNorm1d):
    """Batch norm that takes a batch of one row, which has no variance, by its running statistics.

    Of a batch that several processes have parts of, statistics are of the whole.
    """

    def forward(self, x: Tensor) -> Tensor:
        x = exact(x)
        if self.training and distributed.divided():
            return self._of_parts(x)
        if self.training and len(x) < 2:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(x)

    def _of_parts(self, x_BI: Tensor) -> Tensor:
        normal_1BI, *noted = NormaliseActive.apply(x_BI[None], x_BI.new_ones(1, len(x_BI)))
        mean_I, var_I, rows = (one.flatten() for one in noted)
        rate, steps = self.momentum, self.num_batches_tracked
        assert rate is not None
        assert steps is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        with torch.no_grad():
            steps += 1
            self.running_mean.lerp_(mean_I, rate)
            self.running_var.lerp_(var_I * (rows / (rows - 1)), rate)
        normal_BI = normal_1BI[0]
        return torch.addcmul(self.bias, normal_BI, self.weight) if self.affine else normal_BI


class MLP(nn.Module):
    """Hidden layers, each Linear, batch norm, ReLU, dropout: [B, I] -> [B, ``hidden[-1]``]."""

    def __init__(self, width: int, hidden: Sequence[int], *, dropout: float = 0.0) -> None:
        super().__init__()
        widths = [width, *hidden]
        # The norm's shift makes a bias of the linear layer needless.
        self.linears = nn.ModuleList(
            nn.Linear(i, o, bias=False) for i, o in itertools.pairwise(widths)
        )
        self.norms = nn.ModuleList(BatchNorm(o) for o in hidden)
        self.dropout, self.width = dropout, widths[-1]

    def forward(self, x_BI: Tensor) -> Tensor:
        for linear, norm in zip(self.linears, self.norms, strict=True):
            x_BI = relu_dropout(norm(linear(x_BI)), self.dropout, self.training)
        return x_BI
