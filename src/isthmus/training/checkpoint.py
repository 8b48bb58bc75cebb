"""Checkpoints: a directory each, whole or absent, checksummed, and never pickle.

At the end of an epoch::

    epoch-0003/model.safetensors       weights and buffers at the end of the epoch
               optimizer.safetensors   the tensors of the optimiser's state
               best.safetensors        the best epoch's weights; absent where that is this epoch
               state.json              scores, losses, and how the tensors above nest
               manifest.json           the SHA-256 of each of these, and of itself; written last

In the middle of the fourth it is ``epoch-0003-step-00000500``, which has the weights after so many
steps, and ``partial.safetensors``: sums of losses, masks before the epoch, states of generators.

Rows of tables that are sharded over processes are in files of their own: see ``sharded_rows``.

Two runs that did the same hold the same bytes: there is no time, path or machine in them.
"""

import json
import re
from pathlib import Path
from typing import Any

from isthmus import distributed
from isthmus.data.feed import Place
from isthmus.errors import IntegrityError, IsthmusError, MismatchError, TrainingError
from isthmus.files import (
    Digest,
    StorageError,
    canonical,
    digest_of,
    directory_atomically,
    read_sealed,
    read_verified,
    remove,
    sealed,
    sweep,
)
from isthmus.progress import Reporter, quiet
from isthmus.training import sharded_rows
from isthmus.training.state import Partial, TrainingState
from isthmus.training.tensors import Json, flatten, pack, restore, same_bits, unpack

FORMAT = "isthmus-checkpoint"
VERSION, WITH_ROWS = 1, 2
_NAME = re.compile(r"epoch-(\d{4,})(?:-step-(\d{8,}))?")
_MEND = "Delete this checkpoint's directory; training then goes on from the one before it."


def save(state: TrainingState, directory: Path | str, *, keep: int = 2) -> Path:
    """Write the checkpoint of ``state``, then delete all but the newest ``keep``.

    Of several processes the first one writes. The caller holds the run's lock. What killed writers left behind is swept away. Raises
    TrainingError, with the checkpoints so far intact, when the disk is full.
    """
    assert keep >= 1, "a checkpoint that is deleted at once protects nothing"
    directory = Path(directory)
    here = state.epochs, state.partial.step if state.partial else 0
    final = directory / _name(*here)
    try:
        state, rows = sharded_rows.stage(state, directory)
        if not distributed.peers().leads:
            return final
        sweep(directory)
        with directory_atomically(final) as temporary:
            rows.move(temporary)
            for name, content in _contents(state, rows).items():
                (temporary / name).write_bytes(content)
    except StorageError as error:
        raise TrainingError(
            f"the checkpoint of {_told(*here)} could not be kept. {error} "
            "Training then goes on from the last checkpoint."
        ) from error
    there = _all(directory)
    # later ones are of an attempt that was damaged, and given up for an earlier one
    newest = sorted(place for place in there if place <= here)[-keep:]
    for place in set(there) - set(newest):
        remove(there[place])
    return final


def _name(epochs: int, step: int) -> str:
    return f"epoch-{epochs:04d}" + (f"-step-{step:08d}" if step else "")


def _told(epochs: int, step: int) -> str:
    return f"step {step} of epoch {epochs + 1}" if step else f"epoch {epochs}"


def _contents(state: TrainingState, rows: sharded_rows.Staged) -> dict[str, bytes]:
    nested: dict[str, Any] = {"model": state.model, "optimizer": state.optimizer}
    if not same_bits(state.best, state.model):
        nested["best"] = state.best
    if state.partial:
        nested["partial"] = {**vars(state.partial), "place": vars(state.partial.place)}
    tree: dict[str, Json] = {
        "scores": flatten(state.scores)[0],
        "losses": flatten(state.losses)[0],
    }
    files = dict(rows.index)
    for name, value in nested.items():
        tree[name], tensors = flatten(value)
        files[f"{name}.safetensors"] = pack(tensors)
    files["state.json"] = canonical(tree)
    digests = {name: digest_of(content) for name, content in files.items()} | rows.digests
    manifest = {
        "format": FORMAT,
        "version": WITH_ROWS if rows.index else VERSION,
        "epoch": state.epochs,
        **({"step": state.partial.step} if state.partial else {}),
        "files": {name: digest.model_dump() for name, digest in digests.items()},
    }
    return {**files, "manifest.json": sealed(manifest)}


