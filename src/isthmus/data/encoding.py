"""Raw columns into ids by what a preparation knows, for rows that are to be scored."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from isthmus.data.values import canonical_text, fits, parse_list
from isthmus.errors import DataError
from isthmus.schema import Feature


def one_column(rows: pa.Table, name: str) -> pa.ChunkedArray:
    """The column of this name. Raises DataError unless there is exactly one."""
    if rows.column_names.count(name) != 1:
        found = ", ".join(map(repr, rows.column_names[:30]))
        raise DataError(f"expected one column {name!r} in the rows to encode; found {found}")
    return rows[name]


def known_ids(text: pa.Array, known: pa.Array) -> NDArray[np.int64]:
    """Places of values among the known ones, from 1; 0 for a value that is not known: [N]."""
    found = pc.index_in(text, value_set=known, skip_nulls=True)
    ids: NDArray[np.int64] = pc.fill_null(found, -1).to_numpy(zero_copy_only=False) + 1
    return ids.astype(np.int64)


def bins_of(column: pa.ChunkedArray, name: str, edges: tuple[float, ...]) -> NDArray[np.int64]:
    """Bins of numbers, from 1; 0 where there is none: [N]. Raises DataError for what is no number."""
    try:
        values = np.array(column.cast(pa.float64()).to_numpy(), dtype=np.float64)
    except pa.ArrowInvalid as error:
        raise DataError(f"column {name!r}: expected numbers ({error})") from None
    ids = np.searchsorted(np.asarray(edges), values, side="right") + 1
    return np.where(np.isfinite(values), ids, 0).astype(np.int64)


def listed_ids(
    column: pa.ChunkedArray, name: str, feature: Feature, known: pa.Array
) -> NDArray[np.int64]:
    """Ids of lists of values, cut and padded with 0 to the feature's length: [N, L]."""
    if not fits("list", column.type):
        raise DataError(f"column {name!r} is of type {column.type}; expected a list of ids")
    lists = column.combine_chunks()
    if not hasattr(lists, "flatten") or not pa.types.is_nested(lists.type):
        lists = pa.array([parse_list(text) for text in canonical_text(lists, name).to_pylist()])
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    ids = known_ids(canonical_text(lists.flatten(), name), known)
    out = np.zeros((len(lists), feature.length), np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    for place in range(feature.length):
        there = lengths > place
        out[there, place] = ids[starts[there] + place]
    return out
