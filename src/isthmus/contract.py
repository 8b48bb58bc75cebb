"""What every model has to honour: checks of the library's own and of a user's. None names a model.

``CHECKS`` are functions of a model's class, which they build with its default settings and train on
planted rows (``isthmus.testing``), a few seconds each. One that finds a fault raises AssertionError.
"""

import json
from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from pydantic import ValidationError
from torch import Tensor

from isthmus.batch import Histories, Impressions
from isthmus.data.feed import Feed
from isthmus.models import Model, Ranker, Retriever
from isthmus.schema import Schema
from isthmus.testing import toy_histories, toy_impressions, toy_item_domains, toy_schema
from isthmus.training.fit import TrainConfig, fit
from isthmus.training.state import TrainingState

SCHEMA = toy_schema()
Rows = Impressions | Histories


def build(kind: type[Model], schema: Schema = SCHEMA, seed: int = 0) -> Model:
    """An untrained model with its default settings."""
    torch.manual_seed(seed)
    return kind(kind.Config(), schema)


def rows(model: Model, n: int = 64, seed: int = 0) -> Rows:
    """Planted rows of the kind that the model takes."""
    make = toy_impressions if isinstance(model, Ranker) else toy_histories
    return make(model.schema, n, seed)


def scores(model: Model, batch: Rows) -> Tensor:
    """Scores in evaluation mode: logits [B] of a ranker, scores of all items [B, I] of a retriever."""
    model.eval()
    with torch.inference_mode():
        if isinstance(batch, Histories):
            assert isinstance(model, Retriever), "a model is a Ranker or a Retriever"
            return model.scores(batch)
        return model(batch)


def quality(model: Model, batch: Rows) -> float:
    """AUC of a ranker; of a retriever the share of targets that come first in their own domain."""
    from sklearn.metrics import roc_auc_score  # a second to load

    out = scores(model, batch)
    if isinstance(batch, Impressions):
        return float(roc_auc_score(batch.label.numpy(), out.numpy()))
    others_BI = toy_item_domains(model.schema) != batch.domain[:, None]
    first_B = out.masked_fill(others_BI, float("-inf")).argmax(1)
    return (first_B == batch.target).float().mean().item()


def train(
    model: Model,
    epochs: int = 2,
    n: int = 512,
    lr: float = 1e-2,
    state: TrainingState | None = None,
    kept: list[TrainingState] | None = None,
) -> TrainingState:
    """Train on ``n`` planted rows, one in ten of a ranker's without its domain.

    ``kept`` gets the states within epochs, after each step.
    """
    own, valid = (cast(Impressions, rows(model, *which)) for which in ((n,), (256, 3)))
    hidden = 0.1 if isinstance(model, Ranker) else 0.0  # a retriever is asked for a domain
    feed = Feed(own, batch_size=64, seed=0, valid=valid, unknown_share=hidden)
    held_out = rows(model, 1024, seed=1)  # of 256 the AUC alone would scatter by .03
    every, keep = (None, []) if kept is None else (1, kept)
    config = TrainConfig(lr=lr, max_epochs=epochs, patience=99, checkpoint_every=every)
    score = partial(quality, batch=held_out)
    return fit(model, feed, score, config, state=state, on_partial=keep.append)


def config_round_trip_and_refusal(kind: type[Model]) -> None:
    """Settings survive JSON, and a setting that does not exist is refused."""
    config = kind.Config()
    assert type(config).model_validate_json(config.model_dump_json()) == config
    values = {**json.loads(config.model_dump_json()), "no_such_setting": 1}
    found = ""
    try:
        type(config).model_validate(values)
    except ValidationError as error:
        found = str(error)
    assert "no_such_setting" in found, (
        "an unknown setting was taken: derive Config from ModelConfig"
    )


def says_what_it_is_and_where_it_comes_from(kind: type[Model]) -> None:
    """A docstring, and the paper's address."""
    assert kind.__dict__.get("__doc__"), "the class has no docstring"
    assert kind.paper.startswith("https://"), kind.paper


