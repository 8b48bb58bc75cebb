"""Guarding: who is found hurt, what serves it, and that nobody else's scores move by a bit."""

import shutil

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from isthmus.batch import Impressions
from isthmus.data.sequences import Windows
from isthmus.evaluation.guarding import half
from isthmus.experiment import load_model
from isthmus.guarding import GuardConfig, guard, isolated_run, opened_data, stored_table
from isthmus.inference import probabilities
from isthmus.models.guarded import Guarded
from isthmus.next_item import Held, load_retriever
from isthmus.sharing import report_data, title
from isthmus.store import Run, Store


@pytest.fixture(scope="module")
def guarded(opposed, tmp_path_factory):
    pair = opposed.copy(tmp_path_factory.mktemp("guarded"))
    return pair, guard(pair.joint, pair.isolated, pair.prepared)


def auc(kept, domain, split="test"):
    p = kept.predictions(split)
    rows = p.domain == 1 + p.domains.index(domain)
    return roc_auc_score(p.label[rows], p.score[rows])


def test_the_opposed_domain_is_found_and_its_auc_rises(guarded):
    pair, outcome = guarded
    assert [(one.domain, one.way) for one in outcome.decisions] == [("odd", "own")]
    assert auc(outcome.run, "odd") > auc(pair.joint, "odd") + 0.3
    (row,) = outcome.table.rows
    assert row.before.value == pytest.approx(auc(pair.joint, "odd"))
    assert row.after.value == pytest.approx(auc(pair.isolated, "odd"))
    assert row.change.value == pytest.approx(row.after.value - row.before.value)
    assert row.verdict == "gains"
    metrics = [kept.metrics["test"].domain_auc for kept in (pair.joint, outcome.run)]
    assert outcome.table.change.value == pytest.approx(metrics[1] - metrics[0])


def test_it_was_decided_on_validation_rows(guarded):
    """The scores of the decision are those of the validation split, and of no other."""
    pair, outcome = guarded
    scores = outcome.decisions[0].scores
    assert scores["joint"] == pytest.approx(auc(pair.joint, "odd", "valid"))
    assert scores["own"] == pytest.approx(auc(pair.isolated, "odd", "valid"))


@pytest.mark.parametrize("split", ["valid", "test"])
def test_scores_of_all_other_domains_are_the_same_bytes(guarded, split):
    pair, outcome = guarded
    before, after = pair.joint.predictions(split), outcome.run.predictions(split)
    odd = before.domain == 1 + before.domains.index("odd")
    assert (before.row == after.row).all()
    assert before.score[~odd].tobytes() == after.score[~odd].tobytes()
    assert not (before.score[odd] == after.score[odd]).any()


@pytest.mark.parametrize("size", [1, 7, 64, 500])
def test_mixed_batches_of_any_size_too(guarded, size):
    pair, outcome = guarded
    joint, model = load_model(pair.joint), load_model(outcome.run)
    rows = pair.prepared.impressions("test")
    batch = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(size))[:size]]
    other = batch.domain != 1 + pair.joint.schema.domains.index("odd")
    with torch.inference_mode():
        before, after = joint(batch), model(batch)
    assert before[other].numpy().tobytes() == after[other].numpy().tobytes()
    alone = batch[(~other).nonzero().squeeze(1)]
    unknown = Impressions(batch.features, torch.zeros_like(batch.domain), batch.label)
    with torch.inference_mode():
        assert torch.equal(model(unknown), joint(unknown))
        if len(alone):
            torch.testing.assert_close(model(alone), after[~other])


def test_the_artefact_stands_alone(guarded, tmp_path):
    """No data, no joint run, no isolated run: the directory is enough."""
    pair, outcome = guarded
    kept = Run.open(shutil.copytree(outcome.run.path, tmp_path / "moved"))
    model = load_model(kept)
    assert isinstance(model, Guarded)
    scores = probabilities(model, pair.prepared.impressions("test"))
    np.testing.assert_array_equal(scores, kept.predictions("test").score)
    assert stored_table(kept) == outcome.table
    assert report_data([kept]).guard == outcome.table
    assert title(kept) == "guarded mlp"
    assert stored_table(pair.joint) is None


def test_the_same_guard_again_finds_it_done(guarded):
    pair, outcome = guarded
    before = {p: p.stat().st_mtime_ns for p in outcome.run.path.rglob("*") if p.is_file()}
    again = guard(pair.joint, pair.isolated, pair.prepared)
    assert (again.run.name, again.table) == (outcome.run.name, outcome.table)
    assert before == {p: p.stat().st_mtime_ns for p in outcome.run.path.rglob("*") if p.is_file()}
    names = Store(pair.store).names()
    other = guard(pair.joint, pair.isolated, pair.prepared, GuardConfig(alpha=0.01))
    assert other.run.name not in names


