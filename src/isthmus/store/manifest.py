"""What ``run.json`` holds, and in what two of them differ."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from isthmus import __version__
from isthmus.errors import IntegrityError, MismatchError
from isthmus.files import Digest, read_sealed
from isthmus.schema import Frozen, Schema

FORMAT: Literal["isthmus-run"] = "isthmus-run"
VERSION = 1
MANIFEST = "run.json"
MEND = "Restore the run from a copy, or delete its directory and train again."


class DataRef(Frozen):
    """Which prepared data a run is of: its name, and the digest of its manifest."""

    name: str
    digest: str


class Change(Frozen):
    """One step from a run to another whose domains differ: from which weights, and by which rows.

    ``parent_weights`` and ``rows_digest`` are SHA-256; ``rows`` counts those that were learned from,
    ``unchanged`` those of other domains whose scores were compared with the parent's, all equal to
    the bit. ``notes`` say in words what came of it, one for each domain that was made.
    """

    operation: Literal["add", "retire", "split", "merge"]
    domains: tuple[str, ...]
    made: tuple[str, ...] = ()
    parent: str
    parent_weights: str
    settings: dict[str, Any] = {}
    rows: int = 0
    rows_digest: str = ""
    unchanged: int = 0
    notes: tuple[str, ...] = ()


class RunManifest(Frozen):
    """What ``run.json`` holds. ``scores`` and ``losses`` have one entry an epoch.

    ``lineage`` are the changes of domains that made this run of a trained one, the oldest first, and
    ``data_domains`` then the domains as its data has them.
    """

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)

    format: Literal["isthmus-run"] = FORMAT
    version: int = VERSION
    library: str = __version__
    name: str
    config: dict[str, Any]
    features: Schema = Field(alias="schema")
    data: DataRef
    status: Literal["training", "finished"] = "training"
    scores: tuple[float, ...] = ()
    losses: tuple[dict[str, float], ...] = ()
    files: dict[str, Digest] = {}
    lineage: tuple[Change, ...] = ()
    data_domains: tuple[str, ...] = ()

    @property
    def data_schema(self) -> Schema:
        """The schema of its data: its own, but for domains that were changed afterwards."""
        if not self.lineage:
            return self.features
        return self.features.model_copy(update={"domains": self.data_domains})

    @model_serializer(mode="wrap")
    def _as_it_was(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Runs as they were trained are written as they were before domains could change."""
        values: dict[str, Any] = plain(self)
        if not self.lineage:
            del values["lineage"], values["data_domains"]
        return values


def read(path: Path) -> RunManifest:
    values = read_sealed(path / MANIFEST, MEND)
    found = values.get("format"), values.get("version")
    if found != (FORMAT, VERSION):
        raise MismatchError(
            f"{path} was written by isthmus {values.get('library')} in format {found[0]} version "
            f"{found[1]}; this is isthmus {__version__}, which reads {FORMAT} version {VERSION}. "
            "Use that version of the library, or train again."
        )
    try:
        return RunManifest.model_validate(values)
    except ValidationError as error:
        raise IntegrityError(
            f"{path / MANIFEST} is damaged: {_in_one_line(error)}. {MEND}"
        ) from None


def _in_one_line(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def differences(there: Any, here: Any, *, most: int = 5) -> str:
    """In which keys two JSON values differ, with both values: "train.lr is 0.1 there, 0.2 here"."""
    found = list(_differences(there, here, ""))
    more = f"; and {len(found) - most} more" if len(found) > most else ""
    return "; ".join(found[:most]) + more


def _differences(there: Any, here: Any, key: str) -> Iterator[str]:
    if isinstance(there, dict) and isinstance(here, dict):
        pairs = {k: (there.get(k, _ABSENT), here.get(k, _ABSENT)) for k in {**there, **here}}
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        pairs = {str(i): pair for i, pair in enumerate(zip(there, here, strict=True))}
    elif type(there) is type(here) and there == here:
        return
    else:
        yield f"{key} is {_short(there)} there, {_short(here)} here"
        return
    for part, (a, b) in pairs.items():
        yield from _differences(a, b, f"{key}.{part}" if key else part)


class _Absent:
    def __repr__(self) -> str:
        return "absent"


_ABSENT = _Absent()


def _short(value: object) -> str:
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
