"""What a GPU gains by: products in bfloat16, and steps compiled as a whole."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

from isthmus.models.base import Losses, Model


def under_autocast(losses: Iterable[Losses], device: torch.device, on: bool) -> Iterator[Losses]:
    """The losses, each made with matrix products in bfloat16 if ``on``; backward passes follow them.

    Autocast ends before a loss is handed on: weights change between two steps, and it keeps copies
    of them while it lasts.
    """
    if not on:
        yield from losses
        return
    steps = iter(losses)
    while True:
        with torch.autocast(device.type, torch.bfloat16):
            step = next(steps, None)
        if step is None:
            return
        yield step


@contextmanager
def compiled(model: Model, on: bool, *, backend: str = "inductor") -> Iterator[None]:
    """Inside, the model's ``losses`` go through torch.compile if ``on``; its state stays its own."""
    if not on:
        yield
        return
    model.losses = torch.compile(model.losses, backend=backend)  # type: ignore[method-assign]
    try:
        yield
    finally:
        del model.losses
