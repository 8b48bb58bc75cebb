"""Runs on disk: what is taken, refused, resumed, checked."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from isthmus import __version__, files
from isthmus.errors import (
    ConfigError,
    DataError,
    IntegrityError,
    LockedError,
    MismatchError,
)
from isthmus.evaluation.predictions import Predictions
from isthmus.evaluation.types import DomainMetrics, Interval, Metrics
from isthmus.schema import Feature, Schema
from isthmus.store import DataRef, Run, Store
from isthmus.training import checkpoint
from isthmus.training.state import TrainingState

SCHEMA = Schema(
    features=(
        Feature(name="user", size=10, role="user"),
        Feature(name="recent", kind="history", size=20, length=3),
    ),
    domains=("books", "toys"),
)
DATA = DataRef(name="shop", digest="ab" * 32)
CONFIG: dict[str, Any] = {"model": "mlp", "train": {"lr": 0.1, "epochs": 2}, "sizes": (8, 4)}
PREDICTIONS = Predictions(
    row=np.arange(4),
    domain=np.array([1, 1, 2, 0], dtype=np.int32),
    user=np.array([5, 5, 6, 7]),
    label=np.array([0, 1, 1, 0], dtype=np.int8),
    score=np.array([0.1, 0.9, 0.5, 1 / 3]),
    domains=SCHEMA.domains,
)
METRICS = {
    "test": Metrics(
        overall=DomainMetrics(rows=4, positives=2, auc=Interval(value=0.75, low=0.5, high=1.0)),
        by_domain={"books": DomainMetrics(rows=2, positives=1, reason="too few")},
        worst_domain=("books", 0.25),
    )
}
STATE = TrainingState(
    scores=[0.5, 0.6, 0.55],
    losses=[{"logloss": 0.7}, {"logloss": 0.6}, {"logloss": 0.5}],
    model={"weight": torch.zeros(2)},
    best={"weight": torch.tensor([1.5, -2.0]), "masks": torch.tensor([True, False])},
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def create(store: Store, name: str = "first", **config: Any) -> Run:
    return store.create(name, {**CONFIG, **config}, SCHEMA, DATA)


def finished(store: Store, name: str = "first") -> Run:
    run = create(store, name)
    with run.lock():
        checkpoint.save(STATE, run.checkpoints)
        run.log(epoch=1, seconds=0.5)
        run.save_predictions("valid", PREDICTIONS)
        run.save_predictions("test", PREDICTIONS)
        run.finish(STATE, METRICS)
    return run


def hashed(path: Path) -> dict[str, bytes]:
    found = {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}
    return {name: found[name] for name in found if name not in ("log.jsonl", files.LOCK)}


def test_what_is_kept_is_found_again(store: Store) -> None:
    finished(store)
    assert store.names() == ["first"]
    run = store.run("first", schema=SCHEMA)
    assert run.finished
    assert (run.name, run.schema, run.data) == ("first", SCHEMA, DATA)
    assert run.config == {**CONFIG, "sizes": [8, 4]}
    assert run.manifest.library == __version__
    assert run.manifest.scores == (0.5, 0.6, 0.55)
    assert run.manifest.losses[2] == {"logloss": 0.5}
    assert run.metrics == METRICS
    state = run.model_state()
    assert set(state) == {"weight", "masks"}
    assert torch.equal(state["weight"], STATE.best["weight"])
    assert torch.equal(state["masks"], STATE.best["masks"])
    for split in ("valid", "test"):
        found = run.predictions(split)
        assert found.domains == PREDICTIONS.domains
        for column in ("row", "domain", "user", "label", "score"):
            assert np.array_equal(getattr(found, column), getattr(PREDICTIONS, column))
    assert not run.checkpoints.exists()
    assert run.report.parent == run.path


def test_two_equal_runs_have_equal_bytes(tmp_path: Path) -> None:
    one, two = (finished(Store(tmp_path / name)) for name in "ab")
    assert hashed(one.path) == hashed(two.path)
    names = {"run.json", "model.safetensors", "metrics.json"}
    assert set(hashed(one.path)) == names | {f"predictions/{s}.parquet" for s in ("valid", "test")}
    assert (one.path / "log.jsonl").read_bytes() != b""


def test_a_run_is_not_finished_before_it_is(store: Store) -> None:
    run = create(store)
    assert not run.finished
    with pytest.raises(DataError, match=r"still in training.* has no metrics.json.* no files yet"):
        _ = run.metrics
    with pytest.raises(DataError, match=r"no model.safetensors"):
        run.model_state()
    with run.lock():
        run.save_predictions("valid", PREDICTIONS)
    with pytest.raises(DataError, match=r"no predictions/test.parquet.*has: predictions/valid"):
        store.run("first").predictions("test")
    assert len(store.run("first").predictions("valid")) == 4


# --- names and configurations


def test_the_same_configuration_goes_on(store: Store) -> None:
    run = create(store)
    with run.lock():
        checkpoint.save(STATE, run.checkpoints)
    again = create(store)
    assert not again.finished
    assert checkpoint.latest(again.checkpoints) is not None
    finished(store)
    assert create(store).finished  # and needs no training


def test_a_name_that_is_taken_is_refused_with_what_differs(store: Store) -> None:
    create(store)
    config = {**CONFIG, "train": {"lr": 0.2, "patience": 3}}
    with pytest.raises(ConfigError) as error:
        store.create("first", config, SCHEMA, DATA)
    assert str(error.value).startswith(
        f"the run {store.root / 'first'} exists with another configuration: "
        "train.epochs is 2 there, absent here; train.lr is 0.1 there, 0.2 here; "
        "train.patience is absent there, 3 here. Choose another name"
    )


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", ".hidden", "a b", "-x", "x" * 101])
def test_names_that_are_no_names(store: Store, name: str) -> None:
    with pytest.raises(ConfigError, match="expected letters"):
        create(store, name)
    assert not store.root.exists()


def test_other_data_is_refused(store: Store) -> None:
    create(store)
    other = DataRef(name="shop", digest="cd" * 32)
    with pytest.raises(MismatchError, match=r"'shop' \(abababababab….*'shop' \(cdcdcdcdcdcd…"):
        store.create("first", CONFIG, SCHEMA, other)


def test_a_directory_of_something_else_is_left_alone(store: Store) -> None:
    (store.root / "first").mkdir(parents=True)
    (store.root / "first" / "thesis.tex").write_text("dear")
    with pytest.raises(ConfigError, match=r"no run, and not empty: it holds thesis\.tex"):
        create(store)
    assert [p.name for p in (store.root / "first").iterdir()] == ["thesis.tex"]


def test_a_creation_that_was_killed_is_begun_again(store: Store) -> None:
    (store.root / "first").mkdir(parents=True)
    (store.root / "first" / files.LOCK).write_bytes(b"")
    (store.root / "first" / ".run.json.0123abcd.tmp").write_bytes(b"{")
    run = create(store)
    with run.lock():
        assert {p.name for p in run.path.iterdir()} == {"run.json", files.LOCK}


def test_an_unfinished_run_with_a_half_recorded_file_goes_on(store: Store) -> None:
    run = create(store)
    with run.lock():
        run.save_predictions("valid", PREDICTIONS)
        (run.path / "predictions" / "valid.parquet").write_bytes(b"new, and not recorded yet")
    assert finished(store).finished
    assert len(store.run("first").predictions("valid")) == 4


def test_missing_runs_are_errors_with_the_names_there_are(store: Store, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no run 'x'; it has: none yet"):
        store.run("x")
    create(store, "b")
    create(store, "a")
    with pytest.raises(DataError, match="it has: a, b"):
        store.run("x")
    with pytest.raises(DataError, match=r"is no run: it has no run\.json"):
        Run.open(tmp_path)


# --- mismatches


def test_another_schema_is_refused_with_what_differs(store: Store) -> None:
    finished(store)
    user, recent = SCHEMA.features
    larger = SCHEMA.model_copy(
        update={"features": (user.model_copy(update={"size": 11}), recent), "domains": ("books",)}
    )
    with pytest.raises(MismatchError) as error:
        store.run("first", schema=larger)
    assert "features.0.size is 10 there, 11 here" in str(error.value)
    assert "domains is a list of 2 there, a list of 1 here" in str(error.value)
    with pytest.raises(MismatchError, match="another schema"):
        store.create("first", CONFIG, larger, DATA)


def test_another_format_is_refused_with_both_versions(store: Store) -> None:
    path = finished(store).path / "run.json"
    values = files.read_sealed(path, "")
    files.write_sealed(path, {**values, "version": 7, "library": "9.9", "novelty": 1})
    with pytest.raises(MismatchError) as error:
        store.run("first")
    for part in ("isthmus 9.9", "version 7", f"isthmus {__version__}", "isthmus-run version 1"):
        assert part in str(error.value)


def test_a_sealed_manifest_that_lacks_something_is_damage(store: Store) -> None:
    path = finished(store).path / "run.json"
    values = files.read_sealed(path, "")
    del values["schema"]
    files.write_sealed(path, values)
    with pytest.raises(IntegrityError, match=r"run\.json is damaged: schema: Field required"):
        store.run("first")


# --- damage


READERS: dict[str, Callable[[Run], object]] = {
    "model.safetensors": Run.model_state,
    "metrics.json": lambda run: run.metrics,
    "predictions/test.parquet": lambda run: run.predictions("test"),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("how", ["truncated", "flipped", "deleted", "swapped"])
def test_damage_is_named_and_not_used(store: Store, name: str, how: str) -> None:
    run = finished(store)
    whole = (run.path / name).read_bytes()
    (run.path / name).unlink()
    if how == "truncated":
        (run.path / name).write_bytes(whole[: len(whole) // 2])
    elif how == "flipped":
        (run.path / name).write_bytes(whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:])
    elif how == "swapped":
        (run.path / name).write_bytes(finished_differently(store, name))
    with pytest.raises(IntegrityError, match=f"{name} is damaged.*Restore the run from a copy"):
        store.run("first")
    unchecked = store.run("first", check=False)
    with pytest.raises(IntegrityError, match=f"{name} is damaged"):
        READERS[name](unchecked)


def test_a_manifest_of_another_run_does_not_fit(store: Store) -> None:
    path = finished(store).path
    (path / "run.json").write_bytes(finished_differently(store, "run.json"))
    with pytest.raises(IntegrityError, match=r"metrics\.json is damaged"):
        Run.open(path)
    (path / "run.json").write_bytes((path / "run.json").read_bytes()[:-9])
    with pytest.raises(IntegrityError, match=r"run\.json is damaged: it is not JSON"):
        Run.open(path)


def test_a_pickle_for_a_model_is_refused_even_if_its_hash_is_recorded(store: Store) -> None:
    run = finished(store)
    with run.lock(), run.artefact("model.safetensors") as path:
        path.write_bytes(pickle.dumps(print))
    with pytest.raises(IntegrityError, match=r"model\.safetensors is damaged: not a safetensors"):
        store.run("first").model_state()


def finished_differently(store: Store, name: str) -> bytes:
    other = Store(store.root.parent / "others")
    run = create(other)
    with run.lock():
        run.save_predictions("test", PREDICTIONS.take(np.array([0, 1])))
        run.save_predictions("valid", PREDICTIONS)
        metrics = {"test": METRICS["test"].model_copy(update={"macro_auc": 0.5})}
        run.finish(TrainingState([1.0], [{}], best={"weight": torch.zeros(2)}), metrics)
    return (run.path / name).read_bytes()


# --- writers


def test_a_second_trainer_is_told_who_the_first_is(store: Store) -> None:
    first, second = create(store), create(store)
    with first.lock(), pytest.raises(LockedError, match="is being written to by process"):
        second.lock().__enter__()


def test_who_gets_the_lock_late_sees_what_was_done_meanwhile(store: Store) -> None:
    late = create(store)
    finished(store)
    assert not late.finished
    with late.lock():
        assert late.finished
        assert late.metrics == METRICS


def test_the_lock_sweeps_what_a_killed_writer_left(store: Store) -> None:
    run = create(store)
    orphans = [run.path / ".model.safetensors.0123abcd.tmp"]
    orphans += [run.path / "predictions" / ".test.parquet.0123abcd.tmp"]
    orphans += [run.checkpoints / ".epoch-0001.0123abcd.tmp"]
    for orphan in orphans:
        orphan.mkdir(parents=True) if "epoch" in orphan.name else (
            orphan.parent.mkdir(exist_ok=True), orphan.write_bytes(b"torn")
        )  # fmt: skip
    with run.lock():
        assert not any(orphan.exists() for orphan in orphans)


def test_a_failing_writer_changes_nothing(store: Store) -> None:
    run = finished(store)
    before = hashed(run.path)

    def half() -> None:
        with run.lock(), run.artefact("model.safetensors") as path:
            path.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert hashed(run.path) == before


# --- the log


def test_the_log_survives_a_torn_line(store: Store) -> None:
    run = create(store)
    assert run.entries() == []
    run.log(epoch=1, losses={"logloss": 0.5})
    path = run.path / "log.jsonl"
    path.write_bytes(path.read_bytes() + b'{"epoch": 2, "los')
    run.log(epoch=2)
    run.log(epoch=3)
    found = run.entries()
    assert [entry["epoch"] for entry in found] == [1, 2, 3]
    assert found[0]["losses"] == {"logloss": 0.5}
    assert all(entry["at"].startswith("20") for entry in found)


def test_opening_a_run_needs_no_torch(store: Store) -> None:
    finished(store)
    code = f"""
import sys
from isthmus.store import Store
run = Store({str(store.root)!r}).run("first")
run.predictions("test"), run.metrics
assert "torch" not in sys.modules
run.model_state()
assert "torch" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_log_adds_up_what_a_run_cost(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over two processes: one that was killed after its first epoch, and one that finished."""
    clock = iter([100.0, 101.0, 103.5, 7.0, 8.0, 12.0, 12.25])
    monkeypatch.setattr("isthmus.store.run.time.process_time", lambda: next(clock))
    killed = create(store)  # opened at 100
    with killed.lock():  # 101
        killed.log(epoch=1)  # 103.5
    again = create(store)  # 7, of another process
    with again.lock():  # 8
        again.log(epoch=2)  # 12
        again.finish(STATE, METRICS)  # 12.25
    assert again.cpu_seconds == 2.5 + 4 + 0.25
