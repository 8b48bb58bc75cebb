"""What several processes are told when they are started wrongly, and who of them writes."""

import pytest

from isthmus import distributed, several
from isthmus.config import checked
from isthmus.errors import ConfigError
from isthmus.schema import Feature, Schema
from isthmus.store import DataRef, Store
from isthmus.store.run import FollowedRun
from isthmus.training.state import TrainingState
from tests.distributed.launch import python

DATA = DataRef(name="planted", digest="0" * 64)
SCHEMA = Schema(features=(Feature(name="item", size=5),), domains=("one", "two"))


@pytest.fixture
def second_of_two(monkeypatch):
    """Be told that this is the second process; what the other says is what this one does."""
    monkeypatch.setattr(distributed, "peers", lambda: distributed.Peers(1, 2))
    monkeypatch.setattr(distributed, "everyones", lambda value: [value, value])
    monkeypatch.setattr(distributed, "from_first", lambda make: make())


def config(**changes):
    return checked({"data": "prepared", "model": "mlp", **changes}, "run.toml")


def test_processes_of_one_mind_are_not_refused(second_of_two):
    several.refuse(config(), DATA)


@pytest.mark.parametrize("changes", [{"scope": "isolated"}, {"model": "lightgbm"}])
def test_what_has_processes_of_its_own_is_refused(second_of_two, changes):
    with pytest.raises(ConfigError, match="without torchrun"):
        several.refuse(config(**changes), DATA)


def test_alone_nothing_is_refused():
    several.refuse(config(scope="isolated"), DATA)


@pytest.mark.parametrize(
    ("other", "found"),
    [
        ({"train": {"lr": 0.5}}, r"process 1 .*config\.train\.lr"),
        ({"seed": 3}, r"process 1 .*config\.seed"),
        ({"name": "mine"}, r"process 1 .*name"),
    ],
)
def test_other_settings_of_a_process_are_named(second_of_two, monkeypatch, other, found):
    theirs = config(**other)

    def heard(own):
        return [own, {**own, "name": theirs.name, "config": theirs.identity()}]

    monkeypatch.setattr(distributed, "everyones", heard)
    with pytest.raises(ConfigError, match=found):
        several.refuse(config(), DATA)


def test_other_data_of_a_process_is_named(second_of_two, monkeypatch):
    other = {"name": "planted", "digest": "1" * 64}
    monkeypatch.setattr(distributed, "everyones", lambda own: [own, {**own, "data": other}])
    with pytest.raises(ConfigError, match=r"process 1 .*data\.digest"):
        several.refuse(config(), DATA)


def test_a_folder_that_another_machine_has_not_is_named(second_of_two, monkeypatch, tmp_path):
    kept = Store(tmp_path).create("run", {"seed": 0}, SCHEMA, DATA)
    monkeypatch.setattr(distributed, "everyones", lambda there: [there, False])
    with pytest.raises(ConfigError, match=r"process 1 does not see .*--runs"), several.held(kept):
        pass


def test_who_follows_writes_nothing(second_of_two, tmp_path):
    """But for the manifest, which here this process makes in the place of the first."""
    kept = several.begun(Store(tmp_path), "run", {"seed": 0}, SCHEMA, DATA)
    assert isinstance(kept, FollowedRun)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    kept.log(epoch=1)
    kept.save_predictions("test", None)
    kept.save_ranks("test", None)
    kept.finish(TrainingState(), {})
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_half_of_an_environment_is_refused_in_one_line(tmp_path):
    """Also: `python -m isthmus` is the command."""
    (tmp_path / "run.toml").write_text('data = "prepared"\nmodel = "mlp"\n')
    here = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "", "MASTER_PORT": ""}
    done = python("-m", "isthmus", "train", tmp_path / "run.toml", **here)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    said = done.stderr.strip()
    assert said.startswith("isthmus, process 1: of the environment")
    assert "MASTER_ADDR, MASTER_PORT" in said
    assert "\n" not in said
