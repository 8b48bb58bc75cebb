"""What ``isthmus prepare`` is asked to do: where the rows lie and what their columns mean."""

from pathlib import Path
from typing import Literal

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from isthmus.data.sequence_config import SequenceConfig
from isthmus.data.spark_config import SparkSettings, check_engine
from isthmus.errors import ConfigError
from isthmus.schema import Frozen
from isthmus.toml import read_toml, told

RESERVED = ("row", "time", "user", "domain", "label")
"""Column names of a prepared split, which no feature may take."""


class Columns(Frozen):
    """The names of the columns that every data set has; ``time`` may be missing."""

    user: str
    item: str
    domain: str
    label: str
    time: str | None = None


class Split(Frozen):
    """How rows are shared out to train, valid and test.

    ``time``: by quantiles of the time; ``column``: by a column that names the split of each row;
    ``user``: all rows of a user lie in one split, by a hash of the user with the seed.
    """

    by: Literal["time", "column", "user"] = "time"
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    column: str | None = None
    values: tuple[str, str, str] | None = None
    seed: int = 0

    @field_validator("values", mode="before")
    @classmethod
    def _as_text(cls, values: object) -> object:
        return tuple(map(str, values)) if isinstance(values, list | tuple) else values

    @model_validator(mode="after")
    def _consistent(self) -> "Split":
        if min(self.fractions) < 0 or abs(sum(self.fractions) - 1) > 1e-6 or not self.fractions[0]:
            raise ValueError(
                f"split fractions {self.fractions} must be non-negative, sum to 1, and train "
                f"must have some"
            )
        if (self.by == "column") != (self.column is not None):
            raise ValueError('split: give `column` with by = "column", and only then')
        if self.values is not None and (self.by != "column" or len(set(self.values)) < 3):
            raise ValueError('split: `values` are three different values, with by = "column" only')
        return self


class FeatureConfig(Frozen):
    """One feature: an id, a number in bins, or a history of earlier (or ready-made) ids.

    A history either collects the feature ``of`` from the user's earlier rows, or reads a ready
    list from ``column``.
    """

    name: str
    column: str | None = None
    kind: Literal["id", "number", "history"] = "id"
    role: Literal["user", "item", "context"] = "context"
    min_count: PositiveInt = 1
    table: str | None = None
    bins: PositiveInt | None = None
    edges: tuple[float, ...] | None = None
    length: PositiveInt = 5
    of: str | None = None
    positives: bool | None = True
    window: PositiveInt | None = None

    @field_validator("positives", mode="before")
    @classmethod
    def _any_label(cls, value: object) -> object:
        return None if value == "any" else value  # TOML has no null

    @property
    def source(self) -> str:
        """The raw column that the feature is read from."""
        return self.column or self.name

    @model_validator(mode="after")
    def _consistent(self) -> "FeatureConfig":
        where = f"feature {self.name!r}"
        if self.kind != "number" and (self.bins is not None or self.edges is not None):
            raise ValueError(f"{where}: bins and edges belong to a number, not to a {self.kind}")
        if self.bins is not None and self.edges is not None:
            raise ValueError(f"{where}: give bins or edges, not both")
        if self.edges is not None and list(self.edges) != sorted(set(self.edges)):
            raise ValueError(f"{where}: edges must rise: {self.edges}")
        if self.kind != "history" and (self.of is not None or self.window is not None):
            raise ValueError(f"{where}: of and window belong to a history, not to a {self.kind}")
        if self.of is not None and self.column is not None:
            raise ValueError(
                f"{where}: give either of (collected) or column (ready made), not both"
            )
        if self.of is None and self.window is not None:
            raise ValueError(f"{where}: a ready-made history has no window")
        if self.of is not None and self.table is not None:
            raise ValueError(f"{where}: its table is that of {self.of!r}, do not give one")
        if self.kind == "number" and self.table is not None:
            raise ValueError(f"{where}: a number has its own bins and no table")
        return self


