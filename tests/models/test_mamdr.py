"""MAMDR: a hand-worked round, what is served to whom, and domains that contradict each other."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score as auc
from torch import nn

from isthmus import models
from isthmus.batch import Impressions
from isthmus.data.feed import Feed
from isthmus.errors import ConfigError
from isthmus.models import ModelConfig, Ranker
from isthmus.models.mamdr import Mamdr, MamdrConfig
from isthmus.nn import EmbeddingTable
from isthmus.optim import update
from isthmus.schema import Feature, Schema
from isthmus.testing import toy_impressions, toy_schema
from isthmus.training.fit import TrainConfig, fit
from tests.oracles import plain_mamdr

SCHEMA = toy_schema(4)
SMALL = {
    "mlp": {"hidden": (16, 8), "embedding_dim": 8},
    "mmoe": {"expert_hidden": (16, 8), "tower_hidden": (8,), "embedding_dim": 8},
}


class Line(Ranker):
    """Two parameters: the logit is a line in the first feature."""

    name, paper = "line", "https://example.org"

    def __init__(self, config, schema):
        super().__init__(config, schema)
        self.theta = nn.Parameter(torch.tensor([0.3, -0.2], dtype=torch.float64))

    def forward(self, batch):
        return inputs(batch) @ self.theta


def inputs(batch):
    slope = batch.features[:, 0].double() / 25 - 1
    return torch.stack([slope, torch.ones_like(slope)], 1)


def rows(n, seed=0, schema=SCHEMA):
    return toy_impressions(schema, n, seed)


def build(name="mlp", how=None, seed=0, schema=SCHEMA, **settings):
    torch.manual_seed(seed)
    kind = models.get(name)
    config = kind.Config.model_validate({**SMALL[name], **settings})
    return Mamdr(config, schema, kind, MamdrConfig.model_validate(how or {}))


def driven(model, epoch, optimizer):
    """Trains an epoch, and returns the domain of each step's rows."""
    seen = []
    model.train()
    for losses in model.epoch(epoch):
        seen.append(int(epoch.current.domain.max()))
        update(optimizer, losses)
    model.eval()
    return seen


def test_a_round_is_that_of_the_plain_loop():
    """Two epochs with steps of plain gradient descent, the whole of a domain in each."""
    batch = rows(400)
    batch = Impressions(batch.features, batch.domain, batch.label.double())
    own = {d: batch[(batch.domain == d).nonzero()[:, 0]] for d in range(1, 5)}
    data = {d: (inputs(b).numpy(), b.label.numpy()) for d, b in own.items()}
    how = MamdrConfig(rate=0.3, domain_rate=0.7, helpers=2)
    model = Mamdr(ModelConfig(), SCHEMA, Line, how).double()
    feed = Feed(batch, batch_size=1000, seed=4)
    theta, deltas, lr = np.array([0.3, -0.2]), dict.fromkeys(data, np.zeros(2)), 2.0
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    for number in range(2):
        seen = driven(model, feed.epoch(number), optimizer)
        assert len(seen) == model.steps(feed.epoch(number)) == 4 + 4 * 2 * 2
        order, passes = seen[:4], [seen[i : i + 4] for i in range(4, 20, 4)]
        plan = [(d, [first, second]) for first, d, second, _ in passes]
        assert sorted(order) == sorted(d for d, _ in plan) == [1, 2, 3, 4]
        assert all(p[1] == p[3] and len({*p}) == 3 for p in passes), "helper, d, other helper, d"
        theta = plain_mamdr.negotiation(theta, data, order, lr, 0.3)
        deltas = plain_mamdr.regularisation(theta, deltas, data, plan, lr, 0.7)
    np.testing.assert_allclose(model.backbone.theta.detach(), theta, rtol=1e-12)
    assert not model.delta_DW[0].any()
    with torch.no_grad():
        scores = model(batch)
    for d, delta in deltas.items():
        assert np.abs(delta).max() > 0.05
        np.testing.assert_allclose(model.delta_DW[d], delta, rtol=1e-12)
        np.testing.assert_allclose(scores[batch.domain == d], data[d][0] @ (theta + delta))
    hidden = Impressions(batch.features, torch.zeros_like(batch.domain), batch.label)
    with torch.no_grad():
        np.testing.assert_allclose(model(hidden), inputs(batch).numpy() @ theta)


