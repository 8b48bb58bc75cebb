"""Where processes that torchrun started meet, and part again."""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from isthmus.distributed import ALONE, Peers, peers
from isthmus.errors import ConfigError, TrainingError

ENVIRONMENT = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
PATIENCE = timedelta(hours=2)
"""Of those who wait while the first one writes; torchrun ends them sooner, if that one is gone."""


@contextmanager
def started() -> Iterator[Peers]:
    """Meet the processes that torchrun started with this one; without torchrun, be alone.

    gloo carries what lies in main memory, nccl what lies on GPUs, where each process has its own.

    Raises:
        ConfigError: the environment names some of what a meeting takes, and not the rest; or those
            who are started again on several machines would not find each other.
        TrainingError: another process is gone.
    """
    if not any(name in os.environ for name in ENVIRONMENT[:2]):
        yield ALONE
        return
    if missing := [name for name in ENVIRONMENT if not os.environ.get(name)]:
        there = [name for name in ENVIRONMENT if os.environ.get(name)]
        raise ConfigError(
            f"of the environment of several processes there is {', '.join(there)}, and no "
            f"{', '.join(missing)}: start them with torchrun, which sets all; for one, unset these"
        )
    if int(os.environ["WORLD_SIZE"]) == 1:
        yield ALONE
        return
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % gpus)
    # two processes on one GPU are more than nccl can do
    own_gpus = gpus >= int(os.environ.get("LOCAL_WORLD_SIZE", 1)) > 0
    backend = "cpu:gloo,cuda:nccl" if own_gpus else "gloo"
    attempt = _attempt()
    store, rank, size = next(rendezvous("env://", timeout=PATIENCE))
    store = PrefixStore(attempt, store)
    with group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE):
        try:
            yield peers()
        except RuntimeError as error:
            if not any(name in str(error) for name in ("gloo", "NCCL")):
                raise
            raise TrainingError(
                "another process ended, and this one cannot go on without it: what that one said "
                "tells why. torchrun --max-restarts 3 starts all again, and they go on from the last "
                "checkpoint"
            ) from None


@contextmanager
def group(backend: str, **where: Any) -> Iterator[None]:
    """torch's process group, of which nothing is left afterwards; ``where`` as torch takes it.

    A thread of a group that is there while Python ends may abort the process.
    """
    # Imported later on, as optimisers do, it would hold the group in its functions' defaults.
    import torch.distributed.nn.functional  # noqa: F401

    dist.init_process_group(backend, **where)
    try:
        yield
    finally:
        if "isthmus.nn.sharded" in sys.modules:
            sys.modules["isthmus.nn.sharded"].let_go()
            gc.collect()  # models and their meshes hold each other
        dist.destroy_process_group()  # others that still wait for this process are told so


def _attempt() -> str:
    """What sets this meeting apart from those before it, of processes that are dead by now.

    They met in the same store, if it is torchrun's own (pytorch#135712), whose count of attempts is
    the same for all on one machine alone.
    """
    known = os.environ
    if known.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return "the first"
    several = known["WORLD_SIZE"] != known.get("LOCAL_WORLD_SIZE")
    if several and known.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0":
        raise ConfigError(
            "processes that torchrun starts again on several machines would not find each other; set "
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 for torchrun on each machine, or --max-restarts 0"
        )
    return f"attempt {known.get('TORCHELASTIC_RESTART_COUNT', 0)}"
