"""One training run on disk."""

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus.errors import DataError, IntegrityError, MismatchError
from isthmus.evaluation.predictions import Predictions
from isthmus.evaluation.rank_metrics import RankMetrics
from isthmus.evaluation.ranks import Ranks
from isthmus.evaluation.types import Metrics
from isthmus.files import (
    Digest,
    atomically,
    canonical,
    digest,
    explained,
    locked,
    read_verified,
    remove,
    sweep,
    verify,
    write_sealed,
)
from isthmus.schema import Schema
from isthmus.store.manifest import MANIFEST, MEND, DataRef, RunManifest, differences, read

if TYPE_CHECKING:  # torch is for those who ask for tensors
    from torch import Tensor

    from isthmus.training.state import TrainingState

_MODEL = "model.safetensors"
_METRICS = "metrics.json"


class Run:
    """One training run: its directory and what its manifest says. Made by ``Store``, or ``Run.open``.

    Who writes holds ``lock()`` meanwhile. What is read is checked against its hash.
    """

    def __init__(self, path: Path, manifest: RunManifest) -> None:
        self.path = path
        self.manifest = manifest
        self._cpu = _cpu()

    @classmethod
    def open(cls, path: Path | str, *, schema: Schema | None = None, check: bool = True) -> "Run":
        """Open the run in the directory ``path``, and check the hash of every file of it.

        Raises DataError if there is no run, IntegrityError if a file is not what it was,
        MismatchError if the run is of another format, or of another schema than ``schema``.
        """
        path = Path(path)
        if not (path / MANIFEST).is_file():
            raise DataError(f"{path} is no run: it has no {MANIFEST}; expected a run's directory.")
        run = cls(path, read(path))
        if schema is not None:
            run.require(schema)
        if check:
            verify(path, run.manifest.files, MEND)
        return run

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def config(self) -> dict[str, Any]:
        """The configuration, as plain JSON values."""
        return self.manifest.config

    @property
    def schema(self) -> Schema:
        return self.manifest.features

    @property
    def data(self) -> DataRef:
        return self.manifest.data

    @property
    def finished(self) -> bool:
        return self.manifest.status == "finished"

    @property
    def checkpoints(self) -> Path:
        """The directory for ``training.checkpoint``; it is gone once the run is finished."""
        return self.path / "checkpoints"

    @property
    def report(self) -> Path:
        """Where the report lies, or would lie."""
        return self.path / "report.html"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only writer, and sweep away what a killed one left. LockedError names another.

        The manifest is read anew: ask ``finished`` inside, since another trainer may have been it.
        """
        with locked(self.path):
            for directory in (
                self.path,
                self.path / "predictions",
                self.path / "ranks",
                self.checkpoints,
            ):
                sweep(directory)
            self.manifest = read(self.path)
            self._cpu = _cpu()
            yield

    def require(self, schema: Schema, data: DataRef | None = None) -> None:
        """Raise MismatchError, saying what differs, unless the run is of this schema (and data).

        A run whose domains were changed is of its data's schema as well as of its own.
        """
        if schema == self.manifest.data_schema:
            schema = self.schema
        ours, theirs = (s.model_dump(mode="json") for s in (self.schema, schema))
        if ours != theirs:
            raise MismatchError(
                f"run {self.name!r} was trained under another schema than the one given: "
                f"{differences(ours, theirs)}. Prepare the data as the run's was "
                f"({self.data.name!r}), or train again."
            )
        if data is not None and data != self.data:
            raise MismatchError(
                f"run {self.name!r} is of the data {self.data.name!r} ({self.data.digest[:12]}…), "
                f"not of {data.name!r} ({data.digest[:12]}…). Use that data, or another run name."
            )

    # --- artefacts

    @contextmanager
    def artefact(self, name: str) -> Iterator[Path]:
        """Yield a path to write to; it becomes the file ``name`` of the run, its hash recorded."""
        with atomically(self.path / name) as temporary:
            yield temporary
        self._record(files={name: digest(self.path / name)})

    def read(self, name: str) -> bytes:
        """The content of the file ``name`` of the run. Raises DataError if the run has none."""
        return self._content(name)

    def save_predictions(self, split: str, predictions: Predictions) -> None:
        """Keep the scores of a split."""
        with self.artefact(_predictions(split)) as path:
            predictions.write(path)
        self.log(scored=split, rows=len(predictions))

    def predictions(self, split: str) -> Predictions:
        """The scores of a split. Raises DataError if the run has none."""
        name = _predictions(split)
        verify(self.path, {name: self._known(name)}, MEND)
        return Predictions.read(self.path / name)

    def comparable(self, split: str) -> Predictions:
        """The scores of a split, domains called as the data calls them, whatever came or went since.

        Ids of domains never change, so that runs of one data set compare. Rows of domains that the
        data has not, as those of the split "added", keep the run's own names.
        """
        found, names = self.predictions(split), self.manifest.data_schema.domains
        of_data = int(found.domain.max(initial=0)) <= len(names)
        return replace(found, domains=names) if self.manifest.lineage and of_data else found

    @property
    def of_items(self) -> bool:
        """Whether the run is a retriever's: it has ranks of items, and no scores."""
        return any(name.startswith("ranks/") for name in self.manifest.files)

    def save_ranks(self, split: str, ranks: Ranks) -> None:
        """Keep where the items of a split stood."""
        with self.artefact(_ranks(split)) as path:
            ranks.write(path)
        self.log(scored=split, rows=len(ranks))

    def ranks(self, split: str) -> Ranks:
        """Where the items of a split stood. Raises DataError if the run has none."""
        name = _ranks(split)
        verify(self.path, {name: self._known(name)}, MEND)
        return Ranks.read(self.path / name)

    def finish(
        self, state: "TrainingState", metrics: Mapping[str, Metrics] | Mapping[str, RankMetrics]
    ) -> None:
        """Keep the best weights, the course of training and the metrics by split: the run is done.

        The status is written last; a run killed before that resumes, and comes here again. Then
        the checkpoints are deleted. Raises StorageError where the disk is full.
        """
        from isthmus.training.streamed import write

        with self.artefact(_MODEL) as path:
            write(path, state.best)
        plain = {split: values.model_dump(mode="json") for split, values in metrics.items()}
        with self.artefact(_METRICS) as path:
            path.write_text(json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        self._record(
            status="finished", scores=tuple(state.scores), losses=tuple(map(dict, state.losses))
        )
        self.log(finished=True)
        if self.checkpoints.exists():
            remove(self.checkpoints)

    @property
    def metrics(self) -> dict[str, Metrics]:
        """Metrics by split. Raises DataError for a run that is not finished, or is a retriever's."""
        if self.of_items:
            raise DataError(
                f"run {self.name!r} is a retriever's: it has ranks of items, and no AUC"
            )
        values = json.loads(self._content(_METRICS))
        return {split: Metrics.model_validate(value) for split, value in values.items()}

    @property
    def rank_metrics(self) -> dict[str, RankMetrics]:
        """Of a retriever, metrics by split. Raises DataError for what is none, or not finished."""
        if not self.of_items:
            raise DataError(
                f"run {self.name!r} has no ranks of items: it is a ranker's, or unfinished"
            )
        values = json.loads(self._content(_METRICS))
        return {split: RankMetrics.model_validate(value) for split, value in values.items()}

    def model_state(self) -> "dict[str, Tensor]":
        """The best epoch's weights and buffers, for ``load_state_dict``; imports torch."""
        from isthmus.training.tensors import unpack

        content = self._content(_MODEL)
        try:
            return unpack(content)
        except ValueError as error:
            raise IntegrityError(f"{self.path / _MODEL} is damaged: {error}. {MEND}") from None

    def _known(self, name: str) -> Digest:
        if name not in self.manifest.files:
            state = "finished" if self.finished else "still in training, or was interrupted"
            raise DataError(
                f"run {self.name!r} ({state}) has no {name}; "
                f"it has: {', '.join(self.manifest.files) or 'no files yet'}."
            )
        return self.manifest.files[name]

    def _content(self, name: str) -> bytes:
        return read_verified(self.path, name, self._known(name), MEND)

    def _record(self, *, files: Mapping[str, Digest] | None = None, **changes: object) -> None:
        known = dict(sorted({**self.manifest.files, **(files or {})}.items()))
        self.manifest = self.manifest.model_copy(update={**changes, "files": known})
        write_sealed(self.path / MANIFEST, self.manifest.model_dump(mode="json"))

    # --- log

    def log(self, **entry: object) -> None:
        """Append a line to ``log.jsonl``. Not part of what a run is hashed by.

        Each has the time of day, and ``cpu``: seconds of CPU since the line before, of this process
        and of those that it let work and that have ended.
        """
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        before, self._cpu = self._cpu, _cpu()
        entry = {"at": at, "cpu": round(self._cpu - before, 3), **entry}
        path = self.path / "log.jsonl"
        with explained(path), path.open("a+b") as file:
            size = file.tell()
            file.seek(max(size - 1, 0))
            torn = b"\n" if file.read() not in (b"", b"\n") else b""  # by a kill in mid-line
            file.write(torn + canonical(entry) + b"\n")

    @property
    def cpu_seconds(self) -> float:
        """What the run has cost so far, over all processes that worked on it one after the other.

        Lost is what a killed one did after its last line of the log.
        """
        return float(sum(entry.get("cpu", 0.0) for entry in self.entries()))

    def entries(self) -> list[dict[str, Any]]:
        """The log, oldest first, without lines that a killed process left torn.

        A run that was killed and resumed may have logged an epoch twice.
        """
        path = self.path / "log.jsonl"
        found = []
        for line in path.read_bytes().splitlines() if path.exists() else []:
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found


class FollowedRun(Run):
    """A run that another process writes, which trains it together with this one: it writes nothing."""

    def log(self, **entry: object) -> None:
        pass

    def save_predictions(self, split: str, predictions: Predictions) -> None:
        pass

    def save_ranks(self, split: str, ranks: Ranks) -> None:
        pass

    def finish(self, state: "TrainingState", *_: object) -> None:
        from isthmus.training.streamed import give

        give(state.best)


def _cpu() -> float:
    """Seconds of CPU of this process, and of its children that have ended."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def _predictions(split: str) -> str:
    return f"predictions/{_one_word(split)}.parquet"


def _ranks(split: str) -> str:
    return f"ranks/{_one_word(split)}.parquet"


def _one_word(split: str) -> str:
    if not re.fullmatch(r"\w+", split):
        raise DataError(f"split {split!r}: expected one word, such as valid or test")
    return split
