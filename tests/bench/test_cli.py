"""bench, tune and leaderboard as a user meets them: exit codes, and one line for a mistake."""

import json

import pytest

from isthmus.bench import beside, read_rows, write_rows
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
