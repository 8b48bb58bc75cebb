"""What ``isthmus prepare`` is asked to do with events: who took which item of which domain, and when."""

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from isthmus.data.spark_config import SparkSettings, check_engine
from isthmus.schema import Frozen


class SequenceColumns(Frozen):
    """The names of the columns of events; an event has no label, it happened."""

    user: str
    item: str
    domain: str
    time: str


class SequenceSplit(Frozen):
    """Which events train, choose and judge.

    ``last``: a user's last event is test, the one before it valid, all earlier ones train; users
    with fewer than three events train only. Others' training events may be later than a user's
    test event: the protocol of most papers, not that of a launch.

    ``time``: by quantiles of the time, as rows of a ranker are; every event of a window is a target.
    """

    by: Literal["last", "time"] = "last"
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)

    @model_validator(mode="after")
    def _consistent(self) -> "SequenceSplit":
        if min(self.fractions) < 0 or abs(sum(self.fractions) - 1) > 1e-6 or not self.fractions[0]:
            raise ValueError(
                f"split fractions {self.fractions} must be non-negative, sum to 1, and train "
                f"must have some"
            )
        if self.by == "last" and self.fractions != (0.8, 0.1, 0.1):
            raise ValueError('split: fractions belong to by = "time"; "last" has none')
        return self


class SequenceConfig(Frozen):
    """A preparation of events for next-item prediction: ``task = "next_item"`` tells it from a ranker's.

    ``length``: the newest so many events are a history. ``min_user_events``, ``min_item_events``:
    users and items with fewer events are left out, before the split and thus by all events (as the
    papers do: a mild look-ahead, the same for every model); once, items first, or with ``core``
    again and again until both hold (k-core). ``min_count``: items with fewer *training* events are
    unknown, as are domains with fewer than ``min_domain_rows`` of them.

    ``items_by_domain``: an item that occurs in several domains becomes one item in each; without
    it such items are refused, for an item belongs to one domain.
    """

    task: Literal["next_item"]
    name: str
    files: tuple[str, ...] = Field(min_length=1)
    columns: SequenceColumns
    split: SequenceSplit = SequenceSplit()
    length: PositiveInt = 50
    min_user_events: PositiveInt = 1
    min_item_events: PositiveInt = 1
    core: bool = False
    min_count: PositiveInt = 1
    min_domain_rows: NonNegativeInt = 0
    items_by_domain: bool = False
    engine: Literal["duckdb", "spark"] = "duckdb"
    spark: SparkSettings = Field(default=SparkSettings(), exclude=True)
    source: str = ""
    memory: str | None = None
    max_rejected: float = Field(default=0.01, ge=0, le=1)

    @model_validator(mode="after")
    def _consistent(self) -> "SequenceConfig":
        check_engine(self.engine, self.model_fields_set)
        return self

    def uses(self) -> list[tuple[str, str]]:
        """The raw columns that are read, each with its use."""
        columns = self.columns
        keys = [(name, "key") for name in (columns.user, columns.item, columns.domain)]
        return [*keys, (columns.time, "time")]