class PrepareConfig(Frozen):
    """A whole preparation: files, columns, split and features."""

    name: str
    files: tuple[str, ...] = Field(min_length=1)
    columns: Columns
    split: Split = Split()
    features: tuple[FeatureConfig, ...] = Field(min_length=1)
    min_domain_rows: NonNegativeInt = 0
    engine: Literal["duckdb", "spark"] = "duckdb"
    spark: SparkSettings = Field(default=SparkSettings(), exclude=True)
    source: str = ""
    accept_leaks: bool = False
    memory: str | None = None
    max_rejected: float = Field(default=0.01, ge=0, le=1)

    @model_validator(mode="after")
    def _consistent(self) -> "PrepareConfig":
        names = [feature.name for feature in self.features]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"feature named more than once: {', '.join(map(repr, twice))}")
        taken = sorted(set(names) & set(RESERVED))
        if taken:
            raise ValueError(
                f"feature {taken[0]!r}: that name is a column of every prepared split; name the "
                f'feature otherwise and give column = "{taken[0]}"'
            )
        if self.columns.time is None and self.split.by == "time":
            raise ValueError(
                'a split by time needs columns.time; otherwise by = "user" or "column"'
            )
        for feature in self.features:
            self._check_references(feature)
        check_engine(self.engine, self.model_fields_set)
        return self

    def uses(self) -> list[tuple[str, str]]:
        """The raw columns that are read, each with its use."""
        columns = self.columns
        wanted = [(columns.user, "key"), (columns.item, "key"), (columns.domain, "key")]
        wanted.append((columns.label, "label"))
        if columns.time is not None:
            wanted.append((columns.time, "time"))
        if self.split.column is not None:
            wanted.append((self.split.column, "key"))
        kinds = {"id": "id", "number": "number", "history": "list"}
        return wanted + [(f.source, kinds[f.kind]) for f in self.features if f.of is None]

    def _check_references(self, feature: FeatureConfig) -> None:
        ids = {f.name for f in self.features if f.kind == "id"}
        if feature.of is not None and feature.of not in ids:
            raise ValueError(f"feature {feature.name!r}: of = {feature.of!r} is no id feature here")
        if feature.of is not None and self.columns.time is None:
            raise ValueError(f"feature {feature.name!r}: a collected history needs columns.time")
        if feature.table is not None and feature.table != feature.name:
            owner = next((f for f in self.features if f.name == feature.table), None)
            if owner is None or owner.kind != "id" or owner.table not in (None, owner.name):
                raise ValueError(
                    f"feature {feature.name!r}: table = {feature.table!r} must be an id feature "
                    f"here that has a vocabulary of its own"
                )

    def table_of(self, feature: FeatureConfig) -> str:
        """The vocabulary in which the feature's ids count."""
        if feature.of is not None:
            return self.table_of(self.feature(feature.of))
        return feature.table or feature.name

    def feature(self, name: str) -> FeatureConfig:
        """The feature of that name; it is there."""
        return next(feature for feature in self.features if feature.name == name)


AnyConfig = PrepareConfig | SequenceConfig
"""A preparation, of rows for rankers or of events for retrievers."""


def read_config(path: Path) -> AnyConfig:
    """Read a TOML file; relative ``files`` count from the place of the TOML.

    Raises:
        ConfigError: no such file, no TOML, or an unknown, missing or contradictory key.
    """
    values = read_toml(path, "a preparation")
    if isinstance(values.get("files"), str):
        values["files"] = [values["files"]]
    if isinstance(values.get("files"), list):
        values["files"] = [str(path.parent / str(file)) for file in values["files"]]
    return checked_config(values, str(path))


def checked_config(values: dict[str, object], where: str) -> AnyConfig:
    """The configuration in these values: of events where they say ``task = "next_item"``.

    Raises:
        ConfigError: names the first wrong key of ``where`` and why.
    """
    try:
        if "task" in values:
            return SequenceConfig.model_validate(values)
        return PrepareConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{where}: {told(error)}") from None
