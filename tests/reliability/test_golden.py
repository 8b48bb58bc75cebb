"""What earlier versions wrote can be read: one run and one checkpoint for each format so far."""

from pathlib import Path

import numpy as np
import pytest
import torch

from isthmus.errors import MismatchError
from isthmus.store import Run
from isthmus.store.manifest import VERSION
from isthmus.training import checkpoint
from tests.reliability import make_golden
from tests.reliability.make_golden import GOLDEN


def test_there_is_one_of_each_version() -> None:
    names = {path.name for path in GOLDEN.iterdir() if path.is_dir()}
    runs = {f"run-v{number + 1}" for number in range(VERSION)}
    checkpoints = {f"checkpoints-v{number + 1}" for number in range(checkpoint.VERSION)}
    assert names == runs | checkpoints
    assert sum(path.stat().st_size for path in GOLDEN.rglob("*") if path.is_file()) < 30_000


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("run-v*")), ids=lambda path: path.name)
def test_runs_of_every_version_can_be_read(path: Path) -> None:
    run = Run.open(path, schema=make_golden.SCHEMA)  # and checks each hash
    assert run.finished
    assert run.data == make_golden.DATA
    assert run.config == make_golden.CONFIG
    assert run.metrics == make_golden.METRICS
    assert list(run.manifest.scores) == [0.5, 0.75, 0.625]
    state = run.model_state()
    assert state["weight"].tolist() == [[0.0, -1.0, -2.0], [-3.0, -4.0, -5.0]]
    assert state["mask"].tolist() == [False, True]
    predictions = run.predictions("test")
    assert predictions.domains == ("books", "jouets, été")
    assert np.array_equal(predictions.score, [0.125, 0.875, 0.5, 0.3])
    assert np.array_equal(predictions.domain, [1, 1, 2, 0])


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("checkpoints-v*")), ids=lambda path: path.name)
def test_checkpoints_of_every_version_can_be_read(path: Path) -> None:
    state = checkpoint.latest(path)
    assert state is not None
    assert state.scores == [0.5, 0.75, 0.625]
    assert state.losses[2] == {"logloss": 0.25}
    assert state.model["weight"].tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert state.model["mask"].dtype == torch.bool
    assert state.best["weight"].tolist() == [[0.0, -1.0, -2.0], [-3.0, -4.0, -5.0]]
    moment = state.optimizer["state"][0]
    assert moment["step"].shape == ()
    assert moment["exp_avg"].tolist() == [[0.0, 2.0, 4.0], [1.0, 3.0, 5.0]]
    assert moment["exp_avg"].stride() == (1, 2)
    (group,) = state.optimizer["param_groups"]
    assert group == {"lr": 0.1, "betas": (0.9, 0.999), "fused": None, "params": [0]}


def test_a_golden_run_does_not_fit_another_schema() -> None:
    other = make_golden.SCHEMA.model_copy(update={"domains": ("books",)})
    with pytest.raises(MismatchError, match="domains is a list of 2 there, a list of 1 here"):
        Run.open(GOLDEN / "run-v1", schema=other)