def checkpoints(directory: Path | str) -> dict[int, Path]:
    """The checkpoints of ends of epochs that there are, good or damaged, by their epoch."""
    return {epochs: path for (epochs, step), path in _all(directory).items() if not step}


def _all(directory: Path | str) -> dict[tuple[int, int], Path]:
    """All that there are, by completed epochs and steps of the next one."""
    named = {path: _NAME.fullmatch(path.name) for path in Path(directory).glob("epoch-*")}
    return {(int(m[1]), int(m[2] or 0)): path for path, m in named.items() if m}


def latest(directory: Path | str, *, reporter: Reporter = quiet) -> TrainingState | None:
    """The state to go on from: the newest checkpoint that is whole; None where there is none.

    Damaged ones are passed over, and ``reporter`` is told which and why; and of a step within an
    epoch, that it is one. Raises IntegrityError if
    all are damaged: rather stop at a failing disk than train for nothing again. Raises
    MismatchError for checkpoints of another version of the format.
    """
    damaged: list[str] = []
    for place, path in sorted(_all(directory).items(), reverse=True):
        try:
            state = load(path)
        except IntegrityError as error:
            damaged.append(str(error))
            continue
        if damaged or state.partial:
            why = f": {' '.join(damaged)}" if damaged else ""
            reporter.note(f"Going on from {_told(*place)}{why}")
        return state
    if damaged:
        raise IntegrityError(
            f"no checkpoint in {directory} can be used: {' '.join(damaged)} "
            f"To train from the start, delete {directory}."
        )
    return None


def load(path: Path | str) -> TrainingState:
    """Read one checkpoint, each byte of it checked.

    Where it has rows of sharded tables, several processes read it together, each its share.

    Raises IntegrityError, naming the file, for what is damaged; MismatchError for another format.
    """
    path = Path(path)
    manifest = read_sealed(path / "manifest.json", _MEND)
    found = manifest.get("format"), manifest.get("version")
    if found not in [(FORMAT, VERSION), (FORMAT, WITH_ROWS)]:
        raise MismatchError(
            f"{path} is written in format {found[0]} version {found[1]}; this library reads "
            f"{FORMAT} up to version {WITH_ROWS}. Use the library that wrote it, or delete the "
            "directory."
        )
    try:
        state = _state(path, {k: Digest.model_validate(v) for k, v in manifest["files"].items()})
        step = state.partial.step if state.partial else 0
        names = {path.name, _name(state.epochs, step)}
        names.add(_name(manifest["epoch"], manifest.get("step", 0)))
        if len(names) > 1:
            raise ValueError(f"it claims to be {' and '.join(sorted(names))} at once")
    except IsthmusError:
        raise
    except (LookupError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise IntegrityError(f"{path} is damaged: {error}. {_MEND}") from None
    return state


def _state(path: Path, files: dict[str, Digest]) -> TrainingState:
    whole = {name: known for name, known in files.items() if not sharded_rows.is_rows(name)}
    content = {name: read_verified(path, name, known, _MEND) for name, known in whole.items()}
    tree = json.loads(content["state.json"])
    values = {name: restore(tree[name], {}) for name in ("scores", "losses")}
    for name in ("model", "optimizer", "best", "partial"):
        if name in tree:
            values[name] = restore(tree[name], unpack(content[f"{name}.safetensors"]))
    values.setdefault("best", values["model"])
    if "partial" in values:
        noted = values["partial"]
        values["partial"] = Partial(**{**noted, "place": Place(**noted["place"])})
    return sharded_rows.put_back(TrainingState(**values), path, files, _MEND)
