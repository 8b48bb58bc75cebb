"""Runs by what they are to each other: the same but for the seed, isolated counterparts, floors."""

from collections.abc import Sequence
from dataclasses import dataclass

from isthmus.errors import DataError
from isthmus.files import canonical
from isthmus.store import Run

FLOORS = ("popularity", "repeat_own", "markov", "item_knn")
"""Retrievers that count: what a trained one has to beat."""


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that differ in their seed alone, lowest seed first."""

    runs: tuple[Run, ...]

    @property
    def first(self) -> Run:
        return self.runs[0]

    @property
    def isolated(self) -> bool:
        return bool(self.first.config["scope"] == "isolated")

    @property
    def floor(self) -> bool:
        return self.first.config["model"] in FLOORS

    def beside(self, other: "Group") -> bool:
        """Whether both are of the same data and domains and have the same kind of results."""
        one, two = self.first, other.first
        alike = one.data == two.data and one.schema.domains == two.schema.domains
        return other is not self and alike and one.of_items == two.of_items

    def pairs(self, other: "Group") -> list[tuple[Run, Run]]:
        """Runs of both with the same seed."""
        theirs = {run.config["seed"]: run for run in other.runs}
        seeds = [run for run in self.runs if run.config["seed"] in theirs]
        return [(run, theirs[run.config["seed"]]) for run in seeds]


def grouped(runs: Sequence[Run]) -> list[Group]:
    """Groups in the order in which their first runs were given.

    Raises:
        DataError: a run is not finished.
    """
    groups: dict[bytes, dict[int, Run]] = {}
    for run in runs:
        if not run.finished:
            raise DataError(f"{run.path}: is not finished; train it to its end, then diagnose it")
        but_seed = {key: value for key, value in run.config.items() if key != "seed"}
        key = canonical(
            {"config": but_seed, "data": run.data.digest, "domains": run.schema.domains}
        )
        groups.setdefault(key, {}).setdefault(run.config["seed"], run)
    return [Group(tuple(by_seed[seed] for seed in sorted(by_seed))) for by_seed in groups.values()]
