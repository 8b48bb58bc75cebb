"""The training loop: when it stops, what it restores, what it says when it cannot go on."""

import pytest
import torch
from torch import nn

from isthmus import models
from isthmus.batch import Impressions
from isthmus.data.feed import Feed
from isthmus.errors import TrainingError
from isthmus.models import ModelConfig, Ranker
from isthmus.testing import toy_impressions, toy_schema
from isthmus.training.fit import TrainConfig, fit, make_optimizer

SCHEMA = toy_schema()


def feed(rows=200, seed=0, **settings):
    return Feed(
        toy_impressions(SCHEMA, rows),
        batch_size=64,
        seed=seed,
        valid=toy_impressions(SCHEMA, 60, 1),
        **settings,
    )


def build(name="mlp", seed=0, **settings):
    torch.manual_seed(seed)
    cls = models.get(name)
    return cls(cls.Config.model_validate(settings), SCHEMA)


def small_aread(**search):
    return build(
        "aread",
        embedding_dim=4,
        bottom_experts=2,
        bottom_hidden=(8,),
        search={"warmup_steps": 2, "candidates": 3, "updates": 2, "scorings": 1, **search},
    )


def given(scores):
    """A score that follows a list, and remembers what the model was at each epoch."""
    seen, left = [], iter(scores)

    def score(model):
        seen.append({k: v.clone() for k, v in model.state_dict().items()})
        return next(left)

    return score, seen