def scores_are_finite_and_shaped(kind: type[Model]) -> None:
    """[B] logits, or [B, I] scores of items; of no rows none."""
    model = build(kind)
    for n in (7, 0):
        out = scores(model, rows(model, n))
        expected = (n,) if isinstance(model, Ranker) else (n, SCHEMA.items)
        assert out.shape == expected, f"found {tuple(out.shape)}, expected {expected}"
        assert out.isfinite().all()


def a_row_is_scored_alone_as_in_company(kind: type[Model]) -> None:
    """In evaluation mode no row changes another's score: no statistic is the batch's."""
    model = build(kind)
    train(model, epochs=1)
    batch = rows(model, 16)
    alone = torch.cat([scores(model, batch[i : i + 1]) for i in range(16)])
    torch.testing.assert_close(scores(model, batch), alone, rtol=1e-5, atol=1e-5)


def every_parameter_is_trained(kind: type[Model]) -> None:
    """After two epochs no parameter tensor is what it was."""
    model = build(kind)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    train(model, epochs=2)
    still = [n for n, p in model.named_parameters() if torch.equal(p, before[n])]
    assert not still, f"never trained: {still}"


def no_parameter_stands_in_for_another(kind: type[Model]) -> None:
    """No tensor has two names: it would be stored twice, and loaded into one of them."""
    names: dict[int, list[str]] = {}
    for n, p in build(kind).named_parameters(remove_duplicate=False):
        names.setdefault(p.data_ptr(), []).append(n)
    shared = [n for n in names.values() if len(n) > 1]
    assert not shared, f"the same tensor under several names: {shared}"


def learns_what_is_planted(kind: type[Model]) -> None:
    """What is planted is found in 8 of 10 cases or more; a ranker's mean score is near the base rate.

    A model without parameters is a floor, which knows one plain thing: other tests say that it does.
    """
    model = build(kind)
    if next(model.parameters(), None) is None:
        return
    history = train(model, epochs=10, n=4096)
    assert max(history.scores) > 0.8, history.scores
    batch = rows(model, 1024, seed=2)
    if isinstance(batch, Impressions):
        _close_to_base_rate(scores(model, batch), batch, 0.1)


def state_dict_is_the_whole_state(kind: type[Model]) -> None:
    """A model with another's state dict scores as that one does, to the bit."""
    model = build(kind)
    train(model)
    copy = build(kind, seed=1)
    copy.load_state_dict(model.state_dict())
    batch = rows(model)
    torch.testing.assert_close(scores(copy, batch), scores(model, batch), rtol=0, atol=0)


def same_seed_same_scores(kind: type[Model]) -> None:
    """Two trainings with one seed agree to the bit."""
    results = []
    for _ in range(2):
        model = build(kind)
        train(model)
        results.append(scores(model, rows(model)))
    torch.testing.assert_close(*results, rtol=0, atol=0)


def stopping_and_going_on_is_not_stopping(kind: type[Model]) -> None:
    """One epoch, and two more from its state, are three epochs, to the bit."""
    straight, first, second = (build(kind) for _ in range(3))
    whole = train(straight, epochs=3)
    resumed = train(second, epochs=3, state=train(first, epochs=1))
    assert whole.scores == resumed.scores
    assert whole.losses == resumed.losses
    for key, value in whole.model.items():
        assert torch.equal(value, resumed.model[key]), key


