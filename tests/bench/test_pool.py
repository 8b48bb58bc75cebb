"""Jobs over processes: all are done, and none suffers from another's end."""

import os
import signal
import subprocess
import sys
import time

import pytest

from isthmus.bench.pool import Failure, done
from isthmus.errors import DataError


def work(job):
    """Squares, but for what fails in one of three ways."""
    if job == "user":
        raise DataError("no rows;\n  give some")
    if job == "own":
        raise KeyError("a mistake of ours")
    if job == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    return job * job


@pytest.mark.parametrize("workers", [1, 3])
def test_every_job_has_a_result_or_a_reason(workers):
    jobs = [1, "user", 2, "own", 3, 4]
    found = dict(done(work, jobs, workers))
    assert {job: found[job] for job in (1, 2, 3, 4)} == {1: 1, 2: 4, 3: 9, 4: 16}
    assert found["user"] == Failure("no rows; give some")
    assert found["own"].reason.startswith("KeyError")


def test_a_killed_process_is_replaced():
    found = dict(done(work, ["killed", 1, "killed ", 2, 3], 2))
    assert "exit code -9" in found["killed"].reason
    assert [found[job] for job in (1, 2, 3)] == [1, 4, 9]
    assert found["killed "].reason.startswith("TypeError"), "a string is no number to square"


def test_no_jobs_are_no_results():
    assert list(done(work, [], 2)) == []


def test_stopping_early_leaves_no_process():
    results = done(work, list(range(50)), 2)
    next(results)
    crew = results.gi_frame.f_locals["crew"]
    results.close()
    assert [worker.process.is_alive() for worker in crew] == [False, False]


ORPHANS = """
import sys, time
from pathlib import Path
from isthmus.bench.pool import done
from tests.bench.test_pool import wait_for_ever
list(done(wait_for_ever, [sys.argv[1] + "/a", sys.argv[1] + "/b"], 2))
"""


def wait_for_ever(place):
    """Say which process this is, and never end."""
    with open(place + ".new", "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(str(os.getpid()))
    os.replace(place + ".new", place)  # noqa: PTH105
    while True:
        time.sleep(0.05)


def test_the_processes_end_when_their_parent_is_killed(tmp_path):
    """Else an orphan would hold its run's lock against the same command begun again."""
    parent = subprocess.Popen([sys.executable, "-c", ORPHANS, str(tmp_path)])
    places = [tmp_path / "a", tmp_path / "b"]
    while not all(place.exists() for place in places):
        assert parent.poll() is None
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    for place in places:
        while _alive(int(place.read_text())):  # the test's own time limit is the alarm
            time.sleep(0.05)


def _alive(number):
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{number}/stat", encoding="utf-8") as file:  # noqa: PTH123
        return file.read().rsplit(")", 1)[1].split()[0] != "Z"
