"""The tables of docs/scale.md: from the formulas, the simulation and the committed constants."""

from collections.abc import Callable, Sequence
from functools import cache

from benchmarks.scale.constants import SOURCES, measured
from benchmarks.scale.model import Machines, day, step, table_bytes
from benchmarks.scale.sharding import Plan, by_range, in_turn, simulated
from benchmarks.scale.workload import INTERNET, Workload

SHAPES = (
    Machines(1, 16, 25),
    Machines(1, 64, 25),
    Machines(4, 16, 10),
    Machines(4, 16, 25),
    Machines(4, 64, 25),
)
WAYS = {"neighbours together": by_range, "in turn": in_turn}


def table(name: str) -> str:
    """One of the page's tables, as Markdown."""
    return _TABLES[name]()


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    align = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, align, *rows))


def _constants() -> str:
    found = measured()
    rows = [
        (what, f"{scale * getattr(found, name):,.{digits}f}", f"`{command}`")
        for name, (what, scale, digits, command) in SOURCES.items()
    ]
    return _markdown(("constant", "measured", "by"), rows)


def _memory() -> str:
    load: Workload = INTERNET
    rows = [
        (table.name, f"{table.rows:,}", f"{12 * load.dim * table.rows / 1e9:.1f}")
        for table in load.tables
    ]
    rows.append(("all tables", f"{load.table_rows:,}", f"{table_bytes(load) / 1e9:.1f}"))
    dense = load.dense * 12 / 1e9
    rows.append(("everything else (in each process)", f"{load.dense:,}", f"{dense:.3f}"))
    return _markdown(("parameters of", "rows", "GB, with both moments"), rows)


@cache
def _plan(way: str, processes: int) -> Plan:
    return simulated(INTERNET, way, WAYS[way], processes)


def _sharding() -> str:
    plans = [_plan(way, processes) for processes in (4, 16, 64) for way in WAYS]
    rows = [
        (p.name, f"{p.processes}", f"{p.gigabytes:.2f}", f"{p.asked:,.0f}", f"{p.uneven:.2f}", f"{p.sent:.1f}")
        for p in plans
    ]  # fmt: skip
    head = ("rows lie", "processes", "GB each", "rows that the busiest gives a step")
    return _markdown((*head, "over the mean", "MB that it sends"), rows)


def _days() -> str:
    rows = []
    for machines in SHAPES:
        found = day(INTERNET, measured(), machines, _plan("in turn", machines.processes))
        rows.append(
            (
                f"{machines.number} x {machines.cores} cores, {machines.gigabit:.0f} Gbit/s",
                f"{found.memory:.0f}",
                f"{found.step.compute:.0f} + {found.step.inside:.0f} + {found.step.network:.0f}",
                f"{INTERNET.batch / found.step.total:,.0f}",
                f"{60 * found.train_hours:.0f}",
                f"{3600 * found.search_hours:.0f}",
                f"{60 * found.prepare_core_hours / machines.processes:.0f}",
            )
        )
    head = ("machines", "GB each", "ms a step: compute + inside + network", "1,000 rows a second")
    return _markdown(
        (*head, "minutes to train", "seconds to search masks", "minutes to prepare"), rows
    )


def _ways() -> str:
    rows = []
    for way in WAYS:
        machines = Machines(4, 16, 25)
        found = step(INTERNET, measured(), machines, _plan(way, machines.processes))
        rows.append((way, f"{found.total:.0f}", f"{found.inside + found.network:.0f}"))
    return _markdown(("rows lie", "ms a step", "of it sending"), rows)


_TABLES: dict[str, Callable[[], str]] = {
    "constants": _constants,
    "memory": _memory,
    "sharding": _sharding,
    "days": _days,
    "ways": _ways,
}