def leaving_an_epoch_in_its_middle_is_not_leaving(kind: type[Model]) -> None:
    """Where a model says that its epoch may be entered again in the middle, the rest is the same."""
    straight, second = build(kind), build(kind)
    kept: list[TrainingState] = []
    whole = train(straight, epochs=1, n=320, kept=kept)
    if not kept:
        return  # an epoch of its own, or no step at all
    resumed = train(second, epochs=1, n=320, state=kept[len(kept) // 2])
    assert whole.losses == resumed.losses
    for key, value in whole.model.items():
        assert torch.equal(value, resumed.model[key]), key


def a_batch_may_be_one_row(kind: type[Model]) -> None:
    """The last batch of an epoch: its losses are finite, and so are the statistics it leaves."""
    model = build(kind)
    assert all(v.isfinite() for v in model.losses(rows(model, 1)).values())
    left = [n for n, b in model.named_buffers() if b.is_floating_point() and not b.isfinite().all()]
    assert not left, f"not finite after a batch of one row: {left}"


def a_domain_may_be_absent(kind: type[Model]) -> None:
    """Losses of a batch of one domain alone are finite."""
    model = build(kind)
    batch = rows(model)
    only = batch[(batch.domain == 1).nonzero().squeeze(1)]
    assert all(v.isfinite() for v in model.losses(only).values())


def an_unknown_domain_has_a_learned_path(kind: type[Model]) -> None:
    """Rows of domain 0 are scored near the base rate, which is what can be known of them."""
    model = build(kind)
    batch = rows(model, 2048, seed=5)
    if not isinstance(batch, Impressions):
        return  # a retriever is asked for a domain
    train(model, epochs=4, n=4096)
    hidden = Impressions(batch.features, torch.zeros_like(batch.domain), batch.label)
    out = scores(model, hidden)
    assert out.isfinite().all()
    # What is planted depends on the domain; without it the base rate is what can be known.
    _close_to_base_rate(out, batch, 0.15)


def losses_are_scalars_that_reach_the_parameters(kind: type[Model]) -> None:
    """Each named loss is a scalar with a gradient."""
    model = build(kind)
    for term, value in model.losses(rows(model)).items():
        assert value.shape == (), term
        assert value.requires_grad, term


def padding_says_nothing(kind: type[Model]) -> None:
    """A history's padding is not averaged in: more of it, or elsewhere, changes no score."""
    model = build(kind)
    train(model, epochs=1)
    batch = rows(model, 32)
    one: Rows
    other: Rows
    if isinstance(batch, Impressions):
        features = batch.features.clone()
        features[:, -2:] = 0  # one recent item, two pads
        moved = features.clone()
        moved[:, -3:] = features[:, [-2, -3, -1]]  # the same item between two pads
        one, other = (Impressions(f, batch.domain, batch.label) for f in (features, moved))
    else:
        fits = (batch.items[:, :2] == 0).all(1).nonzero().squeeze(1)
        one = fitting = batch[fits]
        other = Histories(
            fitting.items[:, 2:], fitting.domains[:, 2:], fitting.target, fitting.domain
        )
    torch.testing.assert_close(scores(model, one), scores(model, other), rtol=1e-5, atol=1e-5)


def large_ids_stay_apart(kind: type[Model]) -> None:
    """Ids above 2**24, which do not survive a float32, are told apart; one feature, one wide, will do."""
    if not issubclass(kind, Ranker):
        return  # see the retriever's own test
    big = SCHEMA.features[1].model_copy(update={"size": 2**24 + 4, "table": "item"})
    model = kind(kind.Config(embedding_dim=1), SCHEMA.model_copy(update={"features": (big,)}))
    with torch.no_grad():
        table_RK = next(p for p in model.parameters() if len(p) > 2**24)
        table_RK[2**24 : 2**24 + 2] = torch.tensor([[5.0], [-5.0]])
    ids = torch.tensor([[2**24], [2**24 + 1]])  # the second is the first in float32
    one, other = scores(model, Impressions(ids, torch.ones(2, dtype=torch.long), torch.zeros(2)))
    assert one != other


def _close_to_base_rate(logit_B: Tensor, batch: Impressions, tolerance: float) -> None:
    found, expected = logit_B.sigmoid().mean().item(), batch.label.mean().item()
    assert abs(found - expected) <= tolerance, f"mean score {found:.3f}, base rate {expected:.3f}"


CHECKS: tuple[Callable[[type[Model]], None], ...] = (
    config_round_trip_and_refusal,
    says_what_it_is_and_where_it_comes_from,
    scores_are_finite_and_shaped,
    a_row_is_scored_alone_as_in_company,
    every_parameter_is_trained,
    no_parameter_stands_in_for_another,
    learns_what_is_planted,
    state_dict_is_the_whole_state,
    same_seed_same_scores,
    stopping_and_going_on_is_not_stopping,
    leaving_an_epoch_in_its_middle_is_not_leaving,
    a_batch_may_be_one_row,
    a_domain_may_be_absent,
    an_unknown_domain_has_a_learned_path,
    losses_are_scalars_that_reach_the_parameters,
    padding_says_nothing,
    large_ids_stay_apart,
)