def test_the_same_guard_elsewhere_gives_the_same_bytes(guarded, opposed, tmp_path):
    _, outcome = guarded
    pair = opposed.copy(tmp_path)
    again = guard(pair.joint, pair.isolated, pair.prepared).run
    for name in ("run.json", "model.safetensors", "guard.json", "metrics.json"):
        assert (again.path / name).read_bytes() == (outcome.run.path / name).read_bytes(), name


def test_nothing_is_built_where_nobody_is_hurt(alike):
    before = sorted(p.name for p in alike.store.iterdir())
    outcome = guard(alike.joint, alike.isolated, alike.prepared)
    assert (outcome.run, outcome.table, outcome.decisions) == (None, None, ())
    assert {row.domain for row in outcome.comparison.rows} == {"books", "games", "tools"}
    assert sorted(p.name for p in alike.store.iterdir()) == before


def test_half_of_the_test_users_decide_and_the_others_show(opposed, tmp_path):
    pair = opposed.copy(tmp_path)
    outcome = guard(pair.joint, pair.isolated, pair.prepared, GuardConfig(split="test"))
    test = pair.joint.predictions("test")
    odd = test.domain == 1 + test.domains.index("odd")
    shown = odd & ~half(test.user)
    before = roc_auc_score(test.label[shown], test.score[shown])
    decided = roc_auc_score(test.label[odd & half(test.user)], test.score[odd & half(test.user)])
    (row,) = outcome.table.rows
    assert row.rows == shown.sum()
    assert row.before.value == pytest.approx(before)
    assert outcome.decisions[0].scores["joint"] == pytest.approx(decided)


def test_a_named_domain_is_guarded_though_it_is_not_hurt(opposed, tmp_path):
    pair = opposed.copy(tmp_path)
    wanted = GuardConfig(domains=("books",), ways="own")
    outcome = guard(pair.joint, pair.isolated, pair.prepared, wanted)
    (row,) = outcome.table.rows
    assert (row.domain, row.decision.way, row.decision.forced) == ("books", "own", True)
    assert row.verdict != "gains"
    assert auc(outcome.run, "odd") == auc(pair.joint, "odd")


def test_an_own_part_that_helps_nobody_is_not_taken(opposed):
    """A linear model's domain embedding moves all items alike: no order of items follows from it."""
    outcome = guard(opposed.joint, opposed.isolated, opposed.prepared, GuardConfig(ways="part"))
    assert outcome.run is None
    (left,) = outcome.decisions
    assert (left.domain, left.way) == ("odd", None)
    assert left.scores["part"] == left.scores["joint"]
    assert "nothing better" in left.reason


def test_an_isolated_run_is_trained_where_none_is_given(opposed, tmp_path):
    pair = opposed.copy(tmp_path)
    found = isolated_run(pair.joint, opened_data(pair.joint, pair.data))
    assert found.config["scope"] == "isolated"
    assert found.config["train"] == pair.joint.config["train"]
    assert isolated_run(pair.joint, pair.prepared).name == found.name


def test_retrievers(chained, tmp_path):
    pair = chained.copy(tmp_path)
    outcome = guard(pair.joint, pair.isolated, pair.prepared)
    assert [(one.domain, one.way) for one in outcome.decisions] == [("chain", "own")]
    assert outcome.table.metric == "ndcg@10"
    (row,) = outcome.table.rows
    assert row.after.value > row.before.value + 0.3
    before, after = pair.joint.ranks("test"), outcome.run.ranks("test")
    chain = before.domain == 1 + before.domains.index("chain")
    assert row.before.value == pytest.approx(before.values("ndcg@10")[chain].mean())
    assert row.after.value == pytest.approx(after.values("ndcg@10")[chain].mean())
    for protocol, places in before.above.items():
        assert (places[~chain] == after.above[protocol][~chain]).all()
    rank = outcome.run.rank_metrics["test"].primary.weighted["ndcg@10"]
    assert outcome.table.after == rank


def test_a_guarded_retriever_stands_alone_and_leaves_others_to_the_bit(chained, tmp_path):
    pair = chained.copy(tmp_path)
    kept = guard(pair.joint, pair.isolated, pair.prepared).run
    joint, model = load_retriever(pair.joint), load_retriever(Run.open(kept.path))
    held = Held(pair.prepared, "test")
    assert isinstance(held.rows, Windows)
    batch = held.rows[torch.arange(len(held.rows))]
    chain = batch.domain == 1 + pair.joint.schema.domains.index("chain")
    before, after = joint.scores(batch), model.scores(batch)
    assert before[~chain].numpy().tobytes() == after[~chain].numpy().tobytes()
    own = pair.joint.schema.items_of(1 + pair.joint.schema.domains.index("chain"))
    outside = torch.ones(pair.joint.schema.items, dtype=torch.bool)
    outside[own] = False
    assert torch.isneginf(after[chain][:, outside]).all()
    assert torch.isfinite(after[chain][:, own]).all()
    with pytest.raises(NotImplementedError, match="ask for scores"):
        model.item_vectors()
