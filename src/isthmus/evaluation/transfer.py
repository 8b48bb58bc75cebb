"""The transfer map: what each group of domains gives to each other one, measured in up to three ways."""

from collections.abc import Mapping
from typing import Literal, Self, get_args

import numpy as np
import numpy.typing as npt
from pydantic import FiniteFloat, NonNegativeFloat, NonNegativeInt, model_validator

from isthmus.evaluation.mantel import rank_agreement
from isthmus.evaluation.predictions import Floats
from isthmus.evaluation.types import Interval
from isthmus.schema import Frozen

Way = Literal["left_out", "gradients", "masks"]
WAYS: tuple[Way, ...] = get_args(Way)
MEANING: dict[Way, str] = {
    "left_out": "leaving out",
    "gradients": "gradients",
    "masks": "masks",
}
Matrix = tuple[tuple[FiniteFloat | None, ...], ...]
SURE = 2.0
"""An effect of so many standard errors is shown as more than noise."""


class WayMap(Frozen):
    """One way's figures: ``effect[source][target]`` is above 0 where the source helps the target.

    ``None`` where nothing was measured, the diagonal among it. ``error`` are standard errors, empty
    where a way has none. ``unit`` says in words what an effect of 1 would be.
    """

    effect: Matrix
    error: Matrix = ()
    unit: str

    def values(self) -> Floats:
        """The effects, [G, G], NaN for ``None``."""
        return np.array(self.effect, dtype=np.float64).reshape(len(self.effect), -1)

    def errors(self) -> Floats:
        """The standard errors, [G, G], NaN where there are none."""
        known = self.error or [[None] * len(self.effect)] * len(self.effect)
        return np.array(known, dtype=np.float64).reshape(len(self.effect), -1)


class Agreement(Frozen):
    """How far two ways rank the same pairs of groups alike.

    ``correlation`` is Spearman's over ordered pairs, its interval by the jackknife over groups;
    ``None`` where fewer than four groups have all their figures. ``p_value`` is Mantel's: the share
    of relabellings of the groups that agree as much.
    """

    ways: tuple[Way, Way]
    groups: NonNegativeInt
    correlation: Interval | None = None
    p_value: float | None = None


class TransferMap(Frozen):
    """What each group of domains gives to each other one.

    ``groups`` are names with the domains of each (a group of one bears its domain's name); matrices
    are in their order. ``ways`` holds what was measured, ``absent`` why another way was not.
    ``metric`` is what left-out effects are differences of, on validation rows. ``runs`` counts the
    trainings, the whole one among them; ``noise`` is the standard deviation of a group's score
    between two trainings of one design, by group. ``resolved`` is how small an effect stands at two
    standard errors in these runs, and ``protocol`` says in words how all was measured.
    """

    groups: dict[str, tuple[str, ...]]
    ways: dict[Way, WayMap] = {}
    absent: dict[Way, str] = {}
    agreement: tuple[Agreement, ...] = ()
    metric: str = "AUC"
    model: str = ""
    data: str = ""
    runs: NonNegativeInt = 0
    noise: tuple[NonNegativeFloat | None, ...] = ()
    resolved: NonNegativeFloat | None = None
    protocol: str = ""

    @model_validator(mode="after")
    def _square(self) -> Self:
        count = len(self.groups)
        for way, found in self.ways.items():
            for name, matrix in (("effect", found.effect), ("error", found.error)):
                if not matrix and name == "error":
                    continue
                if len(matrix) != count or any(len(row) != count for row in matrix):
                    raise ValueError(
                        f"{way}: {name} must be {count} x {count}, as there are groups"
                    )
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The groups' names, in the order of the matrices."""
        return tuple(self.groups)

    def strongest(self, way: Way = "left_out") -> list[tuple[str, str, float, float]]:
        """(source, target, effect, standard error or NaN), the most harmful first."""
        value, error = self.ways[way].values(), self.ways[way].errors()
        known = np.argwhere(np.isfinite(value))
        order = sorted(known.tolist(), key=lambda cell: value[cell[0], cell[1]])
        return [
            (self.names[j], self.names[i], float(value[j, i]), float(error[j, i])) for j, i in order
        ]


def agreements(ways: Mapping[Way, WayMap], *, seed: int = 0) -> tuple[Agreement, ...]:
    """Every two ways against each other."""
    present = [way for way in WAYS if way in ways]
    found = []
    for a, one in enumerate(present):
        for other in present[a + 1 :]:
            result = rank_agreement(ways[one].values(), ways[other].values(), seed=seed)
            found.append(
                Agreement(
                    ways=(one, other),
                    groups=result.groups,
                    correlation=result.correlation,
                    p_value=result.p_value,
                )
            )
    return tuple(found)


def matrix(values: npt.ArrayLike) -> Matrix:
    """As a map holds it: NaN is ``None``."""
    rows = np.asarray(values, dtype=np.float64).tolist()
    return tuple(tuple(v if np.isfinite(v) else None for v in row) for row in rows)
