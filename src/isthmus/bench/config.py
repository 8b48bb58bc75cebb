"""What a benchmark is: models x seeds on one data set, and how their settings are searched."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, PositiveInt, ValidationError
from pydantic import model_validator as validated

from isthmus.clustering import resolved
from isthmus.config import RunConfig, Scope, Seeds, checked
from isthmus.errors import ConfigError
from isthmus.files import canonical, digest_of
from isthmus.grid import SEARCHED, Grid, Point, TuneConfig
from isthmus.schema import Frozen
from isthmus.toml import read_toml, told

__all__ = ["SEARCHED", "BenchConfig", "Entry", "Grid", "Point", "TuneConfig", "read"]


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
        return digest_of(canonical(said)).sha256[:8]

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
