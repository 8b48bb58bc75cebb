"""Embedding tables as they are stored: whole, in half precision, or in eight bits a number.

Shape letters: R rows of a table, K embedding width.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import ConfigError

Precision = Literal["float32", "float16", "int8"]
Floats = NDArray[np.float32]
_LEVELS = 127  # of a sign: -128 is left out, so that a row and its negative are stored alike


@dataclass(frozen=True, slots=True)
class Table:
    """Rows as stored, [R, K], and what int8 ones are multiplied by, [R, 1]."""

    values: NDArray[Any]
    scale: Floats | None = None

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + (self.scale.nbytes if self.scale is not None else 0)

    def restored(self) -> Floats:
        """The rows as a graph reads them, [R, K] float32."""
        rows_RK: Floats = self.values.astype(np.float32)
        return rows_RK if self.scale is None else rows_RK * self.scale


def stored(rows_RK: Floats, precision: Precision) -> Table:
    """A table in this precision.

    float16 rounds to the nearest; int8 to the nearest multiple of the row's largest absolute value
    over 127, so that no number is off by more than half of that, and a row of zeros stays one.

    Raises:
        ConfigError: a number is beyond the range of float16.
    """
    if precision == "float32":
        return Table(rows_RK)
    if precision == "float16":
        largest = float(np.abs(rows_RK).max(initial=0))
        if largest > float(np.finfo(np.float16).max):
            raise ConfigError(
                f"an embedding of {largest:.3g} is beyond float16, which ends at 65,504; export "
                "with --tables float32 or int8"
            )
        return Table(rows_RK.astype(np.float16))
    scale_R1 = np.abs(rows_RK).max(1, keepdims=True, initial=0).astype(np.float32) / _LEVELS
    levels_RK = np.rint(rows_RK / np.where(scale_R1 > 0, scale_R1, 1))
    return Table(levels_RK.clip(-_LEVELS, _LEVELS).astype(np.int8), scale_R1)
