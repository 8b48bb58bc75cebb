"""What a prepared data set consists of: its features and its domains. Names and sizes, never values."""

from typing import Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    NonNegativeInt,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)


class Frozen(BaseModel):
    """A value object: immutable, and strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _false_is_none(value: object) -> object:
    return None if value is False else value


Absent = BeforeValidator(_false_is_none)
"""For a setting that may be None: TOML has no null, so ``false`` says it there."""


class Feature(Frozen):
    """One feature of a row, held as integer ids; id 0 is "unknown" (and padding in a history).

    ``id`` and ``number`` (binned) features are one column, a ``history`` is ``length`` columns.
    ``table`` names the vocabulary (and embedding rows) that the ids count in: features with the
    same table share it. ``size`` counts that vocabulary's ids, 0 included.
    """

    name: str
    kind: Literal["id", "number", "history"] = "id"
    size: PositiveInt
    role: Literal["user", "item", "context"] = "context"
    table: str = ""
    length: PositiveInt = 1

    @model_validator(mode="before")
    @classmethod
    def _own_table_by_default(cls, values: dict[str, object]) -> dict[str, object]:
        if isinstance(values, dict) and not values.get("table"):
            values = {**values, "table": values.get("name")}
        return values

    @model_validator(mode="after")
    def _only_histories_are_long(self) -> "Feature":
        if self.length > 1 and self.kind != "history":
            raise ValueError(
                f"feature {self.name!r}: a {self.kind} has one column, not {self.length}"
            )
        return self


class Schema(Frozen):
    """Everything that a model needs to be built.

    Domain ids: 0 is the unknown domain, ``domains[i]`` has id ``i + 1``; tables over domains
    therefore have ``num_domains + 1`` rows.

    ``items`` counts item ids, 0 included. ``domain_items``, where it is known: ids count domain by
    domain, and ``domains[i]`` has so many of them.
    """

    features: tuple[Feature, ...]
    domains: tuple[str, ...]
    items: PositiveInt = 1
    max_history: PositiveInt = 50
    domain_items: tuple[NonNegativeInt, ...] = ()

    @model_serializer(mode="wrap")
    def _as_it_was(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Schemas without items are written as they were before there were items."""
        values: dict[str, Any] = plain(self)
        if not self.domain_items:
            del values["domain_items"]
        return values

    @model_validator(mode="after")
    def _consistent(self) -> "Schema":
        for kind, names in (("feature", [f.name for f in self.features]), ("domain", self.domains)):
            twice = sorted({name for name in names if list(names).count(name) > 1})
            if twice:
                raise ValueError(f"{kind} named more than once: {', '.join(map(repr, twice))}")
        if self.domain_items and (
            len(self.domain_items) != len(self.domains) or sum(self.domain_items) != self.items - 1
        ):
            raise ValueError(
                f"domain_items has {len(self.domain_items)} entries for {sum(self.domain_items)} "
                f"items; there are {len(self.domains)} domains and {self.items - 1} items"
            )
        sizes: dict[str, int] = {}
        for feature in self.features:
            if sizes.setdefault(feature.table, feature.size) != feature.size:
                raise ValueError(
                    f"feature {feature.name!r} has size {feature.size}, but its table "
                    f"{feature.table!r} has {sizes[feature.table]}; features of one table share its size"
                )
        return self

    def items_of(self, domain: int) -> slice:
        """The item ids of a known domain, where ``domain_items`` says them."""
        start = 1 + sum(self.domain_items[: domain - 1])
        return slice(start, start + self.domain_items[domain - 1])

    @property
    def num_domains(self) -> int:
        """Known domains; the unknown domain is not counted."""
        return len(self.domains)

    @property
    def num_columns(self) -> int:
        """Columns of ``Impressions.features``: one for each id or number, ``length`` for a history."""
        return sum(feature.length for feature in self.features)

    @property
    def columns(self) -> dict[str, slice]:
        """Which columns of ``Impressions.features`` are each feature's."""
        found, start = {}, 0
        for feature in self.features:
            found[feature.name] = slice(start, start := start + feature.length)
        return found

    @property
    def tables(self) -> dict[str, int]:
        """Sizes of the vocabularies, in the order in which features first name them."""
        return {feature.table: feature.size for feature in self.features}
