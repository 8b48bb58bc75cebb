"""A device that is no device: tensors say that they are elsewhere, and compute on the CPU.

What a GPU would have to wait for is told: a value read by the host, a size that depends on values, a
copy from or to the host that is not asynchronous. What it would refuse is refused: operands at two
places. So a training step can be watched where there is no GPU. Not seen: what kernels do inside.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map

PLACE = torch.device("meta")
"""The device that they say; torch does nothing by itself for it."""
WAITS = {
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "bincount",
    "_unique",
    "_unique2",
    "unique_dim",
    "unique_consecutive",
    "equal",
    "_coalesce",
}
"""Operators for which the host waits, by what they are."""


class There(Tensor):
    """A tensor of the pretended device, around the values ``here``."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> "There":
        made = Tensor._make_wrapper_subclass(
            cls,
            here.size(),
            strides=None if here.is_sparse else here.stride(),
            dtype=here.dtype,
            layout=here.layout,
            device=PLACE,
            requires_grad=here.requires_grad,
        )
        made.here = here
        return made

    def __repr__(self, *_: Any) -> str:
        return f"There({self.here})"

    @classmethod
    def __torch_dispatch__(
        cls, operator: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _computed(operator, args, kwargs or {}, Counter())


class Watching(TorchDispatchMode):
    """Counts what the host would wait for, by operator."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _computed(operator, args, kwargs or {}, self.waits)


def _computed(operator: Any, args: Any, kwargs: dict[str, Any], waits: Counter[str]) -> Any:
    name = operator.overloadpacket.__name__
    given = [x for x in tree_iter((args, kwargs)) if isinstance(x, Tensor)]
    there = any(isinstance(x, There) for x in given)
    to = kwargs.get("device")
    goes = to is not None and torch.device(to).type == PLACE.type
    if not there and not goes:
        return operator(*args, **kwargs)
    arriving = goes and not there
    leaving = there and to is not None and not goes
    if there:
        strangers = [x for x in given if not isinstance(x, There) and x.dim()]
        copies = name in ("copy_", "_to_copy")
        assert copies or not strangers, f"{operator}: operands at two places"
        if copies and (strangers or leaving):
            arriving = True
    _count(operator, name, args, kwargs, waits, crosses=arriving or leaving)
    here = tree_map(lambda x: x.here if isinstance(x, There) else x, (args, kwargs))
    if "device" in here[1]:
        here[1]["device"] = torch.device("cpu")
    if "generator" in here[1]:
        assert not goes or here[1]["generator"] is None, f"{operator}: the host's generator"
    found = operator(*here[0], **here[1])
    if leaving or name == "_local_scalar_dense":
        return found
    if (
        torch.Tag.inplace_view in operator.tags
    ):  # what it looks like changed, not only what it holds
        with no_dispatch():
            operator(*args, **kwargs)
    written = {id(x.here): x for x in tree_iter((args, kwargs)) if isinstance(x, There)}
    return tree_map(lambda x: _there(x, written) if isinstance(x, Tensor) else x, found)


def _there(found: Tensor, written: dict[int, Tensor]) -> Tensor:
    return written[id(found)] if id(found) in written else There(found)


def _count(
    operator: Any, name: str, args: Any, kwargs: Any, waits: Counter[str], *, crosses: bool
) -> None:
    indices = args[1] if name in ("index", "index_put", "index_put_") else ()
    by_mask = any(isinstance(x, Tensor) and x.dtype == torch.bool for x in indices)
    unsized = name == "repeat_interleave" and kwargs.get("output_size") is None
    if name in WAITS or by_mask or unsized:
        waits[name] += 1
    if crosses and name in ("copy_", "_to_copy") and not _is_asynchronous(name, args, kwargs):
        waits[f"{name}, not asynchronous"] += 1


def _is_asynchronous(name: str, args: Any, kwargs: Any) -> bool:
    if name == "copy_" and len(args) > 2:
        return bool(args[2])
    return bool(kwargs.get("non_blocking", False))


def taken_there(model: nn.Module) -> None:
    """Move a model to the pretended device."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(There(parameter.detach()))
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = There(buffer)


@contextmanager
def watching() -> Iterator[Counter[str]]:
    """Inside, tensors can be made on and moved to ``PLACE``; the counter tells what would wait."""
    fused = mock.patch("torch.optim.adam._device_dtype_check_for_fused")  # knows real devices alone
    with fused, Watching() as mode:
        yield mode.waits
