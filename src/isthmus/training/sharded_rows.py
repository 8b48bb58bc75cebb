"""Rows of sharded tables in checkpoints: each process writes its own, any number of them reads all.

Beside the files of every checkpoint, which lack the tensors that are sharded::

    epoch-0003/rows-0000.safetensors   rows that the first process held, of each such tensor
               rows-0001.safetensors   those of the second
               rows.json               where in the state each tensor belongs; where each file's begin

The next training may have another number of processes: each reads the rows that it will hold, from
the one, two or more files that have some of them; a process that is alone reads whole tensors.

torch.distributed.checkpoint is not used, though the tensors are its ``DTensor``: its ``.metadata`` is
a pickle; its safetensors writer needs none, but orders a file's header by chance, so that two runs
that did the same would hold other bytes, and knows no checksums. What remains of it, to find the
rows that two ranges have in common, is one line.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from isthmus import distributed
from isthmus.distributed import Peers, is_sharded
from isthmus.files import (
    Digest,
    canonical,
    digest,
    explained,
    make_directory,
    read_verified,
    sync_file,
    verify,
)
from isthmus.nn.embedding import own_rows, share_of
from isthmus.training.state import TrainingState
from isthmus.training.streamed import write
from isthmus.training.tensors import same_bits

INDEX = "rows.json"
_PARTS = ("model", "optimizer", "best")
_STAGE = (
    "rows"  # a directory among the checkpoints, where all processes write before the first moves
)
Place = tuple[str | int, ...]
"""Where in a state a tensor is: the attribute, then keys of dicts."""


def is_rows(name: str) -> bool:
    """Whether a file of a checkpoint holds rows."""
    return name.startswith("rows-")


@dataclass(frozen=True, slots=True)
class Staged:
    """Files that wait to become part of a checkpoint, and its index of them; none, most often."""

    directory: Path = Path()
    digests: dict[str, Digest] = field(default_factory=dict)
    index: dict[str, bytes] = field(default_factory=dict)

    def move(self, checkpoint: Path) -> None:
        """Into the directory of the checkpoint."""
        for name in self.digests:
            (self.directory / name).rename(checkpoint / name)
        if self.digests:
            self.directory.rmdir()


def stage(state: TrainingState, directory: Path) -> tuple[TrainingState, Staged]:
    """Write what is sharded, each process its rows; the state without it, and what was written.

    All processes call it. Raises StorageError, in all of them, where one could not write.
    """
    found = dict(_sharded(state))
    if not found:
        return state, Staged()
    best_as_model = all(distributed.everyones(same_bits(_own(state.best), _own(state.model))))
    kept = {p: t for p, t in found.items() if not (best_as_model and p[0] == "best")}
    here, stage = distributed.peers(), directory / _STAGE
    distributed.from_first(lambda: _empty(stage))
    digests = distributed.each(lambda: _written(stage / _file(here.rank), kept))
    files = [_file(rank) for rank in range(here.size)]
    index = {
        "files": files,
        "best_as_model": best_as_model,
        "tensors": [_entry(place, tensor, here.size) for place, tensor in kept.items()],
    }
    moved = dict(zip(files, digests, strict=True))
    return _replaced(state, _without), Staged(stage, moved, {INDEX: canonical(index)})


def put_back(
    state: TrainingState, path: Path, files: Mapping[str, Digest], mend: str
) -> TrainingState:
    """The state of the checkpoint in ``path``, with the rows that this process will hold, or all.

    All processes call it, and none goes on where one found damage: IntegrityError, in all.
    """
    if INDEX not in files:
        return state
    index = json.loads(read_verified(path, INDEX, files[INDEX], mend))
    here = distributed.peers()

    def read() -> dict[Place, Tensor]:
        needed = {
            name for e in index["tensors"] for name, _, _ in _sources(e, index["files"], here)
        }
        verify(path, {name: files[name] for name in sorted(needed)}, mend)
        return {tuple(e["place"]): _rows(path, e, index["files"], here) for e in index["tensors"]}

    found: dict[Place, Tensor] = {}
    distributed.each(lambda: found.update(read()))
    if here.together:
        from isthmus.nn.sharded import all_processes, sharded

        mesh, shapes = all_processes(), {tuple(e["place"]): e["shape"] for e in index["tensors"]}
        found = {place: sharded(rows, shapes[place], mesh) for place, rows in found.items()}
    if index["best_as_model"]:
        found |= {("best", *p[1:]): tensor for p, tensor in found.items() if p[0] == "model"}
    return _replaced(state, lambda value, name: _with(value, found, (name,)))


def _sharded(state: TrainingState) -> Iterator[tuple[Place, Tensor]]:
    for name in _PARTS:
        yield from _walk(getattr(state, name), (name,))


def _walk(value: Any, place: Place) -> Iterator[tuple[Place, Tensor]]:
    if isinstance(value, Tensor) and is_sharded(value):
        yield place, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _walk(inner, (*place, key))


def _replaced(state: TrainingState, change: Callable[[Any, str], Any]) -> TrainingState:
    return replace(state, **{name: change(getattr(state, name), name) for name in _PARTS})


def _without(value: Any, _: str) -> Any:
    if not isinstance(value, dict):
        return value
    kept = {k: v for k, v in value.items() if not isinstance(v, Tensor) or not is_sharded(v)}
    return {key: _without(inner, key) for key, inner in kept.items()}


def _with(value: Any, found: Mapping[Place, Tensor], here: Place) -> Any:
    if not isinstance(value, dict):
        return value
    added = {place[-1]: tensor for place, tensor in found.items() if place[:-1] == here}
    return {key: _with(inner, found, (*here, key)) for key, inner in value.items()} | added


def _own(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: own_rows(tensor)[0] for name, tensor in tensors.items()}


# --- files


def _file(rank: int) -> str:
    return f"rows-{rank:04d}.safetensors"


def _name(place: Iterable[str | int]) -> str:
    return "/".join(map(str, place))


def _empty(stage: Path) -> None:
    with explained(stage):
        shutil.rmtree(stage, ignore_errors=True)  # of a killed writer
        make_directory(stage)


def _written(file: Path, tensors: Mapping[Place, Tensor]) -> Digest:
    with explained(file):
        write(file, {_name(place): own_rows(tensor)[0] for place, tensor in tensors.items()})
        sync_file(file)
    return digest(file)


def _entry(place: Place, tensor: Tensor, processes: int) -> dict[str, object]:
    """What the index says of a tensor, with the first row of each file, and the one after its last."""
    ranges = [share_of(len(tensor), rank, processes) for rank in range(processes)]
    dtype = str(tensor.dtype).removeprefix("torch.")
    rows = [[one.start, one.stop] for one in ranges]
    return {"place": place, "shape": list(tensor.shape), "dtype": dtype, "rows": rows}


def _sources(
    entry: Mapping[str, Any], files: Sequence[str], here: Peers
) -> Iterator[tuple[str, range, int]]:
    """The files with rows that this process will hold, which rows these are, and the file's first."""
    own = share_of(entry["shape"][0], here.rank, here.size)
    for name, (first, end) in zip(files, entry["rows"], strict=True):
        common = range(max(own.start, first), min(own.stop, end))
        if common:
            yield name, common, first


def _rows(path: Path, entry: Mapping[str, Any], files: Sequence[str], here: Peers) -> Tensor:
    own = share_of(entry["shape"][0], here.rank, here.size)
    rows = torch.empty(len(own), *entry["shape"][1:], dtype=getattr(torch, entry["dtype"]))
    for name, common, first in _sources(entry, files, here):
        with safe_open(path / name, framework="pt") as file:
            part = file.get_slice(_name(entry["place"]))[common.start - first : common.stop - first]
            rows[common.start - own.start : common.stop - own.start] = part
    return rows
