"""Atomic writes, sealed manifests, hashes and locks."""

import hashlib
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus import files
from isthmus.errors import IntegrityError, LockedError
from isthmus.files import StorageError

MEND = "Make it again."


def tree(directory: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in directory.iterdir() if p.is_file()}


# --- writing


def test_bytes_and_writers_arrive_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "directory" / "a.bin"
    files.write_atomically(path, b"one")
    assert path.read_bytes() == b"one"
    files.write_atomically(path, lambda file: [file.write(part) for part in (b"t", b"wo")] and None)
    assert path.read_bytes() == b"two"
    assert tree(path.parent) == {"a.bin": b"two"}  # no orphan


def test_an_error_while_writing_leaves_the_old_content_and_no_orphan(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    files.write_atomically(path, b"old")

    def half(file: object) -> None:
        file.write(b"half of the new")  # type: ignore[attr-defined]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.write_atomically(path, half)
    assert tree(tmp_path) == {"a.bin": b"old"}


def test_file_is_synced_before_it_is_moved_and_its_directory_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[tuple[str, str]] = []
    fsync, replace = os.fsync, Path.replace

    def spy_fsync(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink()
        happened.append(("fsync", "directory" if name == tmp_path else "file"))
        fsync(descriptor)

    def spy_replace(self: Path, target: Path) -> Path:
        assert self.parent == target.parent, "a move across directories need not be atomic"
        assert self.read_bytes() == b"content"
        happened.append(("move", "file"))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(Path, "replace", spy_replace)
    files.write_atomically(tmp_path / "a.bin", b"content")
    assert happened == [("fsync", "file"), ("move", "file"), ("fsync", "directory")]


def test_directory_is_synced_whole_before_it_is_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def spy_fsync(descriptor: int) -> None:
        happened.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def spy_rename(self: Path, target: Path) -> Path:
        happened.append("move")
        return rename(self, target)

    with files.directory_atomically(tmp_path / "final") as temporary:
        (temporary / "inner").mkdir()
        (temporary / "a").write_bytes(b"a")
        (temporary / "inner" / "b").write_bytes(b"b")
        monkeypatch.setattr(os, "fsync", spy_fsync)
        monkeypatch.setattr(Path, "rename", spy_rename)
    before = happened[: happened.index("move")]
    assert {"a", "b", "inner", temporary.name} <= set(before)
    assert happened[-1] == tmp_path.name
    assert (tmp_path / "final" / "inner" / "b").read_bytes() == b"b"


def test_a_directory_is_replaced_with_all_it_held(tmp_path: Path) -> None:
    final = tmp_path / "final"
    for name in ("old", "new"):
        with files.directory_atomically(final) as temporary:
            (temporary / name).write_text(name)
    assert tree(final) == {"new": b"new"}
    assert [p.name for p in tmp_path.iterdir()] == ["final"]


def test_sweep_removes_orphans_and_brings_back_what_was_moved_aside(tmp_path: Path) -> None:
    (tmp_path / ".a.bin.0123abcd.tmp").write_bytes(b"torn")
    (tmp_path / ".dir.0123abcd.tmp").mkdir()
    (tmp_path / ".dir.0123abcd.tmp" / "x").write_bytes(b"torn")
    (tmp_path / ".lost.0123abcd.old").mkdir()  # died between the two moves
    (tmp_path / ".lost.0123abcd.old" / "x").write_bytes(b"whole")
    (tmp_path / ".kept.0123abcd.old").mkdir()  # died after them
    (tmp_path / "kept").mkdir()
    for innocent in (".lock", ".gitignore", "notes.tmp", "a.bin"):
        (tmp_path / innocent).write_bytes(b"")
    assert len(files.sweep(tmp_path)) == 4
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {"lost", "kept", ".lock", ".gitignore", "notes.tmp", "a.bin"}
    assert (tmp_path / "lost" / "x").read_bytes() == b"whole"
    assert files.sweep(tmp_path / "missing") == []


FILL = """
import resource, sys
from pathlib import Path
from isthmus import files
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    if sys.argv[2] == "file":
        files.write_atomically(Path(sys.argv[1]) / "a", bytes(2000))
    else:
        with files.directory_atomically(Path(sys.argv[1]) / "d") as temporary:
            (temporary / "x").write_bytes(bytes(2000))
except files.StorageError as error:
    print(error)
"""


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_no_room_is_one_clear_line_and_the_old_content_stays(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x").write_bytes(b"old")
    done = subprocess.run(
        [sys.executable, "-c", FILL, tmp_path, kind], capture_output=True, text=True, check=True
    )
    assert "cannot be written: the file exceeds" in done.stdout
    assert "What was there before is intact" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert {p.name for p in tmp_path.iterdir()} == {"a", "d"}
    assert (tmp_path / "a").read_bytes() == (tmp_path / "d" / "x").read_bytes() == b"old"
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000  # the child's limit alone


def test_a_file_in_the_way_of_a_directory_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(StorageError, match="a/b cannot be written"):
        files.write_atomically(tmp_path / "a" / "b", b"")


def test_errors_about_other_files_pass_through(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), files.directory_atomically(tmp_path / "out"):
        (tmp_path / "source").read_bytes()
    assert list(tmp_path.iterdir()) == []


# --- checking


def test_digests_are_those_of_hashlib(tmp_path: Path) -> None:
    content = os.urandom(3_000_001)
    (tmp_path / "b").write_bytes(content)
    (tmp_path / "a").write_bytes(b"")
    expected = hashlib.sha256(content).hexdigest()
    assert files.sha256(tmp_path / "b") == files.digest_of(content).sha256 == expected
    found = files.digests(tmp_path, ["b", "a"])
    assert list(found) == ["a", "b"]
    assert found["b"] == files.Digest(sha256=expected, bytes=len(content))
    files.verify(tmp_path, found, MEND)
    assert files.read_verified(tmp_path, "b", found["b"], MEND) == content


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "has 9 bytes where .* says 10"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "has 11 bytes"),
        (lambda path: path.write_bytes(b"0123456788"), "its SHA-256 is"),
        (lambda path: path.unlink(), "No such file"),
        (lambda path: (path.unlink(), path.mkdir()), "director"),
    ],
    ids=["truncated", "longer", "flipped", "deleted", "directory"],
)
def test_damage_is_named(tmp_path: Path, damage: object, why: str) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    known = files.digests(tmp_path, ["a"])
    damage(tmp_path / "a")  # type: ignore[operator]
    with pytest.raises(IntegrityError, match=rf"/a is damaged: .*{why}.*{MEND}"):
        files.read_verified(tmp_path, "a", known["a"], MEND)
    with pytest.raises(IntegrityError, match=rf"/a is damaged: .*{MEND}"):
        files.verify(tmp_path, known, MEND)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/../../secret", ""])
