"""The parts that need no server: percentiles, forgotten users, refusals, measures."""

import numpy as np
import pytest

from isthmus.errors import IntegrityError
from isthmus.files import StorageError
from isthmus.service.http.errors import CODES, refusal
from isthmus.service.http.forgotten import open_forgotten
from isthmus.service.http.ring import SECONDS, Latencies, Ring


def test_percentiles_are_right_to_a_tenth():
    found, values = Latencies(), np.random.default_rng(0).lognormal(1, 1, 2000)
    for value in values:
        found.add(float(value))
    for share in (0.01, 0.5, 0.9, 0.99, 1.0):
        exact = np.quantile(values, share, method="inverted_cdf")
        assert exact <= found.percentile(share) <= 1.1 * exact
    assert Latencies().percentile(0.5) is None
    slow = Latencies()
    slow.add(1e9)
    assert slow.percentile(0.5) < 1e9


def test_the_ring_keeps_the_last_minutes():
    now = [1000.0]
    ring = Ring(lambda: now[0])
    for second in range(SECONDS + 50):
        now[0] = 1000.5 + second
        ring.add(5.0, failed=second % 2 == 0)
        ring.add(None, failed=False)
    found = ring.seconds()
    assert len(found) == SECONDS
    assert (found[-1].at, found[-1].requests, found[-1].errors) == (1000 + SECONDS + 49, 2, 0)
    assert 5 <= found[-1].p50 <= 5.5
    now[0] += 10 * SECONDS
    assert ring.seconds() == ()
    assert sum(ring.total.counts) == SECONDS + 50


def test_the_forgotten_are_remembered(tmp_path):
    url = f"sqlite:///{tmp_path / 'events.sqlite'}"
    forgotten = open_forgotten(url)
    assert "a" not in forgotten
    for user in ("a", "ключ", "a"):
        forgotten.add(user)
    again = open_forgotten(url)
    assert "a" in again
    assert "ключ" in again
    assert "b" not in again
    file = tmp_path / "events.sqlite.forgotten"
    assert len(file.read_text().splitlines()) == 2
    assert {"a", "ключ"}.isdisjoint(file.read_text().split())  # hashes, and no ids
    assert file.stat().st_mode & 0o077 == 0


def test_a_line_that_was_cut_off_is_overwritten(tmp_path):
    url, file = tmp_path / "e", tmp_path / "e.forgotten"
    open_forgotten(url).add("a")
    whole = file.read_bytes()
    file.write_bytes(whole + whole[:20])
    forgotten = open_forgotten(url)
    forgotten.add("b")
    assert {"a", "b"} <= {user for user in "abc" if user in open_forgotten(url)}
    file.write_bytes(whole[:20] + b"\n" + whole)
    with pytest.raises(IntegrityError, match="is damaged"):
        open_forgotten(url)


def test_forgetting_that_cannot_be_kept_is_no_forgetting(tmp_path):
    forgotten = open_forgotten(tmp_path / "missing" / "e")
    with pytest.raises(StorageError, match="cannot be written"):
        forgotten.add("a")
    assert "a" not in forgotten


@pytest.mark.parametrize("code", CODES)
def test_refusals(code):
    reply = refusal(code, details=[])
    assert reply.status_code == CODES[code][0]
    assert ("retry-after" in reply.headers) == (reply.status_code == 503)
