"""Runs on disk: directories with a manifest and checksums, no database.

::

    STORE/NAME/run.json                    configuration, schema, data, status, hashes; sealed
               model.safetensors           the best epoch's weights and buffers
               lightgbm.txt                the trees, where the reference of that name was run
               predictions/SPLIT.parquet   one row a scored row: what every metric is made from
               ranks/SPLIT.parquet         of a retriever: one row an event, in place of these
               metrics.json                metrics by split
               checkpoints/                while training only
               log.jsonl                   what happened when: the one file with times in it
               report.html

Two equal runs have equal bytes in all but ``log.jsonl`` and the lock.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isthmus.errors import ConfigError, DataError
from isthmus.files import canonical, locked, verify, write_sealed
from isthmus.schema import Schema
from isthmus.store.manifest import MANIFEST, MEND, Change, DataRef, RunManifest, differences
from isthmus.store.run import Run

__all__ = ["Change", "DataRef", "Run", "RunManifest", "Store", "refuse_name"]


class Store:
    """A directory of runs."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def names(self) -> list[str]:
        """The runs that there are, sorted."""
        return sorted(path.parent.name for path in self.root.glob(f"*/{MANIFEST}"))

    def run(self, name: str, *, schema: Schema | None = None, check: bool = True) -> Run:
        """Open a run, as ``Run.open`` does; DataError lists the names where this one is missing."""
        if name not in self.names():
            there = ", ".join(self.names()) or "none yet"
            raise DataError(f"{self.root} has no run {name!r}; it has: {there}.")
        return Run.open(self.root / name, schema=schema, check=check)

    def create(self, name: str, config: Mapping[str, Any], schema: Schema, data: DataRef) -> Run:
        """The run of this name: a new one, or the one that was begun with the same configuration.

        That one may be ``finished``; if not, train on from its last checkpoint. ``config`` must
        hold all that decides the result, and only that: what differs is a refusal. Raises
        ConfigError if the name is taken by another configuration, MismatchError if by other data.
        """
        manifest = RunManifest(
            name=name, config=json.loads(canonical(config)), features=schema, data=data
        )
        return self._begun(manifest)

    def derive(self, name: str, parent: Run, schema: Schema, change: Change) -> Run:
        """The run of this name that ``change`` makes of ``parent``, under another schema.

        As ``create``: one that was begun by the same change is returned. Raises ConfigError if the
        name is taken by another run.
        """
        before = parent.manifest
        manifest = RunManifest(
            name=name,
            config=before.config,
            features=schema,
            data=before.data,
            lineage=(*before.lineage, change),
            data_domains=before.data_schema.domains,
        )
        return self._begun(manifest)

    def _begun(self, manifest: RunManifest) -> Run:
        name, schema, data = manifest.name, manifest.features, manifest.data
        refuse_name(name)
        path = self.root / name
        if not (path / MANIFEST).exists():
            _refuse_strangers(path)
            with locked(path):
                if not (path / MANIFEST).exists():  # or somebody else was quicker
                    write_sealed(path / MANIFEST, manifest.model_dump(mode="json"))
        run = Run.open(path, check=False)  # what an unfinished one has will be written again
        if run.config != manifest.config:
            raise ConfigError(
                f"the run {path} exists with another configuration: "
                f"{differences(run.config, manifest.config)}. Choose another name, "
                "set these back to train on, or delete the run."
            )
        if run.manifest.lineage != manifest.lineage:
            raise ConfigError(
                f"the run {path} exists, and its domains came about otherwise: choose another name, or "
                "delete the run."
            )
        run.require(schema, data)
        if run.finished:
            verify(path, run.manifest.files, MEND)
        return run


def refuse_name(name: str) -> None:
    """Raise ConfigError unless a run can have this name."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ConfigError(
            f"run name {name!r}: expected letters, digits, '.', '_' and '-', "
            "starting with a letter or digit, at most 100."
        )


def _refuse_strangers(path: Path) -> None:
    """Raise ConfigError if the directory for a new run holds something."""
    there = [p.name for p in path.iterdir()] if path.is_dir() else []
    if strangers := sorted(name for name in there if not name.startswith(".")):
        raise ConfigError(
            f"{path} is no run, and not empty: it holds {', '.join(strangers[:5])}. "
            "Choose another name or directory."
        )
