"""What can be tried on an NVIDIA GPU alone; `pytest -m gpu` where there is one."""

import copy

import pytest
import torch

from isthmus import models
from isthmus.config import checked
from isthmus.data.feed import Feed
from isthmus.device import found, moved
from isthmus.errors import ConfigError
from isthmus.inference import probabilities
from isthmus.models import Ranker
from isthmus.optim import Watch, row_gradient, update
from isthmus.testing import toy_histories, toy_impressions, toy_schema
from isthmus.training import checkpoint
from isthmus.training.fit import TrainConfig, fit, make_optimizer

SCHEMA = toy_schema()
LEARNT = [n for n in models.names() if n not in ("item_knn", "markov", "popularity", "repeat_own")]
ONE_WAIT = {"adl", "hinet"}  # rows are routed by what is learnt: see docs/gpu.md
gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU"),
]
on_gpu = pytest.mark.parametrize("device", [pytest.param("cuda", marks=gpu)])


def made(name):
    torch.manual_seed(0)
    kind = models.get(name)
    rows = (toy_impressions if issubclass(kind, Ranker) else toy_histories)(SCHEMA, 640)
    return kind(kind.Config(dropout=0.0), SCHEMA), rows


def trained(name, **changes):
    model, rows = made(name)
    feed = Feed(rows, batch_size=64, seed=0, valid=rows[:64])
    config = TrainConfig(batch_size=64, max_epochs=2, **changes)
    return model, fit(model, feed, lambda _: 0.5, config)


@on_gpu
@pytest.mark.parametrize("name", LEARNT)
def test_no_step_waits(device, name):
    model, rows = made(name)
    model.to(device).train()
    feed = Feed(rows, batch_size=64, seed=0, valid=rows[:64], unknown_share=0.05, device=device)
    optimizer, watch = make_optimizer(model, TrainConfig()), Watch()
    steps = model.epoch(feed.epoch(0))
    for _ in range(3):  # flags and tables are read once
        update(optimizer, next(steps), clip=1.0, watch=watch)
    torch.cuda.set_sync_debug_mode("warn" if name in ONE_WAIT else "error")
    try:
        for _ in range(3):
            update(optimizer, next(steps), clip=1.0, watch=watch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    watch.look()


@on_gpu
@pytest.mark.parametrize("name", ["aread", "mmoe", "sasrec", "syncrec", "gsasrec", "star"])
@pytest.mark.parametrize(("autocast", "tolerance"), [(False, 0.01), (True, 0.05)])
def test_it_trains_as_the_cpu_does(device, name, autocast, tolerance):
    _, here = trained(name)
    _, there = trained(name, device=device, autocast=autocast)
    for term, value in here.losses[-1].items():
        assert there.losses[-1][term] == pytest.approx(value, rel=tolerance, abs=1e-3)


@on_gpu
@pytest.mark.parametrize("name", ["aread", "sasrec"])
def test_a_checkpoint_goes_from_one_to_the_other(device, name, tmp_path):
    for first, second in (("cpu", device), (device, "cpu")):
        _, state = trained(name, device=first)
        assert {value.device.type for value in state.model.values()} == {"cpu"}
        kept = checkpoint.load(checkpoint.save(state, tmp_path / first))
        model, rows = made(name)
        feed = Feed(rows, batch_size=64, seed=0, valid=rows[:64])
        config = TrainConfig(batch_size=64, max_epochs=3, device=second)
        after = fit(model, feed, lambda _: 0.5, config, state=copy.deepcopy(kept))
        assert after.epochs == 3


@on_gpu
def test_scores_are_those_of_the_cpu(device):
    model, rows = made("aread")
    here = probabilities(model, rows)
    assert probabilities(model.to(device), rows) == pytest.approx(here, abs=1e-5)


@on_gpu
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["mmoe", "sasrec"])
def test_compiled_losses_train_as_well(device, name):
    _, here = trained(name, device=device)
    _, there = trained(name, device=device, compile=True)
    for term, value in here.losses[-1].items():
        assert there.losses[-1][term] == pytest.approx(value, rel=0.01)


@on_gpu
def test_rows_are_summed_there_too(device):
    ids, values = torch.randint(9, (500,)), torch.randn(500, 3)
    sparse = torch.sparse_coo_tensor(
        moved(ids[None], device), moved(values, device), (9, 3), check_invariants=False
    )
    places, sums = (x.cpu() for x in row_gradient(sparse))
    dense = torch.zeros(9, 3).index_add_(0, ids, values)
    torch.testing.assert_close(sums, dense[places])


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert found("auto") == found("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match=r"'cuda:1'.* there is: cpu\."):
        found("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda n: f"card {n}")
    assert found("auto") == found("cuda") == torch.device("cuda", 0)
    assert found("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(
        ConfigError, match=r"there are: cpu, cuda:0 \(card 0\), cuda:1 \(card 1\)\."
    ):
        found("cuda:2")


def test_only_other_devices_name_a_run_anew():
    plain = checked({"data": "x", "model": "mlp"}, "test")
    same = {"device": "cpu", "autocast": False, "compile": False}
    assert (
        checked({"data": "x", "model": "mlp", "train": same}, "test").identity() == plain.identity()
    )
    assert not same.keys() & plain.identity()["train"].keys()
    other = checked({"data": "x", "model": "mlp", "train": {"device": "cuda"}}, "test").identity()
    assert other["train"] == {**plain.identity()["train"], "device": "cuda"}
    with pytest.raises(ConfigError, match=r"train.device"):
        checked({"data": "x", "model": "mlp", "train": {"device": "gpu"}}, "test")
