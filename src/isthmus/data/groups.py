"""Row groups of a prepared split, read one at a time into arrays that are used again.

Shape letters: G row groups, D domain ids (0 is the unknown domain), W rows of a block, C columns.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from isthmus.batch import Impressions
from isthmus.data.prepared import Prepared, fill
from isthmus.errors import IntegrityError


class Block:
    """Room for some rows, as the file has them: features [W, C] and domain [W] int32, label [W] int8."""

    def __init__(self, rows: int, columns: int) -> None:
        self.features = np.zeros((rows, columns), np.int32)
        self.domain = np.zeros(rows, np.int32)
        self.label = np.zeros(rows, np.int8)

    def take(self, rows: Tensor) -> Impressions:
        """A copy of these rows."""
        features, domain, label = map(torch.from_numpy, (self.features, self.domain, self.label))
        return Impressions(
            features.index_select(0, rows).long(),
            domain.index_select(0, rows).long(),
            label.index_select(0, rows).float(),
        )


class Groups:
    """The row groups of a split of a prepared data set.

    The file stays open: to prepare the same data set anew meanwhile changes nothing here.

    Raises:
        IntegrityError: the file is no Parquet, or not that of the manifest.
    """

    def __init__(self, prepared: Prepared, split: str) -> None:
        self.prepared, self.path = prepared, prepared.file(split)
        self.schema, self._lock = prepared.schema, Lock()
        self._names = ["domain", "label", *(feature.name for feature in self.schema.features)]
        with self._explained():
            self._file = pq.ParquetFile(self.path)
        said = sum(count.rows for count in prepared.manifest.splits[split].values())
        found, missing = (
            self._file.metadata.num_rows,
            set(self._names) - set(self._file.schema_arrow.names),
        )
        if found != said or missing:
            what = f"no column {min(missing)!r}" if missing else f"{found:,} rows"
            raise IntegrityError(
                f"{self.path}: has {what}, its manifest says {said:,} rows of "
                f"{len(self._names)} columns and more; prepare the data again"
            )

    @cached_property
    def sizes_GD(self) -> NDArray[np.int64]:
        """Rows of each group and domain id, [G, D]: one pass over the domains alone."""
        ids = self.schema.num_domains + 1
        sizes = [
            np.bincount(self._read(group, ["domain"])["domain"].to_numpy(), minlength=ids)
            for group in range(self._file.metadata.num_row_groups)
        ]
        return np.array(sizes, np.int64).reshape(-1, ids)

    def read(self, group: int, block: Block, start: int) -> int:
        """Write the rows of a group into a block, from ``start`` on; the first place after them."""
        rows = self._read(group, self._names)
        stop = start + len(rows)
        if len(rows) != self.sizes_GD[group].sum():
            raise IntegrityError(f"{self.path}: row group {group} was changed since it was opened")
        fill(rows, self.schema, block.features[start:stop])
        block.domain[start:stop] = rows["domain"].to_numpy()
        block.label[start:stop] = rows["label"].to_numpy()
        return stop

    def _read(self, group: int, columns: list[str]) -> pa.Table:
        with self._lock, self._explained(f"row group {group} of "):
            rows = self._file.read_row_group(group, columns=columns, use_threads=False)
        return self.prepared.left(rows)

    @contextmanager
    def _explained(self, where: str = "") -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            first = str(error).splitlines()[0]
            raise IntegrityError(
                f"{where}{self.path} cannot be read ({first}); prepare the data again"
            ) from None
