"""Scores of a model, row by row: all that evaluation ever sees of a model."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from isthmus.errors import DataError
from isthmus.evaluation.types import UNKNOWN

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
_TYPES: dict[str, np.dtype[Any]] = {
    "row": np.dtype(np.int64),
    "domain": np.dtype(np.int32),
    "user": np.dtype(np.int64),
    "label": np.dtype(np.int8),
    "score": np.dtype(np.float64),
}


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """Row-aligned arrays, each [N]; checked when made, and read-only from then on.

    ``row`` is unique over the data set, ``domain`` 0 is the unknown domain and ``domains[i]`` has
    id ``i + 1``, ``label`` is 0 or 1, ``score`` is a probability in [0, 1].

    Raises ``DataError`` for lengths that differ, values that a column cannot hold, duplicate
    rows, scores that are not finite or not in [0, 1], and domain ids without a name.
    """

    row: npt.NDArray[np.int64]
    domain: npt.NDArray[np.int32]
    user: npt.NDArray[np.int64]
    label: npt.NDArray[np.int8]
    score: npt.NDArray[np.float64]
    domains: tuple[str, ...]

    def __post_init__(self) -> None:
        for name, dtype in _TYPES.items():
            object.__setattr__(self, name, _column(name, getattr(self, name), dtype))
        object.__setattr__(self, "domains", tuple(self.domains))
        _check(self)

    def __len__(self) -> int:
        return len(self.row)

    def take(self, which: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> "Predictions":
        """The rows at these positions (or where the mask is true), in that order."""
        columns = {name: getattr(self, name)[which] for name in _TYPES}
        return Predictions(**columns, domains=self.domains)

    def write(self, path: Path) -> None:
        """Write one Parquet file; the names of the domains go into its metadata."""
        table = pa.table({name: getattr(self, name) for name in _TYPES})
        names = json.dumps(list(self.domains)).encode()
        pq.write_table(table.replace_schema_metadata({b"isthmus.domains": names}), path)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what ``write`` wrote. Raises ``DataError`` if the file is not such a table."""
        try:
            table = pq.ParquetFile(path).read()
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(f"{path}: no readable Parquet file ({error}); write it again") from None
        names = (table.schema.metadata or {}).get(b"isthmus.domains")
        missing = [name for name in _TYPES if name not in table.column_names]
        if missing or names is None:
            lack = f"column {', '.join(missing)}" if missing else "the names of the domains"
            raise DataError(f"{path}: lacks {lack}; expected a table written by Predictions.write")
        for name in _TYPES:
            if nulls := table[name].null_count:
                raise DataError(
                    f"{path}: column {name!r} has {nulls:,} empty values, expected none"
                )
        columns = {name: table[name].to_numpy() for name in _TYPES}
        return cls(**columns, domains=tuple(json.loads(names)))


def _column(name: str, values: npt.ArrayLike, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """The values as a read-only array of this type; nothing is rounded, wrapped or copied needlessly."""
    found = np.asarray(values)
    if found.ndim != 1:
        raise DataError(
            f"{name}: found an array of {found.ndim} dimensions, expected one value a row"
        )
    if found.dtype.kind not in "biuf":
        raise DataError(f"{name}: found values of type {found.dtype}, expected {dtype}")
    with np.errstate(invalid="ignore"):
        cast = found.astype(dtype, copy=False)
        if dtype.kind == "i" and found.dtype != dtype and not np.array_equal(cast, found):
            raise DataError(
                f"{name}: found values that {dtype} cannot hold, expected whole numbers"
            )
    view = cast.view()
    view.flags.writeable = False
    return view


def _check(p: Predictions) -> None:
    lengths = {name: len(getattr(p, name)) for name in _TYPES}
    if len(set(lengths.values())) > 1:
        raise DataError(
            f"columns of different lengths: {lengths}; expected one value a row in each"
        )
    if UNKNOWN in p.domains or len(set(p.domains)) < len(p.domains):
        raise DataError(f"domain names must differ, and {UNKNOWN!r} is taken; found {p.domains}")
    _refuse(p, ~np.isfinite(p.score), "score", "not finite", "check the model for NaN")
    outside = (p.score < 0) | (p.score > 1)
    _refuse(p, outside, "score", "outside [0, 1]", "pass probabilities, not logits")
    _refuse(p, (p.label != 0) & (p.label != 1), "label", "neither 0 nor 1", "make labels binary")
    nameless = (p.domain < 0) | (p.domain > len(p.domains))
    _refuse(p, nameless, "domain", f"not in 0..{len(p.domains)}", "pass the schema's domains")
    _refuse_duplicates(p.row)


def _refuse(p: Predictions, bad: npt.NDArray[np.bool_], column: str, what: str, cure: str) -> None:
    if bad.any():
        first = int(np.argmax(bad))
        raise DataError(
            f"{column}: {int(bad.sum()):,} of {len(p):,} values are {what}, the first is "
            f"{getattr(p, column)[first]} at row {p.row[first]} (position {first}); {cure}"
        )


def _refuse_duplicates(row: npt.NDArray[np.int64]) -> None:
    if len(row) < 2 or bool(np.all(row[1:] > row[:-1])):  # the usual case, without a sort
        return
    ordered = np.sort(row)
    again = ordered[1:] == ordered[:-1]
    if again.any():
        raise DataError(
            f"row: {int(again.sum()):,} duplicates among {len(row):,} rows, the first is row "
            f"{ordered[int(np.argmax(again))]}; expected each row once, score it only once"
        )
