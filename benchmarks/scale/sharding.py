"""A plan of row-sharded tables, simulated: who holds how much, who is asked how often.

Batches are drawn from the workload's own distribution and dealt out to processes as training does;
each asks for the unique rows of its part (see ``isthmus.nn.sharded``). Nothing of the tables' size is
held: an id's owner follows from the id.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.scale.workload import Ids, Workload

STEPS = 5
BYTES_A_NUMBER, BYTES_AN_ID = 4, 8
COPIES = 3  # a weight and the two moments of Adam


@dataclass(frozen=True, slots=True)
class Plan:
    """One way to shard, measured in the simulation; means over steps.

    Attributes:
        gigabytes: of tables and their moments, of the fullest process.
        asked: rows that the busiest process gives in a step.
        uneven: that, over the mean of all processes.
        sent: megabytes that the busiest process sends in a step: rows it gives, ids and gradients
            of the rows it uses.
    """

    name: str
    processes: int
    gigabytes: float
    asked: float
    uneven: float
    sent: float


Owner = Callable[[Ids, int, int], Ids]
"""Global rows, rows of all tables, processes -> the process that holds each."""


def by_range(rows: Ids, total: int, processes: int) -> Ids:
    """Neighbouring rows together."""
    return rows // -(-total // processes)


def in_turn(rows: Ids, total: int, processes: int) -> Ids:
    """Row by row, like cards."""
    return rows % processes


def simulated(
    workload: Workload, name: str, owner: Owner, processes: int, *, seed: int = 0
) -> Plan:
    """The plan of one way to shard."""
    draw = np.random.default_rng(seed)
    given = np.zeros((STEPS, processes))
    used = np.zeros((STEPS, processes))
    for step in range(STEPS):
        for asker in range(processes):
            rows = _asked(workload, workload.batch // processes, draw)
            owners = owner(rows, workload.table_rows, processes)
            others = owners[owners != asker]
            given[step] += np.bincount(others, minlength=processes)
            used[step, asker] += len(others)
    row = workload.dim * BYTES_A_NUMBER
    sent = (given * row + used * (row + BYTES_AN_ID)).mean(0).max() / 1e6
    held = -(-workload.table_rows // processes) * row * COPIES
    busiest = given.mean(0).max()
    return Plan(name, processes, held / 1e9, busiest, busiest / given.mean(), sent)


def _asked(workload: Workload, batch: int, draw: np.random.Generator) -> Ids:
    """The unique rows of the fused table that a process's part of a batch reads."""
    start, found = 0, []
    for table in workload.tables:
        found.append(start + np.unique(table.draw(batch * table.lookups, draw)))
        start += table.rows
    return np.concatenate(found)
