"""Checkpoints: a directory an epoch, whole or absent, checksummed, and never pickle.

::

    epoch-0003/model.safetensors       weights and buffers at the end of the epoch
               optimizer.safetensors   the tensors of the optimiser's state
               best.safetensors        the best epoch's weights; absent where that is this epoch
               state.json              scores, losses, and how the tensors above nest
               manifest.json           the SHA-256 of each of these, and of itself; written last

Two runs that did the same hold the same bytes: there is no time, path or machine in them.
"""

import json
import re
from pathlib import Path

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
from isthmus.training.state import TrainingState
from isthmus.training.tensors import Json, flatten, pack, restore, same_bits, unpack

FORMAT = "isthmus-checkpoint"
VERSION = 1
_MEND = "Delete this checkpoint's directory; training then goes on from the one before it."


def save(state: TrainingState, directory: Path | str, *, keep: int = 2) -> Path:
    """Write the checkpoint of ``state``'s last epoch, then delete all but the newest ``keep``.

    The caller holds the run's lock. What killed writers left behind is swept away. Raises
    TrainingError, with the checkpoints so far intact, when the disk is full.
    """
    assert keep >= 1, "a checkpoint that is deleted at once protects nothing"
    directory = Path(directory)
    final = directory / f"epoch-{state.epochs:04d}"
    try:
        sweep(directory)
        with directory_atomically(final) as temporary:
            for name, content in _contents(state).items():
                (temporary / name).write_bytes(content)
    except StorageError as error:
        raise TrainingError(
            f"the checkpoint of epoch {state.epochs} could not be kept. {error} "
            "Training then goes on from the last checkpoint."
        ) from error
    numbers = checkpoints(directory)
    # later ones are of an attempt that was damaged, and given up for an earlier epoch
    newest = sorted(number for number in numbers if number <= state.epochs)[-keep:]
    for number in set(numbers) - set(newest):
        remove(numbers[number])
    return final


def _contents(state: TrainingState) -> dict[str, bytes]:
    nested = {"model": state.model, "optimizer": state.optimizer, "best": state.best}
    if same_bits(state.best, state.model):
        del nested["best"]
    tree: dict[str, Json] = {
        "scores": flatten(state.scores)[0],
        "losses": flatten(state.losses)[0],
    }
    files = {}
    for name, value in nested.items():
        tree[name], tensors = flatten(value)
        files[f"{name}.safetensors"] = pack(tensors)
    files["state.json"] = canonical(tree)
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "epoch": state.epochs,
        "files": {name: digest_of(content).model_dump() for name, content in files.items()},
    }
    return {**files, "manifest.json": sealed(manifest)}


def checkpoints(directory: Path | str) -> dict[int, Path]:
    """The checkpoints that there are, good or damaged, by their epoch."""
    return {
        int(path.name[6:]): path
        for path in Path(directory).glob("epoch-*")
        if re.fullmatch(r"epoch-\d{4,}", path.name)
    }


def latest(directory: Path | str, *, reporter: Reporter = quiet) -> TrainingState | None:
    """The state to go on from: the newest checkpoint that is whole; None where there is none.

    Damaged ones are passed over, and ``reporter`` is told which and why. Raises IntegrityError if
    all are damaged: rather stop at a failing disk than train for nothing again. Raises
    MismatchError for checkpoints of another version of the format.
    """
    damaged: list[str] = []
    for number, path in sorted(checkpoints(directory).items(), reverse=True):
        try:
            state = load(path)
        except IntegrityError as error:
            damaged.append(str(error))
            continue
        if damaged:
            reporter.note(f"Going on from epoch {number}: {' '.join(damaged)}")
        return state
    if damaged:
        raise IntegrityError(
            f"no checkpoint in {directory} can be used: {' '.join(damaged)} "
            f"To train from the start, delete {directory}."
        )
    return None


def load(path: Path | str) -> TrainingState:
    """Read one checkpoint, each byte of it checked.

    Raises IntegrityError, naming the file, for what is damaged; MismatchError for another format.
    """
    path = Path(path)
    manifest = read_sealed(path / "manifest.json", _MEND)
    found = manifest.get("format"), manifest.get("version")
    if found != (FORMAT, VERSION):
        raise MismatchError(
            f"{path} is written in format {found[0]} version {found[1]}; this library reads "
            f"{FORMAT} version {VERSION}. Use the library that wrote it, or delete the directory."
        )
    try:
        state = _state(path, {k: Digest.model_validate(v) for k, v in manifest["files"].items()})
        epochs = {manifest["epoch"], state.epochs, int(path.name.removeprefix("epoch-"))}
        if len(epochs) > 1:
            raise ValueError(f"it claims to be of the epochs {sorted(epochs)} at once")
    except IsthmusError:
        raise
    except (LookupError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise IntegrityError(f"{path} is damaged: {error}. {_MEND}") from None
    return state


def _state(path: Path, files: dict[str, Digest]) -> TrainingState:
    content = {name: read_verified(path, name, known, _MEND) for name, known in files.items()}
    tree = json.loads(content["state.json"])
    values = {name: restore(tree[name], {}) for name in ("scores", "losses")}
    for name in ("model", "optimizer", "best"):
        if name in tree:
            values[name] = restore(tree[name], unpack(content[f"{name}.safetensors"]))
    values.setdefault("best", values["model"])
    return TrainingState(**values)
