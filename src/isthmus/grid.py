"""The search for training settings: what is tried, with which budget, in which order."""

from collections.abc import Iterator
from itertools import product
from typing import Any, Literal, Self

import numpy as np
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic import model_validator as validated

from isthmus.schema import Frozen

Point = dict[str, Any]
"""Settings of training by name: one choice of those that are searched."""


class Grid(Frozen):
    """The values to choose among; what has none stays as the run (or the entry) has it."""

    lr: tuple[PositiveFloat, ...] = ()
    batch_size: tuple[PositiveInt, ...] = ()
    weight_decay: tuple[NonNegativeFloat, ...] = ()
    embedding_l2: tuple[NonNegativeFloat, ...] = ()

    def axes(self) -> dict[str, tuple[float, ...]]:
        """The values of what is searched."""
        return {name: values for name, values in self if values}


SEARCHED = tuple(Grid.model_fields)


class TuneConfig(Frozen):
    """The search for training settings: the same budget for everything that is compared.

    ``trials`` runs each, of at most ``max_epochs`` epochs on ``rows`` training rows (all without
    it), trained with ``seed``. Trial 0 has the own settings of what is tuned. ``sampler``: "grid"
    spreads the others evenly over the grid; "tpe" (Bergstra et al., NeurIPS 2011) learns from the
    trials before, once half are done. No choice is tried twice.
    """

    trials: PositiveInt
    max_epochs: PositiveInt
    rows: PositiveInt | None = None
    grid: Grid
    seed: NonNegativeInt = 0
    sampler: Literal["grid", "tpe"] = "grid"

    @validated(mode="after")
    def _enough_choices(self) -> Self:
        axes = self.grid.axes()
        if not axes:
            raise ValueError(f"the grid is empty; give values of {', '.join(SEARCHED)}")
        for name, values in axes.items():
            if len(set(values)) < len(values):
                raise ValueError(f"grid.{name} has a value twice: {list(values)}")
        choices = 1
        for values in axes.values():
            choices *= len(values)
        if self.trials > choices:
            raise ValueError(f"{self.trials} trials, but a grid of {choices} choices; widen it")
        return self


def points(tuning: TuneConfig, own: Point) -> Iterator[Point]:
    """``own``, then the rest of the grid, every choice once, in an order that the seed decides.

    At any moment each value of an axis has been tried about as often as its others, so a small
    budget covers all of them: the next choice is one whose values were tried least.
    """
    yield own
    axes = tuning.grid.axes()
    choices = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    order = np.random.default_rng(tuning.seed).permutation(len(choices))
    left = [full for i in order if (full := {**own, **choices[i]}) != own]
    used = {(name, own[name]): 1 for name in axes}
    while left:
        tried = [sum(used.get((n, p[n]), 0) * len(axes[n]) for n in axes) for p in left]
        point = left.pop(int(np.argmin(tried)))
        for name in axes:
            used[name, point[name]] = used.get((name, point[name]), 0) + 1
        yield point
