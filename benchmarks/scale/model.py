"""Memory, computation and communication of a day, by formulas over measured constants.

One process a core, one thread a process: that is how the constants were measured. A step's work is
dealt out to all processes; tables are sharded row by row over them, everything else is in each.
"""

from dataclasses import dataclass

from benchmarks.scale.constants import Constants
from benchmarks.scale.sharding import BYTES_A_NUMBER, COPIES, Plan
from benchmarks.scale.workload import Workload

SEARCH_EVERY = 25
"""Steps between mask searches for each domain: ``hemp.STEPS_A_DOMAIN``."""


@dataclass(frozen=True, slots=True)
class Machines:
    """What the work runs on: so many machines alike, with a network between them."""

    number: int
    cores: int
    gigabit: float

    @property
    def processes(self) -> int:
        return self.number * self.cores


@dataclass(frozen=True, slots=True)
class Step:
    """Milliseconds of one training step, in the order in which they come."""

    compute: float
    inside: float
    network: float

    @property
    def total(self) -> float:
        return self.compute + self.inside + self.network


@dataclass(frozen=True, slots=True)
class Day:
    """What a day's rows cost. Hours are of the clock; ``core_hours`` of one core."""

    step: Step
    train_hours: float
    search_hours: float
    prepare_core_hours: float
    memory: float
    disk: float


def table_bytes(workload: Workload) -> int:
    """Of the embedding tables, with both moments of the optimiser."""
    return workload.table_rows * workload.dim * BYTES_A_NUMBER * COPIES


def step(workload: Workload, constants: Constants, machines: Machines, plan: Plan) -> Step:
    """One step of all processes.

    A process computes its part, sends rows and gradients to the others (through memory inside a
    machine, and the share of them that leaves it over the network), and averages the dense
    gradients: a ring sends each of them twice.
    """
    processes = machines.processes
    compute = workload.batch / processes / constants.train_rows_a_second
    rows = plan.sent * 1e6
    dense = 2 * workload.dense * BYTES_A_NUMBER * (processes - 1) / processes
    inside = (rows + dense) / constants.exchange_bytes_a_second
    leaves = 1 - 1 / machines.number
    # Of a ring, a machine's first process alone sends to another machine.
    over = machines.cores * rows * leaves + (dense if machines.number > 1 else 0)
    network = over / (machines.gigabit * 1e9 / 8)
    return Step(1000 * compute, 1000 * inside, 1000 * network)


def day(workload: Workload, constants: Constants, machines: Machines, plan: Plan) -> Day:
    """A day's rows, once: prepared, trained on in one pass, masks searched by schedule."""
    steps = workload.rows_a_day / workload.batch
    found = step(workload, constants, machines, plan)
    searches = steps / (SEARCH_EVERY * workload.domains)
    search = searches * workload.domains * constants.search_seconds_a_domain / machines.processes
    return Day(
        step=found,
        train_hours=steps * found.total / 3.6e6,
        search_hours=search / 3600,
        prepare_core_hours=workload.rows_a_day * constants.prepare_seconds_a_row / 3600,
        memory=table_bytes(workload) / machines.number / 1e9
        + machines.cores * constants.process_bytes / 1e9,
        disk=workload.rows_a_day * constants.prepared_bytes_a_row / 1e9,
    )