def test_manifest_may_not_name_files_outside(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    inner = tmp_path / "inner"
    inner.mkdir()
    with pytest.raises(IntegrityError, match="outside"):
        files.verify(inner, {name: files.digest_of(b"secret")}, MEND)
    with pytest.raises(IntegrityError, match="outside"):
        files.read_verified(inner, name, files.digest_of(b"secret"), MEND)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.just("k") | st.text("ab"), inner)
    ),
    max_leaves=8,
)


@given(values=st.dictionaries(st.text("abc", min_size=1), json_values, max_size=3))
def test_sealed_values_come_back(tmp_path_factory: pytest.TempPathFactory, values: dict) -> None:
    path = tmp_path_factory.mktemp("sealed") / "m.json"
    files.write_sealed(path, values)
    assert files.read_sealed(path, MEND) == values


def test_flipped_bits_of_a_sealed_manifest_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    values = {"name": "Zoë", "version": 1, "rows": [1, 2.5e10, -0.0], "none": None, "yes": True}
    files.write_sealed(path, values)
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), 3):  # each byte, and each place in a byte
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            assert files.read_sealed(path, MEND) == values, bit  # such as the case of an escape
        except IntegrityError:
            continue
        assert json.loads(damaged) == json.loads(whole)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"null", b"{}", b'{"sha256": 1}', b'{"a": NaN, "sha256": ""}', b"\xff{}",
     b"[" * 100_000, b'{"a": "\\ud800", "sha256": ""}'],
)  # fmt: skip
def test_what_is_no_sealed_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.json").write_bytes(content)
    with pytest.raises(IntegrityError, match=MEND):
        files.read_sealed(tmp_path / "m.json", MEND)


def test_a_seal_does_not_depend_on_the_order_of_keys() -> None:
    seals = {json.loads(files.sealed(v))["sha256"] for v in ({"a": 1, "b": 2}, {"b": 2, "a": 1})}
    assert len(seals) == 1


# --- locking


def test_a_second_writer_is_told_who_the_first_is(tmp_path: Path) -> None:
    with files.locked(tmp_path):
        with (
            pytest.raises(LockedError, match=f"process {os.getpid()} on .*, since 2"),
            files.locked(tmp_path),
        ):
            pass
        with pytest.raises(LockedError), files.locked(tmp_path):  # that did not free it
            pass
    with files.locked(tmp_path):  # free again
        pass


def test_a_lock_is_free_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), files.locked(tmp_path):
        _ = 1 / 0
    with files.locked(tmp_path):
        pass


HOLD = """
import sys
from isthmus.files import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_process_is_named_and_its_lock_ends_with_kill_9(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LockedError, match=f"process {holder.pid} on "), files.locked(tmp_path):
            pass
        holder.kill()
    assert f'"pid":{holder.pid}' in (tmp_path / files.LOCK).read_text()  # stale, and harmless
    with files.locked(tmp_path):
        assert f'"pid":{os.getpid()}' in (tmp_path / files.LOCK).read_text()


def test_a_lock_without_a_name_is_a_lock_all_the_same(tmp_path: Path) -> None:
    with files.locked(tmp_path):
        (tmp_path / files.LOCK).write_bytes(b"")
        with pytest.raises(LockedError, match="by another process"), files.locked(tmp_path):
            pass
