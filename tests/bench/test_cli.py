"""bench, tune and leaderboard as a user meets them: exit codes, and one line for a mistake."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from isthmus.bench import BenchConfig, beside, read_rows, write_rows
from tests.report.board_sample import board_rows
from tests.test_cli import isthmus, refused

TOML = """
name = "shop"
data = {data}
seeds = [0]
workers = 2
[train]
batch_size = 512
max_epochs = 1
[tune]
trials = 2
max_epochs = 1
rows = 500
grid = {{lr = [1e-3, 1e-2]}}
[[entries]]
label = "good"
model = "mlp"
settings = {{hidden = [8], embedding_dim = 4}}
[[entries]]
label = "bad"
model = "mlp"
settings = {{hidden = [8], embedding_dim = 4}}
train = {{lr = 1e30}}
"""


@pytest.fixture
def toml(tmp_path, data):
    path = tmp_path / "shop.toml"
    path.write_text(TOML.format(data=json.dumps(str(data))), encoding="utf-8")
    return path


@pytest.mark.slow
def test_tune_bench_leaderboard(toml, tmp_path):
    """A diverging entry: its trial is a finding, its run a failure that stops nothing."""
    done = isthmus("tune", toml, "--only", "good", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = isthmus("bench", toml, "--missing", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "bad seed 0 failed: epoch 1, step" in done.stderr
    assert "Traceback" not in done.stderr
    assert "bad is not tuned" in done.stderr
    results = tmp_path / "results" / "shop.csv"
    assert [(row["label"], row["trials"]) for row in read_rows(results)] == [("good", "2")]
    assert len(read_rows(beside(results, "tuning"))) == 2
    assert "| good | 1 |" in done.stdout
    done = isthmus("leaderboard", toml, "--out", tmp_path / "board", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "board/leaderboard.html" in done.stdout
    assert "| good | 1 |" in (tmp_path / "board" / "leaderboard.md").read_text(encoding="utf-8")


def test_leaderboard_needs_rows_alone(toml, tmp_path):
    """No data, no runs: committed rows are enough."""
    rows, _, _ = board_rows()
    write_rows(tmp_path / "results" / "shop.csv", rows)
    done = isthmus("leaderboard", toml, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "AREAD" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("bench", "--seeds", "0;1"), "0,1,2"),
        (("bench", "--only", "best"), "it has: good, bad"),
        (("tune", "--only", "best"), "it has: good, bad"),
        (("leaderboard",), "has no rows"),
    ],
)
def test_a_mistake_is_one_line(toml, tmp_path, arguments, told):
    command, *rest = arguments
    assert told in refused(command, toml, *rest, cwd=tmp_path)


def test_ctrl_c_ends_all_and_says_how_to_go_on(toml, tmp_path):
    """The signal that a terminal sends to the command and its processes alike."""
    results = tmp_path / "results" / "shop.csv"
    seeds = ",".join(map(str, range(40)))  # far more than are done before the signal comes
    command = [sys.executable, "-m", "isthmus.cli", "bench", str(toml), "--seeds", seeds]
    # where the tests run in the background of a shell, they ignore the signal, and so would this
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    signal.signal(signal.SIGINT, before)
    while not results.exists():
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate()
    assert process.returncode == 130
    assert "the same command goes on where it was" in told
    assert "Traceback" not in told
    rows = read_rows(results)
    assert 1 <= len(rows) < 40
    assert all(row["domain_auc"] for row in rows)


def test_the_example_of_the_docs_is_a_benchmark():
    page = Path(__file__).parents[2] / "docs" / "benchmarks.md"
    (example,) = re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    config = BenchConfig.model_validate(tomllib.loads(example))
    assert config.tune.trials == 8
    for entry in config.entries:
        assert config.trial(entry, config.own(entry)).train.max_rows == 300_000
    assert config.config(config.entries[1], 0).train.max_epochs == 20
