"""How often the gate errs in each world, and how often it passes a candidate that is equal."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.gate.worlds import SIZES, Kind, gates
from isthmus.evaluation import Gate, GateRules, Outcome

MARGINS: dict[Kind, float] = {
    "scores": 0.02,
    "scores, collapse": 0.02,
    "ranks": 0.03,
    "sparse ranks": 0.03,
    "ranks, collapse": 0.03,
}


@dataclass(frozen=True)
class Rates:
    """One row of the gate: shares of the repetitions.

    ``unguarded``: passes by Student's lower bound alone.
    """

    name: str
    passes: float
    worse: float
    unguarded: float


@dataclass(frozen=True)
class Errors:
    """A world with one true difference; ``any_worse`` is over the rows of one gate."""

    kind: Kind
    rows: tuple[Rates, ...]
    any_worse: float
    all_pass: float


def at_margin(
    kind: Kind, repetitions: int, *, sizes: tuple[int, ...] = SIZES, small: int = 0
) -> Errors:
    """Every domain is worse by exactly the margin: whatever passes is an error."""
    rules = GateRules(margin=MARGINS[kind], small=small)
    return _errors(kind, gates(kind, rules, repetitions, loss=MARGINS[kind], seed=1, sizes=sizes))


def equal(
    kind: Kind, repetitions: int, *, sizes: tuple[int, ...] = SIZES, small: int = 0
) -> Errors:
    """The candidate is equal in every domain: whatever is called worse is an error.

    In the worlds of collapse it is the incumbent with nobody lost, so nothing differs at all.
    """
    rules = GateRules(margin=MARGINS[kind], small=small)
    return _errors(kind, gates(kind, rules, repetitions, loss=0.0, seed=2, sizes=sizes))


def _errors(kind: Kind, found: Sequence[Gate]) -> Errors:
    rows = []
    for place, first in enumerate(found[0].rows):
        every = [gate.rows[place] for gate in found]
        known = [(row.difference, row.margin) for row in every if row.difference is not None]
        rows.append(
            Rates(
                name=first.name,
                passes=_share(row.outcome is Outcome.passes for row in every),
                worse=_share(row.outcome is Outcome.worse for row in every),
                unguarded=sum(2 * d.value - d.high > -margin for d, margin in known) / len(every),
            )
        )
    return Errors(
        kind=kind,
        rows=tuple(rows),
        any_worse=_share(gate.counts[Outcome.worse] > 0 for gate in found),
        all_pass=_share(gate.exit_code == 0 for gate in found),
    )


def _share(happened: Iterable[bool]) -> float:
    values = list(happened)
    return sum(values) / len(values)