def test_domains_take_turns_of_so_many_batches():
    batch = rows(900)
    kept = torch.cat([(batch.domain == d).nonzero()[:size, 0] for d, size in ((1, 100), (2, 30))])
    feed = Feed(batch[kept], batch_size=20, seed=0)
    model = build(how={"round_batches": 2, "helpers": 0})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen = driven(model, feed.epoch(0), optimizer)
    assert len(seen) == model.steps(feed.epoch(0)) == 5 + 2
    assert sorted(seen[:4]) == [1, 1, 2, 2]
    assert seen[0] == seen[1]
    assert seen[4:] == [1, 1, 1]


@pytest.mark.parametrize("name", list(SMALL))
def test_tables_rest_in_regularisation_unless_they_have_differences(name):
    dense = {}
    for tables in (False, True):
        model = build(name, {"tables": tables})
        table = next(m.weight for m in model.modules() if isinstance(m, EmbeddingTable))
        feed = Feed(rows(400), batch_size=50, seed=0)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        moved, before = [], table.detach().clone()
        model.train()
        for losses in model.epoch(feed.epoch(0)):
            update(optimizer, losses)
            moved.append(not torch.equal(table, before))
            before = table.detach().clone()
        negotiation = sum(-(-len(feed.rows_of(d)) // 50) for d in range(1, 5))
        assert all(moved[: negotiation - 1])
        assert any(moved[negotiation + 1 :]) == tables, "the first finds the outer step made"
        assert all(p.requires_grad for p in model.parameters())
        dense[tables] = model.delta_DW.shape[1]
    assert dense[True] == dense[False] + table.numel()


def test_each_domain_is_scored_with_running_statistics_of_its_own_rows():
    """Long calibration makes them the statistics of the rows under the weights served."""
    model = build(how={"calibration": 100}, dropout=0.0)
    batch = rows(400)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    driven(model, Feed(batch, batch_size=1000, seed=0).epoch(0), optimizer)
    stated = {n: b.clone() for n, b in model.backbone.named_buffers()}
    for domain in range(5):
        own = batch if domain == 0 else batch[(batch.domain == domain).nonzero()[:, 0]]
        served = model._served(
            torch.cat([model.backbone.get_parameter(n).detach().flatten() for n in model._own])
            + model.delta_DW[domain],
            model.noted_DN[domain],
        )
        x = model.backbone.embed.features(own).flatten(1)
        x = torch.cat([x, served["embed.domain.weight"][own.domain]], 1)
        h = x @ served["mlp.linears.0.weight"].T
        torch.testing.assert_close(
            served["mlp.norms.0.running_mean"], h.mean(0), rtol=1e-3, atol=1e-4
        )
        torch.testing.assert_close(
            served["mlp.norms.0.running_var"], h.var(0), rtol=1e-3, atol=1e-4
        )
        if domain == 0:
            torch.testing.assert_close(
                stated["mlp.norms.0.running_mean"], served["mlp.norms.0.running_mean"]
            )


def test_batches_for_statistics_are_no_steps():
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    epoch = Feed(rows(400), batch_size=50, seed=0).epoch(0)
    seen = driven(model, epoch, optimizer)
    assert int(model.backbone.mlp.norms[0].num_batches_tracked) == len(seen)


def trained(model, epochs, state=None):
    """A few epochs on rows of all domains but the last, some hidden."""
    given, held = rows(600), rows(400, 1)
    given = given[(given.domain < 4).nonzero()[:, 0]]
    feed = Feed(given, batch_size=64, seed=0, valid=held, unknown_share=0.1)

    def score(model):
        return float(auc(held.label, model(held)))

    return fit(model, feed, score, TrainConfig(lr=1e-2, max_epochs=epochs, patience=9), state=state)


@pytest.mark.parametrize("name", list(SMALL))
def test_stopping_and_going_on_is_not_stopping(name):
    straight, first, second = (build(name) for _ in range(3))
    whole = trained(straight, 3)
    resumed = trained(second, 3, state=trained(first, 1))
    assert whole.scores == resumed.scores
    assert whole.losses == resumed.losses
    assert whole.model.keys() == resumed.model.keys()
    for key, value in whole.model.items():
        assert torch.equal(value, resumed.model[key]), key


@pytest.mark.parametrize("name", list(SMALL))
def test_what_holds_for_every_model(name):
    model = build(name)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    trained(model, 2)
    assert not [n for n, p in model.named_parameters() if torch.equal(p, before[n])]
    batch = rows(40, 2)
    copy = build(name, seed=1)
    copy.load_state_dict(model.state_dict())
    copy.eval()
    with torch.inference_mode():
        together = model(batch)
        alone = torch.cat([model(batch[i : i + 1]) for i in range(40)])
        torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
        assert torch.equal(copy(batch), together)
        absent = batch[(batch.domain == 4).nonzero()[:, 0]]
        assert torch.equal(model(absent), model.backbone(absent)), "no rows: theta_S"
    assert not model.delta_DW[4].any()
    assert all(model.delta_DW[d].any() for d in (1, 2, 3))


CONFLICT = Schema(
    features=(Feature(name="item", size=60), Feature(name="hour", size=25)), domains=("a", "b", "c")
)


def contradicting(n, seed):
    """What domain "a" likes among the even and odd hours, "b" dislikes; all like the same items."""
    g = torch.Generator().manual_seed(seed)
    item, hour = (torch.randint(1, size, (n,), generator=g) for size in (60, 25))
    domain = torch.randint(1, 4, (n,), generator=g)
    sign = torch.tensor([0.0, 1.0, -1.0, 0.0])[domain]
    logit = 2.0 * sign * (hour % 2 * 2 - 1) + 1.0 * (item % 2 * 2 - 1)
    label = (torch.rand(n, generator=g) < logit.sigmoid()).float()
    return Impressions(torch.stack([item, hour], 1), domain, label)


def domain_aucs(model, rows):
    with torch.inference_mode():
        scores = model.eval()(rows)
    places = [(rows.domain == d).nonzero()[:, 0] for d in (1, 2, 3)]
    return np.array([auc(rows.label[place], scores[place]) for place in places])


def test_domains_that_contradict_each_other_gain_over_a_blind_model():
    """Both are blind to the domain; a domain's own difference alone can tell "a" from "b"."""
    held, test = contradicting(2000, 1), contradicting(4000, 2)
    how = {"helper_batches": False, "domain_rate": 1.0}
    ours = build(schema=CONFLICT, domain_blind=True, how=how)
    plain = build(schema=CONFLICT, domain_blind=True).backbone
    for model in (ours, plain):
        feed = Feed(contradicting(6000, 0), batch_size=128, seed=0)
        config = TrainConfig(lr=1e-2, max_epochs=5, patience=5)
        fit(model, feed, lambda model: domain_aucs(model, held).mean(), config)
    gain = domain_aucs(ours, test) - domain_aucs(plain, test)
    assert (gain[:2] > 0.08).all(), gain
    assert gain[2] > -0.03, "the third contradicts nobody"
    hidden = Impressions(test.features, torch.zeros_like(test.domain), test.label)
    with torch.inference_mode():
        shown, unknown = ours(test), ours(hidden)
    assert auc(test.label, shown) > auc(test.label, unknown) + 0.04, "theta_S is a compromise"


@pytest.mark.parametrize("name", ["aread", "m3oe"])
def test_a_backbone_with_epochs_of_its_own_is_refused(name):
    kind = models.get(name)
    with pytest.raises(ConfigError, match=f"'{name}' says itself what an epoch"):
        Mamdr(kind.Config(), SCHEMA, kind, MamdrConfig())
