"""Checkpoints: exact, checksummed, never pickle; a damaged one gives way to the one before it."""

import io
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from torch import Tensor, nn

from isthmus.errors import IntegrityError, MismatchError, TrainingError
from isthmus.files import digest_of, read_sealed, sealed
from isthmus.progress import ConsoleReporter
from isthmus.training import checkpoint, tensors
from isthmus.training.state import TrainingState

FILES = [f"{name}.safetensors" for name in ("model", "optimizer", "best")]
FILES += ["state.json", "manifest.json"]


def trained(epochs: int, seed: int = 0) -> TrainingState:
    """A small model after some steps; its best epoch is the first."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    optimizer = torch.optim.Adam(model.parameters(), 0.1, amsgrad=True)
    state = TrainingState()
    for epoch in range(epochs):
        optimizer.zero_grad()
        loss = model(torch.randn(8, 4)).square().mean()
        loss.backward()
        optimizer.step()
        state.scores.append(1.0 / (epoch + 3))
        state.losses.append({"logloss": float(loss.detach()), "aux": 0.1})
        state.model = {k: v.clone() for k, v in model.state_dict().items()}
        state.optimizer = optimizer.state_dict()
        if epoch == 0:
            state.best = state.model
    return state


def same(a: Any, b: Any) -> bool:
    """Equal in type, value, order, dtype, shape, stride and every bit."""
    if isinstance(a, Tensor):
        if (type(a), a.dtype, a.shape, a.stride()) != (type(b), b.dtype, b.shape, b.stride()):
            return False
        buffers = [t.contiguous().reshape(-1).view(torch.uint8).tolist() for t in (a, b)]
        return buffers[0] == buffers[1]
    if isinstance(a, dict):
        return isinstance(b, dict) and len(a) == len(b) and same(list(a.items()), list(b.items()))
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return a.hex() == b.hex()
    return a == b


def same_state(a: TrainingState, b: TrainingState) -> bool:
    return same(vars(a), vars(b))


# --- exactness


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


def tensor(dtype: torch.dtype, *shape: int) -> Tensor:
    return torch.randint(0, 2, shape).to(dtype)


SPECIAL: dict[str, Callable[[], Tensor]] = {
    "zero-dim": lambda: torch.tensor(3.5),
    "empty": lambda: torch.empty(0),
    "empty, with a shape": lambda: torch.empty(3, 0, 2, dtype=torch.int64),
    "transposed": lambda: torch.randn(3, 4).t(),
    "channels last": lambda: torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "NaN with payload": lambda: torch.tensor([0x7FC0BEEF, 0x7F800000]).int().view(torch.float32),
    "negative zero": lambda: torch.tensor([-0.0, 0.0]),
    "subnormal": lambda: torch.tensor([1e-44]),
    "int64 beyond 2^53": lambda: torch.tensor([2**62 + 1, -(2**63)]),
    "buffer": lambda: torch.randn(3).requires_grad_(True).detach(),
}
for _type in ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float64"):
    SPECIAL[_type] = lambda dtype=getattr(torch, _type): tensor(dtype, 2, 3)


@pytest.mark.parametrize("kind", SPECIAL)
def test_every_kind_of_tensor_comes_back(tmp_path: Path, kind: str) -> None:
    value = SPECIAL[kind]()
    state = TrainingState(
        [0.5],
        [{}],
        {"weight": value},
        {"state": {0: {"exp_avg": value.clone()}}},
        {"weight": value},
    )
    checkpoint.save(state, tmp_path)
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert same_state(found, state)


def test_views_with_gaps_and_overlaps_come_back_by_value(tmp_path: Path) -> None:
    views = {
        "slice": torch.arange(10.0)[::3],
        "expanded": torch.tensor([1.0, 2.0])[:, None].expand(2, 5),
    }
    checkpoint.save(TrainingState([0.0], [{}], views, {}, views), tmp_path)
    found = checkpoint.latest(tmp_path)
    assert found is not None
    for name, view in views.items():
        assert torch.equal(found.model[name], view)
        assert found.model[name].is_contiguous()


def test_a_parameter_that_requires_grad_comes_back_as_a_plain_tensor(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.randn(3))
    checkpoint.save(TrainingState([0.0], [{}], {"w": weight}, {}, {"w": weight}), tmp_path)
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert type(found.model["w"]) is Tensor
    assert not found.model["w"].requires_grad
    assert torch.equal(found.model["w"], weight)


def test_tied_weights_stay_tied_and_views_of_one_storage_part(tmp_path: Path) -> None:
    whole = torch.arange(12.0)
    state = {"tied": whole, "again": whole, "head": whole[:4], "tail": whole[2:], "t": whole}
    node, kept = tensors.flatten(state)
    assert list(kept) == ["tied", "head", "tail"]  # the twins are stored once
    back = tensors.restore(json.loads(json.dumps(node)), tensors.unpack(tensors.pack(kept)))
    assert same(back, state)
    assert back["tied"] is back["again"]
    back["head"].zero_()
    assert torch.equal(back["tail"], whole[2:])


def test_names_that_collide_do_not_mix() -> None:
    state = {"a.b": torch.zeros(2), "a": {"b": torch.ones(3)}, 0: torch.ones(1), "0": torch.ones(4)}
    node, kept = tensors.flatten(state)
    assert len(kept) == 4
    assert same(tensors.restore(node, kept), state)


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]))
)
dtypes = st.sampled_from([torch.float32, torch.bfloat16, torch.bool, torch.int64, torch.float64])
tensors_of = st.builds(
    lambda dtype, shape: tensor(dtype, *shape), dtypes, st.lists(st.integers(0, 3), max_size=3)
)
nested = st.recursive(
    scalars | tensors_of,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.integers() | st.text("ab.0~") | st.booleans(), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(state=st.dictionaries(st.text("ab.", min_size=1), nested, max_size=4))
@settings(deadline=None)
def test_any_nested_state_comes_back(state: dict[str, Any]) -> None:
    node, kept = tensors.flatten(state)
    again = json.loads(json.dumps(node, sort_keys=True))
    assert same(tensors.restore(again, tensors.unpack(tensors.pack(kept))), state)


def test_an_ordered_dict_is_kept_as_a_dict() -> None:
    state = OrderedDict(b=1, a=torch.ones(1))
    node, kept = tensors.flatten(state)
    assert list(tensors.restore(node, kept)) == ["b", "a"]


@pytest.mark.parametrize(
    "value",
    [object(), {1, 2}, b"bytes", 1j, torch.ones(2).to_sparse(), torch.ones(2, device="meta")],
    ids=lambda value: type(value).__name__,
)
def test_what_could_not_be_restored_is_refused_with_its_place(value: object) -> None:
    with pytest.raises(TypeError, match=r"state\.0\.x: .* checkpoint"):
        tensors.flatten({"state": {0: {"x": value}}})


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


# --- damage


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("two")
    for epochs in (2, 3):
        checkpoint.save(trained(epochs), directory)
    return directory


def falls_back(directory: Path) -> str:
    """That epoch 2 is taken instead of 3; returns what the user is told."""
    console = Console(record=True, width=1000, file=io.StringIO())
    found = checkpoint.latest(directory, reporter=ConsoleReporter(console))
    assert found is not None
    assert same_state(found, trained(2))
    said = console.export_text()
    assert "Going on from epoch 2" in said
    assert "epoch-0003" in said
    return said


def copy(two: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(two, tmp_path / "copy"))


@pytest.mark.parametrize("name", FILES)
def test_truncated_at_every_sixteenth(two: Path, tmp_path: Path, name: str) -> None:
    path = copy(two, tmp_path) / "epoch-0003" / name
    whole = path.read_bytes()
    for sixteenth in range(16):
        path.write_bytes(whole[: len(whole) * sixteenth // 16])
        said = falls_back(tmp_path / "copy")
        assert name in said
    path.write_bytes(whole)
    assert checkpoint.latest(tmp_path / "copy").epochs == 3  # type: ignore[union-attr]


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit(two: Path, tmp_path: Path, name: str) -> None:
    path = copy(two, tmp_path) / "epoch-0003" / name
    whole = path.read_bytes()
    for place in range(0, 8 * len(whole), len(whole) // 3 + 1):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        assert name in falls_back(tmp_path / "copy")


@pytest.mark.parametrize("name", FILES)
def test_deleted(two: Path, tmp_path: Path, name: str) -> None:
    (copy(two, tmp_path) / "epoch-0003" / name).unlink()
    assert f"{name} is damaged: No such file" in falls_back(tmp_path / "copy")


@pytest.mark.parametrize("name", FILES)
def test_files_of_two_checkpoints_swapped(two: Path, tmp_path: Path, name: str) -> None:
    directory = copy(two, tmp_path)
    old, new = directory / "epoch-0002" / name, directory / "epoch-0003" / name
    contents = old.read_bytes(), new.read_bytes()
    if contents[0] == contents[1]:
        assert name == "best.safetensors"  # epoch 1 is the best of both
        return
    new.write_bytes(contents[0])
    falls_back(directory)
    old.write_bytes(contents[1])
    with pytest.raises(IntegrityError, match=r"no checkpoint in .* can be used: .*0003.*0002"):
        checkpoint.latest(directory)


def test_directories_swapped(two: Path, tmp_path: Path) -> None:
    directory = copy(two, tmp_path)
    (directory / "epoch-0003").rename(directory / "x")
    (directory / "epoch-0002").rename(directory / "epoch-0003")
    (directory / "x").rename(directory / "epoch-0002")
    with pytest.raises(IntegrityError, match=r"claims to be of the epochs \[2, 3\]"):
        checkpoint.latest(directory)


def test_all_damaged_says_what_to_do(two: Path, tmp_path: Path) -> None:
    directory = copy(two, tmp_path)
    for path in directory.glob("*/optimizer.safetensors"):
        path.unlink()
    with pytest.raises(IntegrityError, match=f"To train from the start, delete {directory}"):
        checkpoint.latest(directory)


def test_another_version_of_the_format_is_named(two: Path, tmp_path: Path) -> None:
    path = copy(two, tmp_path) / "epoch-0003" / "manifest.json"
    manifest = read_sealed(path, "")
    path.write_bytes(sealed({**manifest, "version": 2}))
    with pytest.raises(MismatchError, match=r"version 2; this library reads .* version 1"):
        checkpoint.latest(tmp_path / "copy")


# --- loading runs nothing


class Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def pickled(tmp_path: Path, kind: str) -> bytes:
    evil = {"weight": Evil(tmp_path / "ran")}
    if kind == "pickle":
        return pickle.dumps(evil)
    buffer = io.BytesIO()
    torch.save(evil, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["pickle", "torch.save"])
@pytest.mark.parametrize("resealed", [False, True], ids=["as is", "with a manifest to match"])
@pytest.mark.parametrize("name", FILES[:4])
def test_a_pickle_is_refused_and_not_run(
    two: Path, tmp_path: Path, kind: str, resealed: bool, name: str
) -> None:
    path = copy(two, tmp_path) / "epoch-0003"
    content = pickled(tmp_path, kind)
    (path / name).write_bytes(content)
    if resealed:
        manifest = read_sealed(path / "manifest.json", "")
        manifest["files"][name] = digest_of(content).model_dump()
        (path / "manifest.json").write_bytes(sealed(manifest))
    with pytest.raises(IntegrityError, match="damaged"):
        checkpoint.load(path)
    falls_back(tmp_path / "copy")
    assert not (tmp_path / "ran").exists()
    if kind == "pickle":
        pickle.loads(content)  # it would have
        assert (tmp_path / "ran").exists()


def test_nothing_here_can_read_a_pickle() -> None:
    for module in (checkpoint, tensors):
        source = Path(module.__file__).read_text()
        for word in ("import pickle", "torch.load(", "torch.save(", "eval(", "import_module"):
            assert word not in source.replace("safetensors.torch.", ""), (module, word)


@pytest.mark.parametrize(
    "tree",
    [b"", b"[]", b"{}", b'{"scores": 1}', b'{"scores": {"exec": "x"}, "losses": []}', b"\xff"],
)
def test_a_sealed_state_that_is_nonsense_is_damage(two: Path, tmp_path: Path, tree: bytes) -> None:
    path = copy(two, tmp_path) / "epoch-0003"
    (path / "state.json").write_bytes(tree)
    manifest = read_sealed(path / "manifest.json", "")
    manifest["files"]["state.json"] = digest_of(tree).model_dump()
    (path / "manifest.json").write_bytes(sealed(manifest))
    falls_back(tmp_path / "copy")


# --- disk full

FILL = """
import resource, sys
import torch
from isthmus.errors import TrainingError
from isthmus.training import checkpoint
from isthmus.training.state import TrainingState
if sys.argv[2] != "0":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
state = checkpoint.latest(sys.argv[1])
state.scores.append(0.1)
state.losses.append({})
state.model = {**state.model, "big": torch.zeros(300_000)}
try:
    checkpoint.save(state, sys.argv[1])
except TrainingError as error:
    print(error)
"""


def fill(directory: Path, limit: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-c", FILL, directory, str(limit)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def test_a_file_too_large_leaves_the_old_checkpoint(two: Path, tmp_path: Path) -> None:
    directory = copy(two, tmp_path)
    said = fill(directory, limit=100_000)
    assert "the checkpoint of epoch 4 could not be kept" in said
    assert "Make room" in said
    assert len(said.splitlines()) == 1
    assert sorted(p.name for p in directory.iterdir()) == ["epoch-0002", "epoch-0003"]
    found = checkpoint.latest(directory)
    assert found is not None
    assert same_state(found, trained(3))


def test_a_full_disk_leaves_the_old_checkpoint(two: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    try:
        directory = copy(two, disk)
        assert "could not be kept" in (said := fill(directory))
        assert "the disk is full" in said
        assert sorted(p.name for p in directory.iterdir()) == ["epoch-0002", "epoch-0003"]
        found = checkpoint.latest(directory)
        assert found is not None
        assert same_state(found, trained(3))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_directory_that_cannot_be_made_is_a_training_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TrainingError, match="epoch 1 could not be kept"):
        checkpoint.save(trained(1), tmp_path / "file")
