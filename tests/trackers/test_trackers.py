"""Trackers by name, and how little a bad one can do."""

import threading

import pytest

from isthmus import trackers
from isthmus.config import checked
from isthmus.errors import ConfigError
from isthmus.experiment import run
from isthmus.store import Store
from isthmus.trackers import Tracked, Tracker, get, parsed, written
from isthmus.trackers.thread import at_work

NOT_HASHED = {"log.jsonl", ".lock"}


class Kept(Tracker):
    """Keeps what it is told, for all to see."""

    heard: list = []

    def on_epoch(self, epoch, figures):
        self.heard.append((self.run.where, epoch, dict(figures)))

    def on_end(self, epoch, figures):
        self.heard.append((self.run.where, "end", dict(figures)))

    def close(self):
        self.heard.append("closed")


class Failing(Kept):
    def on_epoch(self, epoch, figures):
        raise OSError("no space left on device\nand more")


class Unmade(Kept):
    def __init__(self, run):
        raise ConnectionError("refused")


class Slow(Kept):
    may_go = threading.Event()

    def on_epoch(self, epoch, figures):
        self.may_go.wait()


@pytest.fixture(autouse=True)
def _anew():
    Kept.heard.clear()
    Slow.may_go.clear()
    yield
    Slow.may_go.set()


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in NOT_HASHED
    }


def test_the_library_has_these():
    assert trackers.names() == ["mlflow", "tensorboard"]


def test_one_of_ones_own_is_told_everything_in_its_order(config, tmp_path, notes):
    place = f"{__name__}:Kept"
    kept = run(config(track={place: "here"}), Store(tmp_path), reporter=notes)
    assert [h if h == "closed" else h[:2] for h in Kept.heard] == [
        *[("here", epoch) for epoch in (1, 2, 3)],
        ("here", "end"),
        "closed",
    ]
    assert set(Kept.heard[0][2]) == {"loss/bce", "valid/domain_auc"}
    assert Kept.heard[-2][2]["final valid/auc"] == kept.metrics["valid"].overall.auc.value
    Kept.heard.clear()
    run(config(track={place: "here"}), Store(tmp_path))
    assert not Kept.heard  # it was finished before


@pytest.mark.parametrize("bad", ["Failing", "Unmade"])
def test_one_that_fails_is_told_of_once_and_changes_nothing(config, tmp_path, notes, bad):
    plain = run(config(), Store(tmp_path / "plain"))
    given = config(track={f"{__name__}:{bad}": True, f"{__name__}:Kept": True})
    kept = run(given, Store(tmp_path / "tracked"), reporter=notes)
    (note,) = (n for n in notes.notes if n.startswith("tracker"))
    assert f"{bad} failed" in note
    assert "and more" not in note
    assert kept.name == plain.name
    assert contents(kept.path) == contents(plain.path)
    assert [h[1] for h in Kept.heard if h != "closed"] == [1, 2, 3, "end"]  # the other one


def test_one_that_hangs_holds_up_the_end_for_so_long_at_most(tmp_path, notes):
    told = Tracked("a", tmp_path, "data", {})
    with at_work({"slow": (Slow, told)}, notes, patience=0.01) as at:
        for epoch in range(3):
            at.on_epoch(epoch, {})
    (note,) = notes.notes
    assert "not everything was sent" in note


def test_trackers_of_the_command_line():
    assert parsed(
        ["tensorboard", "mlflow:http://host:5000", "mine:Tracker:a:b", "yours:Other"]
    ) == {
        "tensorboard": "",
        "mlflow": "http://host:5000",
        "mine:Tracker": "a:b",
        "yours:Other": "",
    }
    with pytest.raises(ConfigError, match="'tensorboard' is there twice"):
        parsed(["tensorboard", "tensorboard:x"])


def test_trackers_of_a_file_name_no_run_anew(config):
    one, other = config(), config(track={"tensorboard": True, "mlflow": "http://x"})
    assert one.identity() == other.identity()
    assert written({"tensorboard": True, "mlflow": "x", "mine:A": False}) == {
        "tensorboard": "",
        "mlflow": "x",
    }
    with pytest.raises(ConfigError, match="track"):
        checked({"data": "x", "track": {"tensorboard": 3}}, "test")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("wandb", "unknown tracker 'wandb'; known: mlflow, tensorboard"),
        ("no_such_module:A", "there is no module 'no_such_module'"),
        (f"{__name__}:contents", "is no tracker"),
    ],
)
def test_what_is_no_tracker_is_refused_before_training(config, tmp_path, name, said):
    with pytest.raises(ConfigError, match=said):
        get(name)
    with pytest.raises(ConfigError, match=said):
        run(config(track={name: True}), Store(tmp_path))
    assert not list(tmp_path.rglob("epoch-*"))
