"""Checkpoints of sharded tables: saved on two processes, read by one, two and three.

The oracle is a plain model, trained in one process on whole batches: of 7 rows, so that processes
have parts of different sizes.
"""

import resource
from pathlib import Path

import pytest
import torch
from torch import nn

from isthmus import distributed
from isthmus.errors import IntegrityError, TrainingError
from isthmus.nn import EmbeddingTable
from isthmus.nn.sharded import all_processes, shard_tables
from isthmus.optim import Optimizers, RowAdam, update
from isthmus.training import checkpoint
from isthmus.training.state import TrainingState
from isthmus.training.streamed import give, write
from isthmus.training.tensors import unpack
from tests.processes import together

ROWS, SAVED, LAST = 11, 3, 6
"""Rows of the table; the step after which a checkpoint is saved, and the last one."""
TABLE = "table.weight"


class Small(nn.Module):
    """A table and a layer on it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.layer = EmbeddingTable(ROWS, 3, std=1.0), nn.Linear(3, 1)

    def forward(self, ids):
        return self.layer(self.table(ids))[:, 0]


class Training:
    """A model that takes steps, of which this process computes its part."""

    def __init__(self, *, sharded):
        self.model = Small().double()
        if sharded:
            shard_tables(self.model, all_processes())
        self.optimizer = Optimizers(
            dense=torch.optim.Adam(self.model.layer.parameters(), 0.05),
            tables=RowAdam(self.model.table.parameters(), 0.05, l2=0.01),
        )

    def steps(self, first, end):
        for step in range(first, end):
            g = torch.Generator().manual_seed(step)
            ids = torch.randint(ROWS, (7,), generator=g)
            target = torch.randn(7, generator=g, dtype=torch.float64)
            part = distributed.take(7)
            error = self.model(ids[part]) - target[part]
            update(self.optimizer, {"square": error.square().mean()})

    def state(self, best):
        model = {name: value.clone() for name, value in self.model.state_dict().items()}
        return TrainingState(
            scores=[0.6, 0.5] if best else [0.5],
            losses=[{"square": 1.0}] * (1 + bool(best)),
            model=model,
            optimizer=self.optimizer.state_dict(),
            best=best or model,
        )

    def go_on(self, state):
        self.model.load_state_dict(state.model)
        self.optimizer.load_state_dict(state.optimizer)
        self.steps(SAVED, LAST)


def tensors_of(state):
    """All tensors of a state, whole, by where they are."""
    found = {}

    def walk(value, place):
        if isinstance(value, torch.Tensor):
            found[place] = value.full_tensor() if distributed.is_sharded(value) else value
        elif isinstance(value, dict):
            for key, inner in value.items():
                walk(inner, (*place, key))

    for name in ("model", "optimizer", "best"):
        walk(getattr(state, name), (name,))
    return found


def same_values(a, b):
    one, other = tensors_of(a), tensors_of(b)
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def trained(*, sharded):
    """A training after its first steps, and the states after one step and after all of them."""
    training = Training(sharded=sharded)
    training.steps(0, 1)
    first = training.state({})
    training.steps(1, SAVED)
    return training, first, training.state(first.model)


# --- what processes do


def save_on_two(rank, place):
    training, first, state = trained(sharded=True)
    for name in ("kept", "twin"):
        checkpoint.save(first, place / name)
        checkpoint.save(state, place / name)
    disk_full_in_one(rank, state, place)
    training.steps(SAVED, LAST)
    weights = training.model.state_dict()
    if rank == 0:
        write(place / "whole.safetensors", weights)
    else:
        give(weights)


def disk_full_in_one(rank, state, place):
    """All are told, and the checkpoint that was there is whole."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if rank == 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
    try:
        with pytest.raises(TrainingError, match=r"epoch 2 could not be kept"):
            checkpoint.save(state, place / "kept")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert same_values(checkpoint.latest(place / "kept"), state)
    checkpoint.save(state, place / "kept")  # what was left behind is in nobody's way


def load_on_three(rank, place, expected):
    kept = place / "kept"
    for number in (1, 2):
        path = kept / f"epoch-{number:04d}"
        state = checkpoint.load(path)
        with distributed.apart():
            whole = checkpoint.load(path)
        assert len(state.model[TABLE].to_local()) == (4, 4, 3)[rank]
        assert same_values(state, whole)
    for directory in (kept, place / "alone"):  # a lone process kept whole tables
        training = Training(sharded=True)
        training.go_on(checkpoint.latest(directory))
        moments = training.optimizer.parts["tables"].state[training.model.table.weight]
        assert len(moments["mean"].to_local()) == (4, 4, 3)[rank]
        assert_close(training.model.state_dict(), expected)
    with pytest.raises(IntegrityError, match=r"rows-0001.safetensors is damaged"):
        checkpoint.load(place / "damaged" / "epoch-0002")


