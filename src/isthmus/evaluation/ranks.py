"""Where each row's item stood among the candidates: all that evaluation ever sees of a retriever.

A row is an event: a user took an item of a domain. A model scores all items; what is kept of that
is how many candidates stood above the item, and how many level with it, for three protocols:

``domain``   candidates are all known items of the item's own domain: the primary one;
``all``      candidates are all known items;
``sampled``  candidates are the item and ``SAMPLES`` draws from all known items, with the seed
             ``SAMPLE_SEED``: for comparison with papers alone. Draws from all domains reward a model
             for telling domains apart, which is no question at all where the domain is asked for.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from isthmus.errors import ConfigError, DataError
from isthmus.evaluation.predictions import Floats, Ints

Protocol = Literal["domain", "all", "sampled"]
PROTOCOLS: Final[tuple[Protocol, ...]] = get_args(Protocol)
SAMPLES: Final = 100
SAMPLE_SEED: Final = 20240714
METRICS: Final = ("hr@1", "hr@5", "hr@10", "ndcg@5", "ndcg@10", "mrr")
"""Metrics that are reported; ``Ranks.values`` knows any cut-off."""
METRIC: Final = "ndcg@10"
"""By which retrievers are judged, unless another is asked for."""
_ROW = {"row": np.int64, "domain": np.int32, "user": np.int64, "item": np.int64, "repeat": np.int8}
_PLACES = ("above", "tied", "of")


@dataclass(frozen=True, slots=True, eq=False)
class Ranks:
    """Row-aligned arrays, checked when made.

    ``row`` is unique, ``domain`` 0 is the unknown domain and ``domains[i]`` has id ``i + 1``;
    ``item`` 0 is cold: training did not know it, no model can find it, and it counts as a miss
    among the rows of its domain. ``repeat``: the user had the item before.

    Shapes:
        row, domain, user, item, repeat: [N].
        above, tied, of: by protocol, [N]; candidates scored above the item, other candidates
            scored the same, and all candidates with the item itself. A cold item has no place:
            0 stands for it in ``above`` and ``tied``.

    Raises ``DataError`` for columns of different lengths, domain ids without a name, a row twice,
    or places that there cannot be.
    """

    row: Ints
    domain: npt.NDArray[np.int32]
    user: Ints
    item: Ints
    repeat: npt.NDArray[np.int8]
    above: dict[Protocol, Ints]
    tied: dict[Protocol, Ints]
    of: dict[Protocol, Ints]
    domains: tuple[str, ...]

    def __post_init__(self) -> None:
        for name, dtype in _ROW.items():
            object.__setattr__(self, name, np.asarray(getattr(self, name)).astype(dtype))
        for name in _PLACES:
            found = {p: np.asarray(v, dtype=np.int64) for p, v in getattr(self, name).items()}
            object.__setattr__(self, name, found)
        object.__setattr__(self, "domains", tuple(self.domains))
        self._check()

    def __len__(self) -> int:
        return len(self.row)

    @property
    def cold(self) -> npt.NDArray[np.bool_]:
        """Rows whose item training did not know."""
        return self.item == 0

    def values(self, metric: str, protocol: Protocol = "domain") -> Floats:
        """Each row's hit rate, NDCG (there is one right item) or reciprocal rank, [N].

        Equal scores: the expectation over all orders of the tied candidates. Cold items have 0.

        Raises:
            ConfigError: no such metric.
        """
        cumulated = _cumulated(metric)
        above, ties = self.above[protocol], self.tied[protocol] + 1
        value = (cumulated(above + ties) - cumulated(above)) / ties
        return np.where(self.cold, 0.0, value)

    def take(self, which: npt.NDArray[Any]) -> "Ranks":
        """The rows at these positions (or where the mask is true), in that order."""
        columns: dict[str, Any] = {name: getattr(self, name)[which] for name in _ROW}
        places: dict[str, Any] = {
            name: {p: values[which] for p, values in getattr(self, name).items()}
            for name in _PLACES
        }
        return Ranks(**columns, **places, domains=self.domains)

    def write(self, path: Path) -> None:
        """Write one Parquet file; the names of the domains go into its metadata."""
        columns = {name: getattr(self, name) for name in _ROW}
        for name in _PLACES:
            for protocol, values in getattr(self, name).items():
                columns[f"{name}_{protocol}"] = values.astype(np.int32)
        names = json.dumps(list(self.domains)).encode()
        table = pa.table(columns).replace_schema_metadata({b"isthmus.domains": names})
        pq.write_table(table, path, compression="zstd")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what ``write`` wrote. Raises ``DataError`` if the file is not such a table."""
        try:
            table = pq.ParquetFile(path).read()
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(f"{path}: no readable Parquet file ({error}); write it again") from None
        places = [f"{name}_{protocol}" for name in _PLACES for protocol in PROTOCOLS]
        missing = [name for name in (*_ROW, *places) if name not in table.column_names]
        names = (table.schema.metadata or {}).get(b"isthmus.domains")
        if missing or names is None:
            lack = f"column {', '.join(missing)}" if missing else "the names of the domains"
            raise DataError(f"{path}: lacks {lack}; expected a table written by Ranks.write")
        columns: dict[str, Any] = {name: table[name].to_numpy() for name in _ROW}
        stood: dict[str, Any] = {
            name: {protocol: table[f"{name}_{protocol}"].to_numpy() for protocol in PROTOCOLS}
            for name in _PLACES
        }
        return cls(**columns, **stood, domains=tuple(json.loads(names)))

    def _check(self) -> None:
        columns = {name: getattr(self, name) for name in _ROW}
        for name in _PLACES:
            columns |= {f"{name}_{p}": values for p, values in getattr(self, name).items()}
        lengths = {name: len(values) for name, values in columns.items()}
        if len(set(lengths.values())) > 1:
            raise DataError(f"columns of different lengths: {lengths}; expected one value a row")
        if len(np.unique(self.row)) < len(self):
            raise DataError("a row is there twice; rank each row once")
        if len(self) and not 0 <= self.domain.min() <= self.domain.max() <= len(self.domains):
            raise DataError(f"domain ids outside 0..{len(self.domains)}; pass the schema's domains")
        known = ~self.cold
        for protocol in self.above:
            above, tied, of = (getattr(self, name)[protocol][known] for name in _PLACES)
            bad = (above < 0) | (tied < 0) | (above + tied >= of)
            if bad.any():
                first = int(np.argmax(bad))
                raise DataError(
                    f"protocol {protocol!r}: {int(bad.sum()):,} rows have no such place, the first "
                    f"{above[first]} above and {tied[first]} level among {of[first]} candidates"
                )


