"""What every model has to honour. Nothing here names a model."""

import json

import pytest
import torch
from sklearn.metrics import roc_auc_score as auc

from isthmus import models
from isthmus.batch import Impressions
from isthmus.data.feed import Feed
from isthmus.models import Ranker
from isthmus.testing import toy_histories, toy_impressions, toy_schema
from isthmus.training.fit import TrainConfig, fit

SCHEMA = toy_schema()
every_model = pytest.mark.parametrize("name", models.names())


def build(name, schema=SCHEMA, seed=0):
    torch.manual_seed(seed)
    cls = models.get(name)
    return cls(cls.Config(), schema)


def rows(model, n=64, seed=0):
    make = toy_impressions if isinstance(model, Ranker) else toy_histories
    return make(model.schema, n, seed)


def scores(model, batch):
    model.eval()
    with torch.inference_mode():
        return model(batch) if isinstance(model, Ranker) else model.scores(batch)


def quality(model, batch):
    out = scores(model, batch)
    if isinstance(model, Ranker):
        return auc(batch.label.numpy(), out.numpy())
    return (out.argmax(1) == batch.target).float().mean().item()


def train(model, epochs=2, n=512, lr=1e-2, state=None):
    feed = Feed(rows(model, n), batch_size=64, seed=0, valid=rows(model, 256, 3), unknown_share=0.1)
    held_out = rows(model, 1024, seed=1)  # of 256 the AUC alone would scatter by .03
    config = TrainConfig(lr=lr, max_epochs=epochs, patience=99)
    return fit(model, feed, lambda m: quality(m, held_out), config, state=state)


@every_model
def test_config_round_trip_and_refusal(name):
    config = models.get(name).Config()
    assert type(config).model_validate_json(config.model_dump_json()) == config
    with pytest.raises(ValueError, match="no_such_setting"):
        type(config).model_validate({**json.loads(config.model_dump_json()), "no_such_setting": 1})


@every_model
def test_says_what_it_is_and_where_it_comes_from(name):
    cls = models.get(name)
    assert cls.__doc__
    assert cls.paper.startswith("https://")


@every_model
def test_scores_are_finite_and_shaped(name):
    model = build(name)
    out = scores(model, rows(model, 7))
    assert out.shape == ((7,) if isinstance(model, Ranker) else (7, SCHEMA.items))
    assert out.isfinite().all()


@every_model
def test_a_row_is_scored_alone_as_in_company(name):
    model = build(name)
    train(model, epochs=1)
    batch = rows(model, 16)
    alone = torch.cat([scores(model, batch[i : i + 1]) for i in range(16)])
    torch.testing.assert_close(scores(model, batch), alone, rtol=1e-5, atol=1e-5)


@every_model
def test_every_parameter_is_trained(name):
    model = build(name)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    train(model, epochs=2)
    still = [n for n, p in model.named_parameters() if torch.equal(p, before[n])]
    assert not still, f"never trained: {still}"


@every_model
def test_no_parameter_stands_in_for_another(name):
    names = {}
    for n, p in build(name).named_parameters(remove_duplicate=False):
        names.setdefault(p.data_ptr(), []).append(n)
    shared = [n for n in names.values() if len(n) > 1]
    assert not shared, f"the same tensor under several names: {shared}"


@every_model
def test_learns_what_is_planted(name):
    model = build(name)
    history = train(model, epochs=10, n=4096)
    assert max(history.scores) > 0.8, history.scores
    if isinstance(model, Ranker):
        batch = rows(model, 1024, seed=2)
        predicted = scores(model, batch).sigmoid().mean().item()
        assert predicted == pytest.approx(batch.label.mean().item(), abs=0.1)


@every_model
def test_state_dict_is_the_whole_state(name):
    model = build(name)
    train(model)
    copy = build(name, seed=1)
    copy.load_state_dict(model.state_dict())
    batch = rows(model)
    torch.testing.assert_close(scores(copy, batch), scores(model, batch), rtol=0, atol=0)


@every_model
def test_same_seed_same_scores(name):
    results = []
    for _ in range(2):
        model = build(name)
        train(model)
        results.append(scores(model, rows(model)))
    torch.testing.assert_close(*results, rtol=0, atol=0)


@every_model
def test_stopping_and_going_on_is_not_stopping(name):
    straight, first, second = (build(name) for _ in range(3))
    whole = train(straight, epochs=3)
    resumed = train(second, epochs=3, state=train(first, epochs=1))
    assert whole.scores == resumed.scores
    assert whole.losses == resumed.losses
    for key, value in whole.model.items():
        assert torch.equal(value, resumed.model[key]), key


@every_model
def test_a_domain_may_be_absent(name):
    model = build(name)
    batch = rows(model)
    only = batch[(batch.domain == 1).nonzero().squeeze(1)]
    assert all(v.isfinite() for v in model.losses(only).values())


@every_model
def test_an_unknown_domain_has_a_learned_path(name):
    model = build(name)
    if not isinstance(model, Ranker):
        pytest.skip("a retriever is asked for a domain")
    train(model, epochs=4, n=4096)
    batch = rows(model, 2048, seed=5)
    hidden = Impressions(batch.features, torch.zeros_like(batch.domain), batch.label)
    out = scores(model, hidden)
    assert out.isfinite().all()
    # What is planted depends on the domain; without it the base rate is what can be known.
    assert out.sigmoid().mean().item() == pytest.approx(batch.label.mean().item(), abs=0.15)


@every_model
def test_losses_are_scalars_that_reach_the_parameters(name):
    model = build(name)
    for term, value in model.losses(rows(model)).items():
        assert value.shape == (), term
        assert value.requires_grad, term


@every_model
def test_padding_says_nothing(name):
    """A history's padding is not averaged in: more of it changes no score."""
    model = build(name)
    train(model, epochs=1)
    batch = rows(model, 32)
    if isinstance(model, Ranker):
        features = batch.features.clone()
        features[:, -2:] = 0  # one recent item, two pads
        moved = features.clone()
        moved[:, -3:] = features[:, [-2, -3, -1]]  # the same item between two pads
        one, other = (Impressions(f, batch.domain, batch.label) for f in (features, moved))
    else:
        fits = (batch.items[:, :2] == 0).all(1).nonzero().squeeze(1)
        one = batch[fits]
        other = type(batch)(one.items[:, 2:], one.domains[:, 2:], one.target, one.domain)
    torch.testing.assert_close(scores(model, one), scores(model, other), rtol=1e-5, atol=1e-5)


@every_model
def test_large_ids_stay_apart(name):
    """Ids above 2**24 do not survive a float32."""
    cls = models.get(name)
    if not issubclass(cls, Ranker):
        pytest.skip("see the retriever's own test")
    big = SCHEMA.features[1].model_copy(update={"size": 2**24 + 4, "table": "item"})
    model = cls(cls.Config(embedding_dim=1), SCHEMA.model_copy(update={"features": (big,)}))
    with torch.no_grad():
        next(p for p in model.parameters() if len(p) > 2**24)[-3:] = torch.tensor(
            [[5.0], [-5.0], [0.0]]
        )
    ids = torch.tensor([[2**24 + 1], [2**24 + 2]])
    one, other = scores(model, Impressions(ids, torch.ones(2, dtype=torch.long), torch.zeros(2)))
    assert one != other
