"""A run that several processes train together: one of them writes it, and all are told the same."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from isthmus import distributed
from isthmus.config import RunConfig
from isthmus.errors import ConfigError
from isthmus.schema import Schema
from isthmus.store import DataRef, Run, Store
from isthmus.store.manifest import differences
from isthmus.store.run import FollowedRun


def refuse(config: RunConfig, data: DataRef) -> None:
    """Raise ConfigError, in all processes, if several cannot train this run, or were told other things."""
    if not distributed.peers().together:
        return
    if config.scope == "isolated" or config.is_reference:
        what = (
            "models of single domains are trained" if not config.is_reference else "trees are grown"
        )
        raise ConfigError(f"{what} by processes of their own: start this run without torchrun")
    if config.train.shard_embeddings:
        _refuse_sharded(config)
    told = {"name": config.name, "config": config.identity(), "data": data.model_dump()}
    first, *others = distributed.everyones(told)
    for rank, other in enumerate(others, 1):
        if other != first:
            raise ConfigError(
                f"process {rank} was told to train something else than process 0: "
                f"{differences(first, other)}; start all with the same file, --set and data"
            )


def _refuse_sharded(config: RunConfig) -> None:
    found = {
        "scope = 'mamdr'": config.scope == "mamdr",
        "train.compile": config.train.compile,
        f"train.device = {config.train.device!r}": config.train.device != "cpu",
    }
    for what, there in found.items():
        if there:
            raise ConfigError(
                f"train.shard_embeddings does not go with {what} in several processes yet; leave one "
                "of them out"
            )


def begun(
    store: Store, name: str, identity: Mapping[str, Any], schema: Schema, data: DataRef
) -> Run:
    """The run, as ``Store.create`` makes it; but for the first of several processes one to follow."""
    kept = distributed.from_first(lambda: store.create(name, identity, schema, data))
    return kept if distributed.peers().leads else FollowedRun(store.root / name, kept.manifest)


def ended(kept: Run) -> Run:
    """The run that was trained, in all processes; they wait until it is written."""
    manifest = distributed.from_first(lambda: kept.manifest)
    return kept if distributed.peers().leads else Run(kept.path, manifest)


@contextmanager
def held(kept: Run) -> Iterator[bool]:
    """Be its only writers; whether it is finished, by others, while these waited."""
    with ExitStack() as stack:
        distributed.from_first(lambda: stack.enter_context(kept.lock()))
        missing = [
            rank
            for rank, there in enumerate(distributed.everyones(kept.path.exists()))
            if not there
        ]
        if missing:
            raise ConfigError(
                f"process {missing[0]} does not see {kept.path}, which process 0 made: give --runs a "
                "folder that all machines share"
            )
        yield distributed.from_first(lambda: kept.finished)
