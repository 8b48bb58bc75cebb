"""Several processes of one test, joined by gloo."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.multiprocessing as mp

from isthmus.meeting import group


def together(number: int, work: Callable[..., None], place: Path, *arguments: Any) -> None:
    """Call ``work(rank, *arguments)`` in so many processes; what one of them raises is raised.

    ``work`` is a function of a module. ``place`` is a directory, where they find each other.
    """
    meeting = place / f"meeting-of-{number}-{len(list(place.iterdir()))}"
    mp.spawn(_one, (number, work, str(meeting), arguments), nprocs=number)


def _one(
    rank: int, number: int, work: Callable[..., None], meeting: str, arguments: tuple[Any, ...]
) -> None:
    patience = timedelta(minutes=5)
    where = f"file://{meeting}"
    with group("gloo", init_method=where, rank=rank, world_size=number, timeout=patience):
        work(rank, *arguments)
    threads = [(task / "comm").read_text() for task in Path("/proc/self/task").glob("*")]
    assert not [name for name in threads if "gloo" in name], "they may abort the process at its end"
