"""The scale page's arithmetic by hand, and its simulation against one that holds every row. No times."""

import numpy as np
import pytest
from benchmarks.scale.constants import Constants, measured
from benchmarks.scale.model import Machines, day, step, table_bytes
from benchmarks.scale.sharding import Plan, by_range, in_turn, simulated
from benchmarks.scale.workload import INTERNET, Table, Workload

SMALL = Workload(
    rows_a_day=1000,
    domains=4,
    tables=(Table("users", 30, 1, 0.5), Table("items", 11, 3, 0.8)),
    dim=2,
    dense=100,
    batch=40,
)
ROUND = Constants(
    train_rows_a_second=10,
    search_seconds_a_domain=2,
    prepare_seconds_a_row=0.5,
    prepared_bytes_a_row=3,
    exchange_bytes_a_second=1e6,
    process_bytes=1e9,
)


@pytest.mark.parametrize("exponent", [0.5, 0.8, 1.2])
def test_ids_are_met_as_often_as_the_power_law_says(exponent):
    table = Table("t", 1000, 1, exponent)
    ids = table.draw(200_000, np.random.default_rng(0))
    assert ids.min() == 0
    assert ids.max() == 999
    # the continuous law between two ranks, integrated by hand
    power = 1 - exponent
    for first, end in ((0, 1), (0, 10), (100, 500)):
        wanted = ((end + 1) ** power - (first + 1) ** power) / (1001**power - 1)
        found = ((ids >= first) & (ids < end)).mean()
        assert found == pytest.approx(wanted, abs=0.004)


def test_memory_is_a_weight_and_two_moments_a_row():
    assert table_bytes(SMALL) == 41 * 2 * 4 * 3


def test_a_step_by_hand():
    plan = Plan("p", 4, 0, 0, 1, sent=0.002)
    found = step(SMALL, ROUND, Machines(2, 2, gigabit=0.008), plan)
    # 40 rows over 4 processes at 10 a second
    assert found.compute == pytest.approx(1000)
    # 2,000 bytes of rows, and 2 x 100 x 4 x 3/4 of dense gradients, at a megabyte a second
    assert found.inside == pytest.approx(1000 * (2000 + 600) / 1e6)
    # half of two processes' rows, and one process's dense gradients, at a megabyte a second
    assert found.network == pytest.approx(1000 * (2 * 2000 / 2 + 600) / 1e6)
    assert found.total == found.compute + found.inside + found.network


def test_alone_nothing_crosses_the_network():
    plan = Plan("p", 2, 0, 0, 1, sent=0.002)
    assert step(SMALL, ROUND, Machines(1, 2, gigabit=1), plan).network == 0


def test_a_day_by_hand():
    plan = Plan("p", 4, 0, 0, 1, sent=0.0)
    machines = Machines(2, 2, gigabit=1000)
    found = day(SMALL, ROUND, machines, plan)
    assert found.train_hours == pytest.approx(25 * found.step.total / 3.6e6)
    # 25 steps are a quarter of the 100 between searches; 4 domains of 2 s over 4 processes
    assert found.search_hours == pytest.approx(0.25 * 4 * 2 / 4 / 3600)
    assert found.prepare_core_hours == pytest.approx(1000 * 0.5 / 3600)
    assert found.disk == pytest.approx(3000 / 1e9)
    assert found.memory == pytest.approx(41 * 24 / 2 / 1e9 + 2)


def holders(owner, total, processes):
    """Which process holds each row, asked row by row."""
    return [int(owner(np.array([row]), total, processes)[0]) for row in range(total)]


@pytest.mark.parametrize(("owner", "share"), [(by_range, 6), (in_turn, 6)])
def test_every_row_has_one_owner_and_none_holds_more_than_its_share(owner, share):
    counts = np.bincount(holders(owner, 41, 7), minlength=7)
    assert counts.sum() == 41
    assert counts.max() == share


def test_neighbours_stay_together_or_go_round():
    assert holders(by_range, 41, 7)[:7] == [0, 0, 0, 0, 0, 0, 1]
    assert holders(in_turn, 41, 7)[:8] == [0, 1, 2, 3, 4, 5, 6, 0]


@pytest.mark.parametrize("owner", [by_range, in_turn])
def test_the_simulation_counts_what_a_walk_over_every_lookup_counts(owner):
    processes, draw = 4, np.random.default_rng(3)
    given, used = np.zeros(processes), np.zeros(processes)
    holder = holders(owner, SMALL.table_rows, processes)
    for _ in range(5):
        for asker in range(processes):
            rows = set()
            for start, table in ((0, SMALL.tables[0]), (30, SMALL.tables[1])):
                for one in table.draw(10 * table.lookups, draw):
                    rows.add(start + int(one))
            for row in rows:
                if holder[row] != asker:
                    given[holder[row]] += 1 / 5
                    used[asker] += 1 / 5
    found = simulated(SMALL, "p", owner, processes, seed=3)
    assert found.asked == pytest.approx(given.max())
    assert found.uneven == pytest.approx(given.max() / given.mean())
    assert found.sent == pytest.approx((given * 8 + used * 16).max() / 1e6)
    assert found.gigabytes == pytest.approx(11 * 24 / 1e9)


def test_ids_by_frequency_load_the_first_shards_unless_rows_go_round():
    """What ``isthmus.nn.sharded`` deals rows out for."""
    together, round_ = (simulated(INTERNET, "p", owner, 16) for owner in (by_range, in_turn))
    assert together.uneven > 5
    assert round_.uneven < 1.05
    assert round_.sent < together.sent / 3


def test_constants_are_those_of_committed_rows():
    found = measured()
    assert all(getattr(found, name) > 0 for name in found.__slots__)
