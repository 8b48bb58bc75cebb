"""Runs whose tables two processes share: the results of replicated tables, and ordinary runs."""

import pytest
import torch

from isthmus import distributed
from isthmus.config import checked
from isthmus.data.prepare import prepare
from isthmus.data.prepared import Prepared
from isthmus.data.sources import get
from isthmus.errors import ConfigError
from isthmus.experiment import load_model, predict
from isthmus.several import refuse
from isthmus.store import DataRef, Run
from tests.data.events import config as sequence_config
from tests.data.events import events, written
from tests.distributed.launch import trained

SETTINGS = {
    "aread": {
        "bottom_hidden": [8],
        "bottom_experts": 2,
        "experts": [2, 3],
        "expert_hidden": [[4], [4]],
        "embedding_dim": 4,
        "search": {"warmup_steps": 3, "every": 5, "batch_size": 32, "candidates": 2, "updates": 1},
    },
    "deepfm": {"hidden": [4], "embedding_dim": 4, "dropout": 0},  # two tables
    "sasrec": {"embedding_dim": 8, "layers": 1, "loss": "bce", "negatives": 8, "dropout": 0},
}
"""Two epochs of each are two dozen steps."""


def config(data, model, **train):
    train = {"batch_size": 128, "max_epochs": 2, "patience": 9, "unknown_share": 0.1, **train}
    if model == "sasrec":
        train["batch_size"] = 16
    return {"data": str(data[model]), "model": model, "settings": SETTINGS[model], "train": train}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    made = get("synthetic")(folder / "raw", rows=1500, domains=4, clusters=2, seed=3)
    rows = prepare(made, folder / "rows").path
    file = written(events(900, users=60), folder / "e.parquet")
    histories = prepare(sequence_config(file, min_count=3), folder / "histories").path
    return {"aread": rows, "deepfm": rows, "sasrec": histories}


def weights_of(runs, name):
    return Run.open(runs / name).model_state()


def assert_close(found, expected):
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-7, atol=1e-9)


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    """Every model's run with whole tables and with sharded ones, by two processes."""
    wanted = []
    for model in SETTINGS:
        wanted.append([f"{model}-whole", config(data, model)])
        wanted.append([f"{model}-shards", config(data, model, shard_embeddings=True)])
    folder = tmp_path_factory.mktemp("finished")
    assert trained(2, folder / "runs", {"runs": wanted}) == 0
    return folder / "runs"


@pytest.mark.slow
@pytest.mark.parametrize("model", SETTINGS)
def test_sharded_runs_are_the_replicated_ones(runs, model):
    whole, shards = (Run.open(runs / f"{model}-{how}") for how in ("whole", "shards"))
    assert_close(shards.model_state(), whole.model_state())
    assert shards.manifest.scores == pytest.approx(whole.manifest.scores, rel=1e-6)
    assert shards.manifest.files.keys() == whole.manifest.files.keys()
    assert shards.config == whole.config
    assert not shards.checkpoints.exists()


@pytest.mark.slow
def test_who_is_alone_loads_the_run(runs, data):
    kept = Run.open(runs / "aread-shards")
    found = predict(load_model(kept).double(), Prepared.open(data["aread"]), "test")
    assert found.score == pytest.approx(kept.predictions("test").score)


@pytest.mark.slow
def test_a_run_survives_the_loss_of_a_process(runs, data, tmp_path):
    """torchrun starts all anew; they go on from their checkpoint, and end as if nothing had been."""
    wanted = [["aread-shards", config(data, "aread", shard_embeddings=True)]]
    once = tmp_path / "once"
    kill = {"rank": 1, "step": 15, "once": str(once)}  # of 3 + 2 * 9
    assert trained(2, tmp_path / "runs", {"runs": wanted, "kill": kill}, restarts=3) == 0
    assert once.exists()
    found = (tmp_path / "runs" / "aread-shards" / "model.safetensors").read_bytes()
    assert found == (runs / "aread-shards" / "model.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 3])
def test_what_two_began_others_finish(runs, data, tmp_path, processes):
    wanted = [["deepfm-shards", config(data, "deepfm", shard_embeddings=True)]]
    kill = {"rank": 0, "step": 13, "once": str(tmp_path / "once")}
    assert trained(2, tmp_path / "runs", {"runs": wanted, "kill": kill}) != 0
    checkpoints = tmp_path / "runs" / "deepfm-shards" / "checkpoints"
    assert (checkpoints / "epoch-0001" / "rows-0001.safetensors").exists()
    assert trained(processes, tmp_path / "runs", {"runs": wanted}) == 0
    assert_close(weights_of(tmp_path / "runs", "deepfm-shards"), weights_of(runs, "deepfm-whole"))


def test_sharding_names_no_run_anew(data):
    """A run may go on with the tables sharded that began with whole ones, and the other way about."""
    whole, shards = (
        checked(config(data, "aread", shard_embeddings=there), "x") for there in (False, True)
    )
    assert whole.identity() == shards.identity()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"train": {"compile": True}}, "train.compile"),
        ({"train": {"device": "cuda"}}, "train.device = 'cuda'"),
        ({"scope": "mamdr", "model": "deepfm"}, "scope = 'mamdr'"),
    ],
)
def test_what_does_not_go_with_it_is_refused(data, monkeypatch, change, named):
    values = config(data, "deepfm")
    train = {**values["train"], "shard_embeddings": True, **change.get("train", {})}
    wanted = checked({**values, **change, "train": train}, "x")
    ref = DataRef(name="x", digest="0")
    refuse(wanted, ref)  # alone, tables are whole whatever is set
    monkeypatch.setattr(distributed, "peers", lambda: distributed.Peers(0, 2))
    with pytest.raises(ConfigError, match=f"does not go with {named}"):
        refuse(wanted, ref)