def assert_close(weights, expected):
    for name, value in weights.items():
        full = value.full_tensor() if distributed.is_sharded(value) else value
        torch.testing.assert_close(full, expected[name])


# --- tests


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    place = tmp_path_factory.mktemp("sharded")
    together(2, save_on_two, place, place)
    return place


@pytest.fixture(scope="module")
def plain():
    return trained(sharded=False)


def test_one_process_reads_what_two_saved(saved, plain):
    _, first, state = plain
    for number, oracle in ((1, first), (2, state)):
        found = checkpoint.load(saved / "kept" / f"epoch-{number:04d}")
        one, other = tensors_of(found), tensors_of(oracle)
        assert one.keys() == other.keys()
        for place, value in one.items():
            torch.testing.assert_close(value, other[place])
    assert found.optimizer["tables"]["state"][0].keys() == {"step", "mean", "square"}


def test_one_process_goes_on_from_what_two_saved(saved):
    straight, training = Training(sharded=False), Training(sharded=False)
    straight.steps(0, LAST)
    training.go_on(checkpoint.latest(saved / "kept"))
    assert_close(training.model.state_dict(), straight.model.state_dict())
    assert_close(unpack((saved / "whole.safetensors").read_bytes()), straight.model.state_dict())


@pytest.mark.slow
def test_three_processes_go_on_from_what_two_and_one_saved(saved, plain, tmp_path):
    _, _, state = plain
    checkpoint.save(state, saved / "alone")
    damaged(saved / "kept", saved / "damaged")
    straight = Training(sharded=False)
    straight.steps(0, LAST)
    together(3, load_on_three, tmp_path, saved, straight.model.state_dict())


def damaged(kept: Path, copy: Path) -> None:
    for file in sorted((kept / "epoch-0002").iterdir()):
        content = bytearray(file.read_bytes())
        if file.name == "rows-0001.safetensors":
            content[-3] ^= 4
        (copy / "epoch-0002").mkdir(parents=True, exist_ok=True)
        (copy / "epoch-0002" / file.name).write_bytes(content)


def test_every_process_writes_its_rows_alone(saved):
    names = {file.name for file in (saved / "kept" / "epoch-0002").iterdir()}
    assert {"rows-0000.safetensors", "rows-0001.safetensors", "rows.json"} <= names
    assert {Path(name).suffix for name in names} == {".safetensors", ".json"}  # and no pickle
    for rank, rows in enumerate((6, 5)):
        file = saved / "kept" / "epoch-0002" / f"rows-{rank:04d}.safetensors"
        held = unpack(file.read_bytes())
        assert len(held) == 4  # weights now and of the best epoch, two moments
        assert {len(tensor) for tensor in held.values()} == {rows}


def test_what_is_best_now_is_written_once(saved):
    held = unpack((saved / "kept" / "epoch-0001" / "rows-0000.safetensors").read_bytes())
    assert len(held) == 3
    state = checkpoint.load(saved / "kept" / "epoch-0001")
    assert torch.equal(state.best[TABLE], state.model[TABLE])


def test_two_that_did_the_same_hold_the_same_bytes(saved):
    one, other = (
        {f.relative_to(saved / name): f.read_bytes() for f in (saved / name).glob("epoch-*/*")}
        for name in ("kept", "twin")
    )
    assert len(one) == 15
    assert one == other
    assert {path.name for path in (saved / "kept").iterdir()} == {"epoch-0001", "epoch-0002"}


@pytest.mark.parametrize("name", ["rows-0000.safetensors", "rows-0001.safetensors", "rows.json"])
@pytest.mark.parametrize("how", ["flipped", "cut", "gone"])
def test_damage_is_named(saved, tmp_path, name, how):
    path = tmp_path / "epoch-0002"
    path.mkdir()
    for file in (saved / "kept" / "epoch-0002").iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    content = bytearray((path / name).read_bytes())
    content[len(content) // 2] ^= 1
    if how == "gone":
        (path / name).unlink()
    else:
        (path / name).write_bytes(content if how == "flipped" else content[:-1])
    with pytest.raises(IntegrityError, match=f"{name} is damaged"):
        checkpoint.load(path)
