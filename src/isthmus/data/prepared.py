"""A prepared data set on disk: its manifest, and reading it without doubt about its bytes."""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, ValidationError

from isthmus.batch import Histories, Impressions
from isthmus.data.config import AnyConfig, PrepareConfig
from isthmus.data.encoding import bins_of, known_ids, listed_ids, one_column
from isthmus.data.interactions import Rejected
from isthmus.data.leaks import Finding
from isthmus.data.sequence_config import SequenceConfig
from isthmus.data.sequences import Sequences, Windows
from isthmus.data.split import SPLITS
from isthmus.data.values import canonical_text
from isthmus.data.vocabulary import vocabulary_file
from isthmus.errors import DataError, IntegrityError, MismatchError
from isthmus.schema import Feature, Frozen, Schema

FORMAT: Final = "isthmus-prepared"
VERSION: Final = 1
MANIFEST = "manifest.json"
EVENTS = "events.parquet"
ITEMS = "item"
"""The file of all events, and the name of the items' vocabulary, of a data set of sequences."""


KEYS = {"row": np.int64, "time": np.int64, "user": np.int64, "domain": np.int32, "label": np.int8}
"""The columns of a split beside its features."""


class Count(Frozen):
    """Rows, and how many of them have label 1."""

    rows: int
    positives: int


class FileRecord(Frozen):
    """What a file must be."""

    sha256: str
    bytes: int


