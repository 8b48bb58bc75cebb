"""The parts of the soak: its traffic over a server, its line through memory, its table."""

import asyncio
import os
from collections import Counter

import numpy as np
import pytest
from benchmarks.serve.load import Server
from benchmarks.serve.made import pipeline
from benchmarks.serve.soak import Plan, Sample, growth, read, slope, soaked, table, write
from benchmarks.serve.traffic import Connections, Traffic

from isthmus.service.http.state import Served
from tests.service.http.running import serving

ITEMS = 300


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A server over a small catalogue of the kind that the soak has."""
    served = Served(pipeline(ITEMS, retriever="markov", ranker="mlp"), ())
    with serving(served, tmp_path_factory.mktemp("made")) as found:
        yield found


async def statuses(port, traffic, count):
    connections, met = Connections(port), Counter()
    for asked in (traffic.next() for _ in range(count)):
        status = await connections.ask(asked.method, asked.path, asked.body)
        met[asked.what] += 1
        assert status in asked.expected, asked
    connections.close()
    return met


def test_every_request_of_the_traffic_is_answered_as_expected(made):
    client, state = made
    met = asyncio.run(statuses(client.base_url.port, Traffic(ITEMS), 400))
    posted = {f"POST {what}" for what in ("recommend", "rank", "events")}
    assert set(met) >= posted | {"GET a user", "DELETE a user", "GET the page", "an unknown route"}
    assert state.store.counts().events > 100
    assert state.measures.errors.keys() >= {"404", "422"}


def test_samples_add_up(made, monkeypatch):
    """Few enough requests that all of them may wait at once."""
    monkeypatch.setattr("benchmarks.serve.soak.EVERY", 0.5)
    memory = iter(range(1000))
    plan = Plan(seconds=4, warm=1, rate=12)
    client, _ = made
    work = soaked(client.base_url.port, Traffic(ITEMS, seed=1), plan, lambda: next(memory))
    samples, failed = asyncio.run(work)
    assert failed == {}
    assert [one.rss for one in samples] == list(range(len(samples)))
    assert samples == sorted(samples, key=lambda one: one.at)
    assert {one.warm for one in samples} <= {one.at >= plan.warm for one in samples}
    assert 0 < sum(one.requests for one in samples) <= 150


def test_a_server_that_is_gone_fails(tmp_path):
    plan = Plan(seconds=0.2, warm=0, rate=50)
    _, failed = asyncio.run(soaked(1, Traffic(ITEMS), plan, lambda: 0.0))
    assert failed
    assert all(what.endswith(": 0") for what in failed)


def test_the_slope_of_a_line_is_exact():
    hours = np.arange(300) * 5 / 3600
    assert slope(hours, 600 + 7.5 * hours) == pytest.approx((7.5, 7.5, 7.5))
    assert np.isnan(slope([1.0, 2.0], [1.0, 2.0])).all()


@pytest.mark.parametrize("kept", [0.0, 0.9])
def test_the_interval_holds_the_slope_also_where_neighbours_err_alike(kept):
    """In 85 % of lines and more, with noise that remembers some ten samples, or none."""
    draw, hours = np.random.default_rng(0), np.arange(300) * 5 / 3600
    hits = plain = 0
    for _ in range(200):
        noise = draw.normal(size=len(hours))
        for place in range(1, len(noise)):
            noise[place] += kept * noise[place - 1]
        low, high = slope(hours, 600 + 3 * hours + noise)[1:]
        hits += low <= 3 <= high
        middle, error = _least_squares(hours, 600 + 3 * hours + noise)
        plain += abs(middle - 3) <= 1.97 * error
    assert hits >= 170
    assert plain < 100 if kept else plain >= 180  # which is why samples are not taken one by one


def _least_squares(x, y):
    (middle, _), covariance = np.polyfit(x, y, 1, cov="unscaled")
    rest = y - np.polyval(np.polyfit(x, y, 1), x)
    return middle, np.sqrt(covariance[0, 0] * (rest @ rest) / (len(x) - 2))


def test_a_table_is_printed_again_from_its_file(tmp_path):
    samples = [
        Sample(5.0 * n, n > 12, 600 + (n > 12) * 0.01 * n, 250, int(n % 50 == 0), 5 + n / 8, 9.0)
        for n in range(1, 121)
    ]
    write(samples, tmp_path / "soak.csv")
    assert read(tmp_path / "soak.csv") == samples
    said = table(samples).splitlines()
    assert len(said) == 2 + 6 + 2
    assert said[2].split("|")[1:4] == [" 0.0 to 1.0 ", " 3,000 ", " 0 "]
    assert said[7].split("|")[1:4] == [" 8.2 to 10.0 ", " 5,250 ", " 1 "]
    assert growth(samples) == pytest.approx((7.2, 7.2, 7.2))
    assert "from 600.2 to 601.1 MiB, by +7.2 MiB an hour" in said[-1]


def test_memory_of_a_process_is_read():
    running = Server.__new__(Server)
    running._child = type("Child", (), {"pid": os.getpid()})
    assert 10 < running.rss() < 100_000
