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
    return torch.autocast(x.device.type, enabled=False) if _is_on(x) else nullcontext()


def lowered(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors as autocast would give them to a product: for those that it does not see.

    As they are, where autocast is off.
    """
    if not _is_on(tensors[0]):
        return tensors
    low = torch.get_autocast_dtype(tensors[0].device.type)
    return tuple(x.to(low) for x in tensors)


def _is_on(x: Tensor) -> bool:
    kind = x.device.type
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