class Manifest(Frozen):
    """All about a prepared data set but its rows.

    ``bins`` holds the edges of each number; ``unknown`` the share of rows with id 0 by feature and
    split (of a history: without any entry).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    format: Literal["isthmus-prepared"] = FORMAT
    version: Literal[1] = VERSION
    isthmus: str
    name: str
    source: str
    protocol: str
    config: AnyConfig
    data_schema: Schema = Field(alias="schema")
    bins: dict[str, tuple[float, ...]]
    splits: dict[str, dict[str, Count]]
    unknown: dict[str, dict[str, float]]
    audit: tuple[Finding, ...]
    rejected: Rejected
    files: dict[str, FileRecord]

    def to_json(self) -> str:
        return self.model_dump_json(by_alias=True, indent=1) + "\n"


class Prepared:
    """A prepared data set.

    Attributes:
        path: its directory.
        manifest: what it is.
        digest: SHA-256 of the manifest, which names the SHA-256 of all else.
    """

    def __init__(self, path: Path, manifest: Manifest, digest: str) -> None:
        self.path = path
        self.manifest = manifest
        self.digest = digest

    @classmethod
    def open(cls, path: Path | str, *, verify: bool = True) -> Self:
        """Open a directory made by ``prepare``; with ``verify`` every file is hashed.

        Raises:
            DataError: there is no prepared data set.
            IntegrityError: a file is changed, truncated or missing, or of an unknown version.
        """
        path = Path(path)
        try:
            raw = (path / MANIFEST).read_bytes()
        except OSError:
            raise DataError(
                f"{path}: no prepared data set there (no {MANIFEST}); make one with isthmus prepare"
            ) from None
        manifest = _parse(path / MANIFEST, raw)
        for name, record in manifest.files.items():
            _check_file(path / name, record, verify)
        return cls(path, manifest, hashlib.sha256(raw).hexdigest())

    def under(self, schema: Schema) -> "Prepared":
        """The same data with the domains of a run, of which some came or went after its training.

        Ids stay what they are: domains may have other names, and more may follow. Rows are encoded
        by the run's names.

        Raises:
            MismatchError: the run's features are others, or it lacks ids that the data has.
        """
        ours, theirs = self.schema, schema.domains
        if schema != ours.model_copy(update={"domains": theirs}) or len(theirs) < ours.num_domains:
            raise MismatchError(
                f"{self.path}: its features and domains are not those that the run was trained on; "
                "give the run's own data"
            )
        manifest = self.manifest.model_copy(update={"data_schema": schema})
        return Prepared(self.path, manifest, self.digest)

    @property
    def schema(self) -> Schema:
        return self.manifest.data_schema

    @property
    def of_events(self) -> bool:
        """Whether it holds sequences of events, for retrievers, and no impressions."""
        return isinstance(self.manifest.config, SequenceConfig)

    @cached_property
    def sequences(self) -> Sequences:
        """All events.

        Raises:
            DataError: it holds impressions.
        """
        if not self.of_events:
            raise DataError(
                f'{self.path}: holds impressions; prepare events with task = "next_item" for '
                f"a model of the next item"
            )
        table = pq.read_table(self.path / EVENTS)
        names = ("row", "time", "user", "domain", "item", "split")
        return Sequences(*(table[name].to_numpy().astype(np.int64) for name in names))

    def windows(
        self,
        split: str,
        *,
        length: int | None = None,
        stride: int = 1,
        least: int = 0,
        own: bool = False,
    ) -> Windows:
        """A row for each event of a split, as histories that are cut when a batch is asked for.

        ``length`` of the histories: that of the preparation, if it is not given. ``stride`` L
        takes every L-th event of a user, from the last one back, and of known items alone: the
        rows to train a model that predicts every place of a history from those before it. With L
        the length, each event but a user's first is predicted once. ``least``: only events with so
        many known ones before them. With ``own`` a history holds the events of the target's domain
        alone, and ``stride`` counts them; rows stand in the same order.
        """
        events = self.sequences.apart() if own else self.sequences
        places = events.chosen(self._code(split), stride, least)
        if own:
            places = places[np.argsort(events.row[places])]
        return events.windows(places, length or self.schema.max_history)

    def histories(self, split: str, *, length: int | None = None) -> Histories:
        """A whole split as tensors, users one after another, each user's events by time.

        An event whose item training did not know has target 0; a history may be empty.
        """
        return self.windows(split, length=length)[:]

    def item_domains(self) -> NDArray[np.int64]:
        """The domain of each item id, [items]; 0 for id 0."""
        sizes = np.asarray(self.schema.domain_items, np.int64)
        return np.concatenate([[0], np.repeat(np.arange(1, len(sizes) + 1), sizes)])

    def table(self, split: str) -> dict[str, NDArray[Any]]:
        """The columns ``row, time, user, domain, label`` of a split, rows in order of time.

        Of events, users one after another, with ``item`` and ``repeat`` (whether the user had the
        item before) in place of ``label``.
        """
        if self.of_events:
            places = self.sequences.chosen(self._code(split))
            names = ("row", "time", "user", "domain", "item")
            found = {name: getattr(self.sequences, name)[places] for name in names}
            return {**found, "repeat": self.sequences.repeated(places)}
        table = self._read(split, list(KEYS))
        return {name: table[name].to_numpy() for name in KEYS}

    def impressions(self, split: str) -> Impressions:
        """A whole split as tensors, rows in order of time."""
        table = self._read(split, ["domain", "label", *(f.name for f in self.schema.features)])
        features = torch.empty((len(table), self.schema.num_columns), dtype=torch.int64)
        fill(table, self.schema, features.numpy())
        return Impressions(
            features,
            torch.from_numpy(table["domain"].to_numpy().astype(np.int64)),
            torch.from_numpy(table["label"].to_numpy().astype(np.float32)),
        )

    def encode(self, rows: pa.Table) -> tuple[Impressions, NDArray[np.bool_]]:
        """Raw rows as they are to be scored: the raw columns of the preparation, by name.

        A history that is collected in a preparation is here a list column of raw values, newest
        first, named as the feature. A value that training did not know gets id 0; the label, where
        its column is missing, is 0.

        Returns:
            the rows as tensors, and which of them have an unknown domain.

        Raises:
            DataError: a column is missing or holds no ids.
        """
        config = self._config
        columns = [self._encoded(rows, feature) for feature in self.schema.features]
        names = canonical_text(one_column(rows, config.columns.domain), config.columns.domain)
        domain = known_ids(names, pa.array(self.schema.domains, pa.string()))
        label = torch.zeros(len(rows))
        if config.columns.label in rows.column_names:
            raw = rows[config.columns.label].cast(pa.float32())
            label = torch.tensor(raw.to_numpy(), dtype=torch.float32)
        features = np.concatenate([np.zeros((len(rows), 0), np.int64), *columns], axis=1)
        return Impressions(torch.from_numpy(features), torch.from_numpy(domain), label), domain == 0

    def values(self, table: str) -> pa.Array:
        """The values of a vocabulary: the one with id ``i`` at place ``i - 1``."""
        return self._vocabularies[table]

    @cached_property
    def _vocabularies(self) -> "_Vocabularies":
        return _Vocabularies(self.path)

    def _read(self, split: str, columns: list[str]) -> pa.Table:
        self._code(split)
        _ = self._config  # refuses events
        return self.left(pq.read_table(self.file(split), columns=columns))

    def file(self, split: str) -> Path:
        """Where the rows of a split lie."""
        return self.path / f"{split}.parquet"

    def left(self, rows: pa.Table) -> pa.Table:
        """Of rows with the column ``domain``, those of domains that are not left out."""
        return rows

    @staticmethod
    def _code(split: str) -> int:
        if split not in SPLITS:
            raise DataError(f"no split {split!r}; there are {', '.join(SPLITS)}")
        return SPLITS.index(split)

    @property
    def _config(self) -> PrepareConfig:
        if not isinstance(self.manifest.config, PrepareConfig):
            raise DataError(
                f"{self.path}: holds sequences of events; prepare rows with labels for a ranker"
            )
        return self.manifest.config

    def _encoded(self, rows: pa.Table, feature: Feature) -> NDArray[np.int64]:
        asked = self._config.feature(feature.name)
        column = one_column(rows, feature.name if asked.of is not None else asked.source)
        if feature.kind == "number":
            return bins_of(column, asked.source, self.manifest.bins[feature.name])[:, None]
        if feature.kind == "id":
            text = canonical_text(column, asked.source)
            return known_ids(text, self.values(feature.table))[:, None]
        return listed_ids(column, asked.source, feature, self.values(feature.table))


class _Vocabularies(dict[str, pa.Array]):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def __missing__(self, table: str) -> pa.Array:
        file = self._path / vocabulary_file(table)
        self[table] = pq.read_table(file, columns=["value"])["value"].combine_chunks()
        return self[table]


def _parse(file: Path, raw: bytes) -> Manifest:
    try:
        found = json.loads(raw)
    except ValueError:
        raise IntegrityError(f"{file}: is not whole JSON; prepare the data again") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise IntegrityError(f"{file}: is not the manifest of a prepared data set")
    if found.get("version") != VERSION:
        raise IntegrityError(
            f"{file}: format version {found.get('version')!r}, this Isthmus reads {VERSION}; "
            f"prepare the data again, or use the Isthmus that made it"
        )
    try:
        return Manifest.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise IntegrityError(f"{file}: {key}: {first['msg']}; prepare the data again") from None


def _check_file(file: Path, record: FileRecord, verify: bool) -> None:
    if not file.is_file():
        raise IntegrityError(f"{file}: is missing; prepare the data again")
    size = file.stat().st_size
    if size != record.bytes:
        raise IntegrityError(f"{file}: has {size:,} bytes, its manifest says {record.bytes:,}")
    if verify and sha256(file) != record.sha256:
        raise IntegrityError(
            f"{file}: its bytes were changed since it was prepared (SHA-256 differs)"
        )


def sha256(file: Path) -> str:
    """The hexadecimal SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fill(table: pa.Table, schema: Schema, out: NDArray[Any]) -> None:
    """Write the features of a split's rows into ``out``, [rows, columns of the schema] integers."""
    for feature in schema.features:
        place = 0
        for chunk in table[feature.name].chunks:
            part = _flattened(chunk, feature)
            out[place : place + len(part), schema.columns[feature.name]] = part
            place += len(part)


def _flattened(chunk: pa.Array, feature: Feature) -> NDArray[np.int32]:
    if feature.kind == "history":
        chunk = chunk.flatten()
    return np.asarray(chunk.to_numpy()).reshape(-1, feature.length)
