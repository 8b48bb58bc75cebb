"""One retriever a domain: it reads its own domain's events alone, all of them, and learns no other's."""

import shutil

import numpy as np
import pytest
import torch

from isthmus.batch import Histories
from isthmus.config import checked
from isthmus.data.prepare import prepare
from isthmus.data.prepared import Prepared
from isthmus.evaluation import metric_of_ranks
from isthmus.experiment import run
from isthmus.models import get
from isthmus.models.isolated_retrievers import IsolatedRetrievers
from isthmus.next_item import Held, load_retriever
from isthmus.store import Store
from isthmus.training import checkpoint
from isthmus.training.fit import TrainConfig
from isthmus.training.isolated import IsolatedJob
from isthmus.training.isolated_retrievers import _rows, train_isolated_retrievers
from tests.data.events import config as sequence_config
from tests.data.events import events, plain, written


@pytest.fixture(scope="module")
def truth():
    return plain(events(900, users=60), min_count=3)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("events")
    file = written(events(900, users=60), folder / "e.parquet")
    return prepare(sequence_config(file, min_count=3), folder / "prepared").path


@pytest.fixture(scope="module")
def job(data, tmp_path_factory):
    return IsolatedJob(
        data=data,
        model="sasrec",
        settings=get("sasrec").Config(embedding_dim=8),
        train=TrainConfig(lr=0.02, batch_size=32, max_epochs=4, patience=4, metric="ndcg@10"),
        seed=0,
        checkpoints=tmp_path_factory.mktemp("checkpoints"),
    )


@pytest.fixture(scope="module")
def trained(job):
    return train_isolated_retrievers(job, workers=1)[0]


@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_history_holds_all_known_events_of_the_targets_domain_before_it(data, truth, split):
    """By a loop over users; the newest seven of the domain, however many lie between them."""
    rows = Prepared.open(data).windows(split, own=True)[:]
    ids = {what: i + 1 for i, what in enumerate(truth["items"])}
    expected = []
    for own in truth["sequences"].values():
        for place, (_, what, shop, where) in enumerate(own):
            if where == split:
                before = [ids[w] for _, w, s, _ in own[:place] if s == shop and w in ids][-7:]
                expected.append(([0] * (7 - len(before)) + before, ids.get(what, 0)))
    assert rows.items.tolist() == [items for items, _ in expected]
    assert rows.target.tolist() == [target for _, target in expected]
    mixed = Prepared.open(data).windows(split)[:]
    assert rows.domain.equal(mixed.domain)
    assert not rows.items.equal(mixed.items)


def test_what_is_trained_on_holds_each_known_training_event_once(data, truth):
    _, rows, _ = _rows(data, "sasrec")
    found = rows[:]
    seen = torch.cat([found.items, found.target[:, None]], dim=1)
    counts = torch.bincount(seen[seen > 0], minlength=len(truth["items"]) + 1)[1:]
    known = torch.tensor([truth["counts"][what] for what in truth["items"]])
    assert (counts >= known).all()  # the last of a row may be the first of the next
    assert counts.sum() < 1.3 * known.sum()
    # a row is of one domain alone
    there = found.items > 0
    assert (found.domains[there] == found.domain[:, None].expand_as(there)[there]).all()


def test_each_domains_model_is_at_its_own_best_epoch(job, trained):
    prepared = Prepared.open(job.data)
    held = Held(prepared, "valid", own=True).ranks(trained)
    for domain, part in trained.parts.items():
        own = checkpoint.latest(job.place(int(domain)))
        rows = held.take(held.domain == int(domain))
        assert metric_of_ranks(rows, "ndcg@10") == pytest.approx(max(own.scores), abs=1e-9)
        for name, value in part.retriever.state_dict().items():
            assert torch.equal(value, own.best[name]), name


def test_only_items_of_the_asked_domain_are_given(data, trained):
    prepared = Prepared.open(data)
    batch = prepared.windows("test")[:16]
    score = trained.scores(batch)
    domains = torch.from_numpy(prepared.item_domains())
    own = domains == batch.domain[:, None]
    assert score.isfinite().equal(own)
    assert (score[~own] == -np.inf).all()


def test_other_domains_items_are_not_read(data, trained):
    """Of a mixed history what is read is what a history of the own domain alone would hold."""
    batch = Prepared.open(data).windows("test")[:]
    rows = []
    for items, domains, domain in zip(batch.items, batch.domains, batch.domain, strict=True):
        own = items[domains == domain]
        rows.append(torch.cat([torch.zeros(7 - len(own), dtype=torch.int64), own]))
    items = torch.stack(rows)
    alone = Histories(items, (items > 0) * batch.domain[:, None], batch.target, batch.domain)
    assert not items.equal(batch.items)
    assert torch.equal(trained.scores(batch), trained.scores(alone))


def test_without_a_model_or_a_domain_all_items_are_alike(data):
    schema = Prepared.open(data).schema
    model = IsolatedRetrievers(get("markov").Config(), schema, get("markov"), [1, 3])
    batch = Prepared.open(data).windows("test")[:3]
    asked = Histories(batch.items, batch.domains, batch.target, torch.tensor([0, 2, 2]))
    score = model.scores(asked)
    assert (score[0] == 0).all()
    assert (score[1][schema.items_of(2)] == 0).all()
    assert score[1].isfinite().sum() == schema.domain_items[1]


def test_a_domain_that_is_there_is_not_trained_again(job, trained, tmp_path):
    copy = tmp_path / "checkpoints"
    shutil.copytree(job.checkpoints, copy)
    again = IsolatedJob(job.data, job.model, job.settings, job.train, job.seed, copy)
    shutil.rmtree(again.place(2))
    before = {d: again.place(d).stat().st_mtime_ns for d in (1, 3)}
    model, _ = train_isolated_retrievers(again, workers=1)
    assert before == {d: again.place(d).stat().st_mtime_ns for d in (1, 3)}
    for name, value in trained.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


@pytest.mark.parametrize("model", ["item_knn", "gru4rec"])
def test_a_run_is_kept_and_its_model_loads_from_it_alone(data, tmp_path, model):
    kept = run(
        checked(
            {
                "data": str(data),
                "model": model,
                "scope": "isolated",
                "settings": {"embedding_dim": 8},
                "train": {"max_epochs": 1, "batch_size": 64, "max_rows": 60},
                "share": {"workers": 1},
            },
            "test",
        ),
        Store(tmp_path),
    )
    held = Held(Prepared.open(data), "test", own=True)
    again, first = held.ranks(load_retriever(kept)), kept.ranks("test")
    for place in ("above", "tied", "of"):
        assert (getattr(again, place)["domain"] == getattr(first, place)["domain"]).all()
    told = kept.rank_metrics["valid"].primary.weighted["ndcg@10"].value
    assert kept.manifest.scores == pytest.approx((told,))
