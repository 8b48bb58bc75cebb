"""What ``run.json`` holds, and in what two of them differ."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError

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


class RunManifest(Frozen):
    """What ``run.json`` holds. ``scores`` and ``losses`` have one entry an epoch."""

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
