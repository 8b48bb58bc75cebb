"""What a benchmark is: models x seeds on one data set, and how their settings are searched."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
)
from pydantic import model_validator as validated

from isthmus.clustering import resolved
from isthmus.config import RunConfig, Scope, Seeds, checked
from isthmus.errors import ConfigError
from isthmus.files import canonical
from isthmus.schema import Frozen
from isthmus.toml import read_toml, told

Point = dict[str, Any]
"""Settings of training by name: one choice of those that are searched."""


class Entry(Frozen):
    """One line of the leaderboard; ``train`` are changes to the benchmark's own.

    ``mamdr`` is the table of that name of a run, for ``scope = "mamdr"``.
    """

    label: str
    model: str
    scope: Scope = "joint"
    settings: dict[str, Any] = {}
    train: dict[str, Any] = {}
    mamdr: dict[str, Any] = {}


class Grid(Frozen):
    """The values to choose among; what has none stays as the benchmark (or the entry) has it."""

    lr: tuple[PositiveFloat, ...] = ()
    batch_size: tuple[PositiveInt, ...] = ()
    weight_decay: tuple[NonNegativeFloat, ...] = ()
    embedding_l2: tuple[NonNegativeFloat, ...] = ()

    def axes(self) -> dict[str, tuple[float, ...]]:
        """The values of what is searched."""
        return {name: values for name, values in self if values}


SEARCHED = tuple(Grid.model_fields)


class TuneConfig(Frozen):
    """The search for training settings: the same budget for every entry.

    ``trials`` runs an entry, of at most ``max_epochs`` epochs on ``rows`` training rows (all
    without it), trained with ``seed``. Trial 0 has the benchmark's own settings. ``sampler``:
    "grid" spreads the others evenly over the grid; "tpe" (Bergstra et al., NeurIPS 2011) learns
    from the trials before, once half are done. No choice is tried twice.
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


class BenchConfig(Frozen):
    """What ``isthmus bench`` runs: every entry with every seed, all under the same training."""

    name: str
    data: str
    entries: Annotated[tuple[Entry, ...], Field(min_length=1)]
    seeds: Seeds = (0, 1, 2)
    train: dict[str, Any] = {}
    workers: PositiveInt = 2
    tune: TuneConfig | None = None

    @validated(mode="after")
    def _labels_differ(self) -> Self:
        twice = [label for label, n in Counter(e.label for e in self.entries).items() if n > 1]
        if twice:
            raise ValueError(f"two entries have the label {twice[0]!r}; a row is known by it")
        return self

    def config(self, entry: Entry, seed: int, found: Mapping[str, Any] | None = None) -> RunConfig:
        """The run of an entry and a seed; ``found`` are settings of training from the search."""
        return self._run(entry, seed, found or {})

    def trial(self, entry: Entry, point: Mapping[str, Any], name: str | None = None) -> RunConfig:
        """The run of a trial with the settings of ``point``."""
        assert self.tune is not None
        limits = {"max_epochs": self.tune.max_epochs, "max_rows": self.tune.rows}
        run = self._run(entry, self.tune.seed, {**point, **limits})
        return run.model_copy(update={"name": name})

    def own(self, entry: Entry) -> Point:
        """What trial 0 tries: the settings that the entry has without a search."""
        train = self.config(entry, 0).train
        return {name: getattr(train, name) for name in SEARCHED}

    def study(self, entry: Entry) -> str:
        """Eight digits of all that the search says of an entry, but for the number of trials.

        From what is written in the TOML, not from defaults: a new setting of a model does not make
        old trials void.
        """
        assert self.tune is not None
        said = {
            "entry": entry.model_dump(mode="json", exclude={"label"}, exclude_defaults=True),
            "train": {k: v for k, v in self.train.items() if k not in ("max_epochs", "max_rows")},
            "tune": self.tune.model_dump(mode="json", exclude={"trials"}, exclude_defaults=True),
        }
        return hashlib.sha256(canonical(said)).hexdigest()[:8]

    def chosen(self, labels: tuple[str, ...]) -> tuple[Entry, ...]:
        """The entries of these labels; all for none. ConfigError for a label that is not there."""
        known = [entry.label for entry in self.entries]
        for label in labels:
            if label not in known:
                raise ConfigError(f"no entry {label!r} in {self.name}; it has: {', '.join(known)}")
        return tuple(e for e in self.entries if not labels or e.label in labels)

    def _run(self, entry: Entry, seed: int, changes: Mapping[str, Any]) -> RunConfig:
        return checked(
            {
                "data": self.data,
                "model": entry.model,
                "scope": entry.scope,
                "settings": entry.settings,
                "train": {**self.train, **entry.train, **changes},
                "seed": seed,
                "share": {"workers": 1},
                **({"mamdr": entry.mamdr} if entry.mamdr else {}),
            },
            f"{self.name}: {entry.label}",
        )


def read(path: Path) -> BenchConfig:
    """Read a benchmark from TOML; relative ``data`` and files of clusters count from its place."""
    values = read_toml(path, "a benchmark")
    if isinstance(values.get("data"), str):
        values["data"] = str(path.parent / values["data"])
    try:
        bench = BenchConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{path}: {told(error)}") from None
    settled = [
        entry.model_copy(update={"settings": resolved(entry.settings, path.parent)})
        for entry in bench.entries
    ]
    bench = bench.model_copy(update={"entries": tuple(settled)})
    for entry in bench.entries:
        bench.config(entry, bench.seeds[0])
    return bench
