"""The middle of an epoch: what it takes to leave it there, and to enter it there again."""

from collections.abc import Mapping
from dataclasses import replace

import torch

from isthmus import distributed
from isthmus.data.feed import EpochFeed
from isthmus.models.base import Model
from isthmus.training.state import Partial


def can_resume(model: Model) -> bool:
    """Whether the model's epoch may be entered again in its middle."""
    return getattr(type(model).epoch, "resumable", False)


def noted(partial: Partial, epoch: EpochFeed) -> Partial:
    """A copy of ``partial``, with where the feed stands now, and all processes' random states."""
    sums = {name: value.detach().cpu().clone() for name, value in partial.sums.items()}
    rng = distributed.everyones(_states(torch.device(epoch.feed.device)))
    return replace(partial, sums=sums, counts=dict(partial.counts), place=epoch.place, rng=rng)


def restore_random(partial: Partial, device: torch.device | str) -> bool:
    """Set torch's generators to what is noted; False if it is of another number of processes."""
    here, device = distributed.peers(), torch.device(device)
    if len(partial.rng) != here.size:
        return False
    _set(partial.rng[here.rank], device)
    return True


def _states(device: torch.device) -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _set(states: Mapping[str, torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
