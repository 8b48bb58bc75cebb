"""Where tensors are: the device that a setting names, and what the host knows without asking a GPU.

To read a value off a GPU is to wait for all that it was given to do, so a training step must not.
What comes from the host, such as a batch's domains, the host knows already; what changes seldom,
such as a flag in a buffer, it reads once. ``moved`` and ``on_host`` are all that models need.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from isthmus.errors import ConfigError

_known = WeakTensorKeyDictionary()
"""Tensors on a device -> their version at that time, and their values on the host."""


def found(name: str) -> torch.device:
    """The device that ``name`` asks for: "cpu", "cuda", "cuda:1", or "auto" for a GPU if there is one.

    Raises:
        ConfigError: there is no such device; it says what there is.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = "cuda" if gpus else "cpu"
    if name == "cpu":
        return torch.device("cpu")
    chosen = name.partition(":")[2]  # without: 0, or, of several processes, each its own
    index = int(chosen) if chosen else torch.cuda.current_device() if gpus else 0
    if index < gpus:
        return torch.device("cuda", index)
    there = [f"cuda:{n} ({torch.cuda.get_device_name(n)})" for n in range(gpus)]
    raise ConfigError(
        f"train.device is {name!r}, and there is no such device; there {'are' if there else 'is'}: "
        f"{', '.join(['cpu', *there])}. Choose one of these, or 'auto'"
    )


def moved(tensor: Tensor, device: torch.device | str) -> Tensor:
    """The tensor on a device, by a copy that the host does not wait for and still knows the values of.

    The host's tensor must not change afterwards.
    """
    device = torch.device(device)
    if tensor.device.type != "cpu" or device.type == "cpu":
        return tensor.to(device)
    source = tensor.pin_memory() if device.type == "cuda" else tensor
    return known_as(source.to(device, non_blocking=True), tensor)


def on_host(tensor: Tensor) -> Tensor:
    """The tensor's values on the host: itself, or what was moved, or else read from the device once.

    Read anew only after the tensor was written to.
    """
    if tensor.device.type == "cpu":
        return tensor
    version, values = _known.get(tensor, (-1, None))
    if values is None or version != _version(tensor):
        values = tensor.detach().cpu()  # waits for the device
        known_as(tensor, values)
    return values


def looked_up(table: Tensor, ids: Tensor) -> Tensor:
    """``table[ids]``, of which the host knows what it knows of both."""
    found = table[ids]
    return found if found.device.type == "cpu" else known_as(found, on_host(table)[on_host(ids)])


def picked(tensor: Tensor, dim: int, places: Sequence[int]) -> Tensor:
    """The tensor at these places of a dimension, in their order."""
    return tensor.index_select(dim, moved(torch.tensor(places), tensor.device))


def written(tensor: Tensor, values: Tensor) -> None:
    """Write what the host changed in ``on_host(tensor)`` to the tensor, which may be that itself."""
    if tensor is not values:
        known_as(tensor.copy_(moved(values, tensor.device)), values)


def known_as(tensor: Tensor, values: Tensor) -> Tensor:
    """The tensor, of which the host has these values."""
    _known[tensor] = (_version(tensor), values)
    return tensor


def _version(tensor: Tensor) -> int:
    """How often a tensor was written to; of one made in inference mode nobody counts it, or writes."""
    return 0 if tensor.is_inference() else tensor._version
