"""What is learned, from what it starts, and when it is served; rows of domains by their means."""

import numpy as np
import pytest
import torch

from isthmus import models
from isthmus.batch import Impressions
from isthmus.contract import scores
from isthmus.inference import probabilities
from isthmus.lifecycle.axes import domain_axes, mean_rows, rows_of, with_rows
from isthmus.lifecycle.learning import LearnConfig, OneDomain, Parts, learn
from isthmus.testing import toy_impressions, toy_schema
from tests.models.random_weights import randomise

SETTINGS = {"expert_hidden": (8,), "tower_hidden": (4,), "embedding_dim": 4, "num_experts": 2}


@pytest.fixture
def parts():
    """An MMoE whose domains differ widely, none trained."""
    kind = models.get("mmoe")
    torch.manual_seed(0)
    model = randomise(kind(kind.Config(**SETTINGS), toy_schema(3)))
    axes = domain_axes(kind, model.config, model.schema)
    return Parts(kind, model.config, model.schema, model.state_dict(), axes)


def labelled_by(parts, domain, number=600):
    """Rows whose labels are drawn from what one domain of the model says, ten times as sure."""
    rows = toy_impressions(toy_schema(3), number, seed=4)
    model = OneDomain(parts)
    model.put(parts.of(domain))
    own = Impressions(rows.features, torch.ones_like(rows.domain), rows.label)
    logit = 10 * (scores(model, own) - scores(model, own).mean())
    label = (
        torch.rand(number, generator=torch.Generator().manual_seed(5)) < logit.sigmoid()
    ).float()
    return Impressions(rows.features, rows.domain, label)


def test_it_starts_from_the_domain_that_fits_best(parts):
    rows = labelled_by(parts, 2)
    starts = {f"d{d}": parts.of(d) for d in (1, 2, 3)}
    found = learn(parts, rows[:500], rows[500:], parts.of(0), starts, LearnConfig(max_epochs=2))
    mean_loss = {}
    model = OneDomain(parts)
    for name, start in {"unknown": parts.of(0), **starts}.items():  # by hand: log loss of all rows
        model.put(start)
        p = probabilities(model, Impressions(rows.features, torch.ones(600).long(), rows.label))
        mean_loss[name] = -np.log(np.where(rows.label > 0.5, p, 1 - p)).mean()
    assert found.start == min(mean_loss, key=mean_loss.get)


def test_nothing_shared_moves_while_a_domain_learns(parts):
    before = {name: value.clone() for name, value in parts.state.items()}
    rows = labelled_by(parts, 1)
    found = learn(parts, rows[:500], rows[500:], parts.of(0), {}, LearnConfig(max_epochs=3))
    assert found.chosen == "trained"
    for name, value in parts.state.items():
        assert torch.equal(value, before[name]), name
    assert any(not torch.equal(found.rows[n], parts.of(0)[n]) for n in parts.axes)


def test_held_out_rows_decide_by_a_paired_difference(parts):
    """The margin in standard errors of the mean gain: just below it is served, just above it is not."""
    rows = labelled_by(parts, 1)
    split = rows[:500], rows[500:]
    config = LearnConfig(max_epochs=3)
    trained = learn(parts, *split, parts.of(0), {}, config).rows
    model, valid = (
        OneDomain(parts),
        Impressions(split[1].features, torch.ones(100).long(), split[1].label),
    )
    losses = []
    for state in (parts.of(0), trained):
        model.put(state)
        losses.append(model.row_losses(valid))
    gain = losses[0] - losses[1]
    errors = gain.mean() / (gain.std(ddof=1) / 10)
    for factor, chosen in ((0.99, "trained"), (1.01, "baseline")):
        margin = config.model_copy(update={"margin": float(errors * factor)})
        assert learn(parts, *split, parts.of(0), {}, margin).chosen == chosen


def test_masks_are_searched_for_a_domain_alone():
    """AREAD's own search: the new domain's mask is one of its rows, all other masks stay."""
    kind = models.get("aread")
    config = kind.Config(
        embedding_dim=4,
        bottom_hidden=(8,),
        bottom_experts=2,
        experts=(2, 3, 4),
        search={"incumbent": False},
    )
    torch.manual_seed(0)
    model = randomise(kind(config, toy_schema(3)))
    model.hierarchy.searched.fill_(True)
    axes = domain_axes(kind, config, model.schema)
    parts = Parts(kind, config, model.schema, model.state_dict(), axes)
    rows = toy_impressions(toy_schema(3), 600)
    learned = learn(
        parts, rows[:500], rows[500:], parts.of(0), {}, LearnConfig(max_epochs=1, margin=0)
    )
    assert learned.chosen == "trained"
    kept = [value for name, value in learned.rows.items() if "mask" in name]
    assert kept
    share = sum(int(level.sum()) for level in kept) / sum(level.numel() for level in kept)
    assert share < 1, "the unknown domain's mask has all edges, a searched one fewer"


def test_rows_are_cut_put_and_averaged(parts):
    one, two = parts.of(1), parts.of(2)
    mean = mean_rows([one, two], [1.0, 3.0])
    for name in parts.axes:
        torch.testing.assert_close(mean[name], 0.25 * one[name] + 0.75 * two[name])
    state = with_rows(parts.state, parts.axes, 2, one)
    assert torch.equal(rows_of(state, parts.axes, 2)["gate.weight"], one["gate.weight"])
    assert torch.equal(rows_of(state, parts.axes, 3)["gate.weight"], parts.of(3)["gate.weight"])
    flags = [{"m": torch.tensor([True, False])}, {"m": torch.tensor([False, True])}]
    assert mean_rows(flags, [1.0, 2.0])["m"].tolist() == [False, True]
