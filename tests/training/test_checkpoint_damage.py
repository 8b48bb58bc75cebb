"""A damaged checkpoint gives way to the one before it; loading runs nothing; a full disk is survived."""

import io
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from isthmus.errors import IntegrityError, MismatchError, TrainingError
from isthmus.files import digest_of, read_sealed, sealed
from isthmus.progress import ConsoleReporter
from isthmus.training import checkpoint, tensors
from tests.training.states import FILES, same_state, trained


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
    with pytest.raises(IntegrityError, match="claims to be epoch-0002 and epoch-0003 at once"):
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
    path.write_bytes(sealed({**manifest, "version": 3}))
    with pytest.raises(MismatchError, match=r"version 3; this library reads .* version 2"):
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
