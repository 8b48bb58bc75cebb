"""Where autocast ends: sums, softmaxes and statistics stay in single precision, products may not."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

LOW = {torch.bfloat16, torch.float16}


def exact(x: Tensor) -> Tensor:
    """The tensor in single precision, if it came out of a product in half."""
    return x.float() if x.dtype in LOW else x


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Inside, products of tensors on this one's device are in the precision of their operands."""
    kind = x.device.type
    if not torch.is_autocast_enabled(kind):
        return nullcontext()
    return torch.autocast(kind, enabled=False)


def lowered(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors as autocast would give them to a product: for those that it does not see.

    As they are, where autocast is off.
    """
    kind = tensors[0].device.type
    if not torch.is_autocast_enabled(kind):
        return tensors
    return tuple(x.to(torch.get_autocast_dtype(kind)) for x in tensors)
