"""Isolated models: each one's best epoch is chosen on its own domain's validation rows."""

import shutil

import pytest
import torch
from sklearn.metrics import roc_auc_score

from isthmus import models
from isthmus.data.prepare import prepare
from isthmus.data.prepared import Prepared
from isthmus.data.sources import get
from isthmus.inference import probabilities
from isthmus.training import checkpoint
from isthmus.training.fit import TrainConfig
from isthmus.training.isolated import IsolatedJob, train_isolated


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    made = get("synthetic")(folder / "raw", rows=4000, domains=4, clusters=2, seed=3)
    return prepare(made, folder / "prepared").path


@pytest.fixture(scope="module")
def job(data, tmp_path_factory):
    """Five epochs of steps so long that domains are at their best at different epochs."""
    return IsolatedJob(
        data=data,
        model="mlp",
        settings=models.get("mlp").Config(hidden=(8,), embedding_dim=4),
        train=TrainConfig(lr=0.02, batch_size=128, max_epochs=5, patience=5),
        seed=0,
        checkpoints=tmp_path_factory.mktemp("checkpoints"),
    )


@pytest.fixture(scope="module")
def trained(job):
    return train_isolated(job, workers=2)


def places(job):
    return {domain: job.checkpoints / f"domain-{domain:04d}" for domain in range(1, 5)}


def test_each_domain_is_at_the_epoch_best_on_its_own_validation_rows(job, trained):
    model, state = trained
    valid = Prepared.open(job.data).impressions("valid")
    chosen, weighted = [], 0.0
    for domain, place in places(job).items():
        own = checkpoint.latest(place)
        rows = valid[(valid.domain == domain).nonzero()[:, 0]]
        found = roc_auc_score(rows.label.numpy(), probabilities(model, rows))
        assert own.epochs == 5
        assert found == pytest.approx(max(own.scores), abs=1e-12)
        for name, value in model.parts[str(domain)].ranker.state_dict().items():
            assert torch.equal(value, own.best[name]), name
        chosen.append(own.best_epoch)
        weighted += found * len(rows)
    assert len(set(chosen)) > 1, "one epoch for all would have been seen as well"
    assert state.scores == [pytest.approx(weighted / len(valid))]


def test_domains_that_are_there_are_not_trained_again(job, trained, tmp_path):
    """One is gone, as after a kill: it alone is trained, to the same bits."""
    copy = tmp_path / "checkpoints"
    shutil.copytree(job.checkpoints, copy)
    again = IsolatedJob(job.data, job.model, job.settings, job.train, job.seed, copy)
    shutil.rmtree(places(again)[2])
    before = {d: p.stat().st_mtime_ns for d, p in places(again).items() if d != 2}
    model, _ = train_isolated(again, workers=1)
    assert before == {d: p.stat().st_mtime_ns for d, p in places(again).items() if d != 2}
    for name, value in trained[0].state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
