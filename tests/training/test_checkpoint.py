"""Checkpoints: exact, and as many as are wanted."""

from pathlib import Path

import pytest
import torch
from torch import nn

from isthmus.training import checkpoint
from isthmus.training.state import TrainingState
from tests.training.states import FILES, same, same_state, trained


def test_a_state_comes_back_whole(tmp_path: Path) -> None:
    state = trained(3)
    path = checkpoint.save(state, tmp_path)
    assert sorted(p.name for p in path.iterdir()) == sorted(FILES)
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert same_state(found, state)
    assert (found.epochs, found.best_epoch) == (3, 0)


def test_scores_that_are_no_numbers_come_back(tmp_path: Path) -> None:
    state = trained(2)
    state.scores = [float("nan"), float("-inf")]
    state.losses = [{"logloss": float("inf")}, {"logloss": -0.0}]
    found = checkpoint.load(checkpoint.save(state, tmp_path))
    assert same_state(found, state)


def test_there_is_nothing_to_go_on_from_before_the_first(tmp_path: Path) -> None:
    assert checkpoint.latest(tmp_path) is None
    assert checkpoint.latest(tmp_path / "missing") is None


def test_the_best_weights_are_stored_once(tmp_path: Path) -> None:
    state = trained(1)  # best is this very epoch
    path = checkpoint.save(state, tmp_path)
    assert "best.safetensors" not in {p.name for p in path.iterdir()}
    found = checkpoint.load(path)
    assert same_state(found, state)
    # equal weights under another object are the same bytes on disk
    twin = TrainingState(**{**vars(state), "best": {k: v.clone() for k, v in state.best.items()}})
    again = checkpoint.save(twin, tmp_path / "twin")
    assert {p.name: p.read_bytes() for p in again.iterdir()} == {
        p.name: p.read_bytes() for p in path.iterdir()
    }


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "Adagrad", "RMSprop", "Rprop", "Adamax"])
def test_training_goes_on_bit_for_bit(tmp_path: Path, name: str) -> None:
    def steps(model: nn.Module, optimizer: torch.optim.Optimizer, count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            model(torch.randn(8, 4)).square().mean().backward()
            optimizer.step()

    def new() -> tuple[nn.Module, torch.optim.Optimizer]:
        model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
        extra = {"momentum": 0.9} if name in ("SGD", "RMSprop") else {}
        return model, getattr(torch.optim, name)(model.parameters(), lr=0.01, **extra)

    torch.manual_seed(0)
    model, optimizer = new()
    steps(model, optimizer, 3)
    state = dict(model.state_dict())
    checkpoint.save(TrainingState([0.0], [{}], state, optimizer.state_dict(), state), tmp_path)
    torch.manual_seed(1)
    steps(model, optimizer, 3)

    found = checkpoint.latest(tmp_path)
    assert found is not None
    resumed, its_optimizer = new()
    resumed.load_state_dict(found.model)
    its_optimizer.load_state_dict(found.optimizer)
    torch.manual_seed(1)
    steps(resumed, its_optimizer, 3)
    assert same(dict(resumed.state_dict()), dict(model.state_dict()))
    assert same(its_optimizer.state_dict(), optimizer.state_dict())


def test_the_same_state_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = (checkpoint.save(trained(2), tmp_path / name) for name in "ab")
    assert {p.name: p.read_bytes() for p in one.iterdir()} == {
        p.name: p.read_bytes() for p in two.iterdir()
    }
    other = checkpoint.save(trained(2, seed=1), tmp_path / "c")
    assert (other / "manifest.json").read_bytes() != (one / "manifest.json").read_bytes()


# --- which ones are kept


def test_the_newest_are_kept(tmp_path: Path) -> None:
    for epochs in range(1, 6):
        checkpoint.save(trained(epochs), tmp_path, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["epoch-0004", "epoch-0005"]
    checkpoint.save(trained(6), tmp_path, keep=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["epoch-0006"]


def test_ten_thousand_epochs_stay_in_order(tmp_path: Path) -> None:
    long = TrainingState([0.0] * 9999, [{}] * 9999, {}, {}, {})
    checkpoint.save(long, tmp_path)
    long.scores.append(0.0)
    long.losses.append({})
    checkpoint.save(long, tmp_path)
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert found.epochs == 10_000


def test_later_ones_of_an_abandoned_attempt_go(tmp_path: Path) -> None:
    for epochs in (1, 2, 3):
        checkpoint.save(trained(epochs), tmp_path, keep=3)
    (tmp_path / "epoch-0002" / "state.json").unlink()
    (tmp_path / "epoch-0003" / "state.json").unlink()
    state = checkpoint.latest(tmp_path)
    assert state is not None
    assert state.epochs == 1
    checkpoint.save(trained(2), tmp_path, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["epoch-0001", "epoch-0002"]
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert found.epochs == 2


def test_orphans_are_swept_and_strangers_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".epoch-0001.0123abcd.tmp").mkdir()
    (tmp_path / ".epoch-0001.0123abcd.tmp" / "model.safetensors").write_bytes(b"torn")
    (tmp_path / "epoch-best").mkdir()
    assert checkpoint.latest(tmp_path) is None
    checkpoint.save(trained(1), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["epoch-0001", "epoch-best"]