def _cumulated(metric: str) -> Callable[[Ints], Floats]:
    """The sum of the metric's values over ranks 1 to r, as a function of r."""
    found = re.fullmatch(r"(?:(hr|ndcg)@([1-9]\d{0,5})|mrr)", metric)
    if found is None:
        raise ConfigError(f"no metric {metric!r}; expected hr@K, ndcg@K or mrr, such as ndcg@10")
    if found[1] is None:
        return lambda r: _sums(1 / np.arange(1, r.max(initial=0) + 1))[r]
    cut = int(found[2])
    ranks = np.arange(1, cut + 1)
    sums = _sums(np.ones(cut) if found[1] == "hr" else 1 / np.log2(1 + ranks))
    return lambda r: sums[np.minimum(r, cut)]


def _sums(values: Floats) -> Floats:
    return np.concatenate([[0.0], np.cumsum(values)])


def samples(row: Ints, item: Ints, items: int, *, seed: int = SAMPLE_SEED) -> Ints:
    """The sampled candidates of each row beside its own item, [N, SAMPLES].

    Drawn evenly from the ids 1 .. items - 1 without the row's own item, with replacement, by a
    hash of seed, row and place (splitmix64): the same for every model, batch and machine. Where
    there is no other item they are all 0, which is no candidate.
    """
    others = items - 1 - (item > 0)
    place = np.arange(SAMPLES, dtype=np.uint64)
    with np.errstate(over="ignore"):
        start = _mixed(np.uint64(seed) + _mixed(row.astype(np.uint64)))
        drawn = _mixed(start[:, None] + place * np.uint64(0x9E3779B97F4A7C15))
    drawn = (drawn % np.maximum(others, 1)[:, None].astype(np.uint64)).astype(np.int64) + 1
    drawn += (item > 0)[:, None] & (drawn >= item[:, None])
    return np.where(others[:, None] > 0, drawn, 0)


def _mixed(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