def same(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize(
    ("scores", "patience", "epochs", "best"),
    [
        ([0.6, 0.7, 0.65, 0.64, 0.9], 2, 4, 1),  # two epochs without a rise
        ([0.6, 0.7, 0.65, 0.8, 0.7], 2, 5, 3),  # a rise in between starts the count anew
        ([0.6, 0.5, 0.7], 1, 2, 0),
        ([0.5, 0.5, 0.5, 0.5], 2, 3, 0),  # equal is no rise; the first of equals is the best
        ([0.1, 0.2, 0.3, 0.4, 0.5], 9, 5, 4),  # max_epochs
    ],
)
def test_stops_early_and_restores_the_best_epoch(scores, patience, epochs, best):
    model = build()
    score, seen = given(scores)
    state = fit(model, feed(), score, TrainConfig(max_epochs=5, patience=patience))
    assert (state.epochs, state.best_epoch) == (epochs, best)
    assert state.scores == scores[:epochs]
    assert len(state.losses) == epochs
    assert same(model.state_dict(), seen[best])
    assert same(state.best, seen[best])
    assert not same(seen[best], seen[best - 1])
    assert not model.training


def test_masks_are_restored_with_the_best_epoch_w4():
    """Published: best weights, last masks."""
    model = small_aread(every=4, candidates=4, flips=1.0, incumbent=False)
    score, seen = given([0.9, 0.5, 0.4])
    fit(model, feed(), score, TrainConfig(max_epochs=3, patience=3))
    masks = [name for name in seen[0] if "mask" in name]
    assert masks
    assert any(not torch.equal(seen[0][name], seen[2][name]) for name in masks), "never searched"
    assert same(model.state_dict(), seen[0])


def test_a_state_is_a_copy_that_later_steps_leave_alone():
    kept = []
    state = fit(
        build(),
        feed(),
        given([0.5, 0.6, 0.7])[0],
        TrainConfig(max_epochs=3),
        on_epoch=lambda s: kept.append((s.model, {k: v.clone() for k, v in s.model.items()})),
    )
    assert len(kept) == state.epochs == 3
    assert all(same(held, copied) for held, copied in kept)


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_resuming_equals_going_straight_on(stop):
    """Bit for bit, searches, moments, orders and dropout included."""
    scores = [0.5, 0.7, 0.6, 0.65, 0.9]
    config = TrainConfig(max_epochs=4, patience=3)

    def run(upto, state=None):
        model = small_aread(every=3)
        left = scores[state.epochs if state else 0 :]
        new = config.model_copy(update={"max_epochs": upto})
        return model, fit(model, feed(unknown_share=0.1), given(left)[0], new, state=state)

    straight, whole = run(4)
    _, part = run(stop)
    torch.manual_seed(99)
    torch.rand(7)
    resumed, rest = run(4, part)
    assert whole.scores == rest.scores
    assert whole.losses == rest.losses
    assert same(whole.model, rest.model)
    assert same(whole.best, rest.best)
    assert same(straight.state_dict(), resumed.state_dict())


def test_a_finished_state_is_not_trained_further():
    model = build()
    config = TrainConfig(max_epochs=4, patience=1)
    state = fit(model, feed(), given([0.6, 0.5])[0], config)
    again = build(seed=5)
    assert fit(again, feed(), given([])[0], config, state=state).epochs == 2
    assert same(again.state_dict(), state.best)


def test_the_same_run_twice_gives_the_same_bytes():
    results = [small_aread(every=3) for _ in range(2)]
    for noise, model in enumerate(results):
        torch.rand(noise + 1)  # whatever was drawn before
        fit(model, feed(), given([0.5, 0.6])[0], TrainConfig(max_epochs=2))
    assert same(results[0].state_dict(), results[1].state_dict())


def test_another_seed_gives_another_run():
    results = [build() for _ in range(2)]
    for seed, model in enumerate(results):
        fit(model, feed(seed=seed), given([0.5])[0], TrainConfig(max_epochs=1))
    assert not same(results[0].state_dict(), results[1].state_dict())


class Exploding(Ranker):
    """Gives NaN for the rows of one domain from some step on; not registered."""

    name = "exploding"

    def __init__(self, domain, after):
        super().__init__(ModelConfig(), SCHEMA)
        self.linear, self.bad, self.left = nn.Linear(SCHEMA.num_columns, 1), domain, after

    def forward(self, batch):
        logit = self.linear(batch.features.float() / 100).squeeze(1)
        self.left -= self.training
        bad = (batch.domain == self.bad) & (self.left < 0)
        return torch.where(bad, torch.nan, logit)


def test_a_loss_that_is_not_finite_names_epoch_step_and_domain():
    model = Exploding(domain=2, after=5)  # 4 steps an epoch
    with pytest.raises(TrainingError, match=r"epoch 2, step 2, domain 'b': the loss is not finite"):
        fit(model, feed(), given([0.5, 0.6])[0], TrainConfig(max_epochs=2))


def test_rows_that_are_not_finite_are_found_by_their_labels_too():
    rows = toy_impressions(SCHEMA, 100)
    label = torch.where(rows.domain == 3, torch.nan, rows.label)
    broken = Feed(Impressions(rows.features, rows.domain, label), batch_size=64, seed=0)
    with pytest.raises(TrainingError, match=r"epoch 1, step 1, domain 'c': .*bce = nan"):
        fit(build(), broken, given([0.5])[0], TrainConfig(max_epochs=1))


def test_a_search_that_diverges_says_so():
    rows = toy_impressions(SCHEMA, 100)
    model = small_aread()
    with torch.no_grad():
        model.head.fill_(torch.inf)
    broken = Feed(rows, batch_size=64, seed=0, valid=rows)
    with pytest.raises(TrainingError, match=r"epoch 1"):
        fit(model, broken, given([0.5])[0], TrainConfig(max_epochs=1))


def test_optimizer_has_every_parameter_once():
    for name in models.names():
        model = build(name)
        if not list(model.parameters()):
            continue
        optimizer = make_optimizer(model, TrainConfig())
        held = [id(p) for group in optimizer.param_groups for p in group["params"]]
        assert sorted(held) == sorted(id(p) for p in model.parameters()), name


def test_losses_are_means_over_the_steps_that_had_them():
    class Two(Exploding):
        def losses(self, batch):
            bce = super().losses(batch)["bce"]
            self.steps_seen = getattr(self, "steps_seen", 0) + 1
            return {"bce": bce, **({"rare": 0 * bce + 3.0} if self.steps_seen == 2 else {})}

    state = fit(Two(9, 99), feed(), given([0.5])[0], TrainConfig(max_epochs=1))
    assert state.losses[0]["rare"] == pytest.approx(3.0)
    assert 0.1 < state.losses[0]["bce"] < 1.5


def test_progress_counts_the_steps_that_were_taken():
    taken = []

    class Counting:
        def task(self, label, total):
            self.total = total
            from contextlib import nullcontext

            return nullcontext(taken.append)

        def note(self, text):
            raise AssertionError(text)

    for name in ("mlp", "aread"):
        taken.clear()
        reporter = Counting()
        model = build() if name == "mlp" else small_aread()
        fit(model, feed(), given([0.5])[0], TrainConfig(max_epochs=1), reporter=reporter)
        assert sum(taken) == reporter.total == (4 if name == "mlp" else 6)
