"""Splits: equal times and users are never parted, and cuts lie where they were asked for."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isthmus.data.config import Split
from isthmus.data.engine import Engine, open_engine
from isthmus.data.prepare import prepare
from isthmus.data.split import by_time, time_code, user_code
from isthmus.errors import DataError
from tests.data.raw import config, raw, write


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_engine("duckdb", tmp_path_factory.mktemp("engine"), None) as opened:
        yield opened


def cuts(
    engine: Engine, times: list[int], fractions: tuple[float, float, float], at: Path
) -> tuple:
    counted = Counter(times)
    table = pa.table({"value": list(counted), "n": list(counted.values())})
    pq.write_table(table, at / "times.parquet")
    return by_time(engine, engine.parquet([at / "times.parquet"]), fractions)


def best(times: list[int], wanted: tuple[float, float]) -> float:
    """The least distance from the wanted counts, over all pairs of rising cuts."""
    starts = [sum(t < cut for t in times) for cut in sorted(set(times))[1:]]
    pairs = [(a, b) for a in starts for b in starts if a < b]
    return min(abs(a - wanted[0]) + abs(b - wanted[1]) for a, b in pairs)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.integers(-3, 12), min_size=3, max_size=60))
def test_time_cuts_are_the_nearest_that_part_no_equal_times(
    engine: Engine, tmp_path: Path, times: list[int]
) -> None:
    if len(set(times)) < 3:
        with pytest.raises(DataError, match="too few distinct times"):
            cuts(engine, times, (0.8, 0.1, 0.1), tmp_path)
        return
    a, b = cuts(engine, times, (0.8, 0.1, 0.1), tmp_path)
    sizes = [sum(t < a for t in times), sum(t < b for t in times)]
    assert 0 < sizes[0] < sizes[1] < len(times)
    wanted = (0.8 * len(times), 0.9 * len(times))
    distance = sum(abs(size - share) for size, share in zip(sizes, wanted, strict=True))
    assert distance == pytest.approx(best(times, wanted))


def test_distinct_times_give_the_fractions_exactly(engine: Engine, tmp_path: Path) -> None:
    assert cuts(engine, list(range(1000)), (0.8, 0.1, 0.1), tmp_path) == (800, 900)
    assert cuts(engine, list(range(1000)), (0.5, 0.0, 0.5), tmp_path) == (500, 500)
    assert cuts(engine, list(range(1000)), (0.7, 0.3, 0.0), tmp_path) == (700, 1000)
    assert cuts(engine, list(range(1000)), (1.0, 0.0, 0.0), tmp_path) == (1000, 1000)


def test_codes_follow_the_cuts(engine: Engine, tmp_path: Path) -> None:
    pq.write_table(pa.table({"at": [1, 2, 3, 4, 5]}), tmp_path / "rows.parquet")
    rows = engine.parquet([tmp_path / "rows.parquet"])
    found = engine.arrow(rows.select("at", code=time_code(rows["at"], (3, 5)))).to_pylist()
    assert {row["at"]: row["code"] for row in found} == {1: 0, 2: 0, 3: 1, 4: 1, 5: 2}


def test_users_are_hashed_with_the_seed(engine: Engine, tmp_path: Path) -> None:
    names = [f"user {k}" for k in range(4000)]
    pq.write_table(pa.table({"user": names}), tmp_path / "rows.parquet")
    rows = engine.parquet([tmp_path / "rows.parquet"])

    def codes(seed: int, fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)) -> np.ndarray:
        code = user_code(rows.user, Split(by="user", seed=seed, fractions=fractions))
        table = engine.arrow(rows.select("user", code=code)).sort_by("user")
        return table["code"].to_numpy()

    shares = np.bincount(codes(0), minlength=3) / 4000
    # 4 standard errors of a share of 0.8 and of 0.1 at 4,000 users
    np.testing.assert_allclose(shares, [0.8, 0.1, 0.1], atol=0.026)
    assert (codes(0) == codes(0)).all()
    assert (codes(0) != codes(1)).any()
    assert set(codes(0, (1.0, 0.0, 0.0))) == {0}


def test_by_user_no_user_is_in_two_splits(tmp_path: Path) -> None:
    file = write(raw(800, user=np.arange(800) % 90), tmp_path / "in.parquet")
    data = prepare(config(file, split=Split(by="user")), tmp_path / "out")
    users = [set(data.table(split)["user"].tolist()) for split in ("train", "valid", "test")]
    assert len(set.union(*users)) == sum(map(len, users)) == 90
    assert all(users)


def test_by_column(tmp_path: Path) -> None:
    part = pa.array(["a", "b", "c"]).take(pa.array(np.repeat([0, 1, 2], [300, 60, 40])))
    file = write(raw(part=part, at=np.arange(400)), tmp_path / "in.parquet")
    split = Split(by="column", column="part", values=("a", "b", "c"))
    data = prepare(config(file, split=split), tmp_path / "out")
    assert [len(data.table(s)["row"]) for s in ("train", "valid", "test")] == [300, 60, 40]
    other = Split(by="column", column="part")
    with pytest.raises(DataError, match=r"split column 'part' holds 'a', 'b', 'c'; expected only"):
        prepare(config(file, split=other), tmp_path / "out")
