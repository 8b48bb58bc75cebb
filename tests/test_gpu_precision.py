"""Autocast and torch.compile, on the CPU: what stays in single precision, and that scores stay."""

import pytest
import torch

from isthmus import models
from isthmus.data.feed import Feed
from isthmus.models import Ranker
from isthmus.nn.precision import exact, full_precision, lowered
from isthmus.testing import toy_histories, toy_impressions, toy_schema
from isthmus.training.acceleration import compiled
from isthmus.training.fit import TrainConfig, fit

SCHEMA = toy_schema()
SEARCH = {"first": 2, "every": 2, "warmup_steps": 1, "updates": 1, "scorings": 1, "candidates": 3}
SMALL = {
    "aread": {
        "bottom_hidden": [8],
        "experts": [2, 3],
        "expert_hidden": [[8], [8]],
        "search": SEARCH,
    },
    "mmoe": {"expert_hidden": [8], "tower_hidden": [8]},
    "sasrec": {"embedding_dim": 16, "layers": 1},
    "syncrec": {"embedding_dim": 16, "layers": 1, "num_experts": 2},
    "star": {"hidden": [16, 8]},
    "gsasrec": {"embedding_dim": 16, "layers": 1},
}


def made(name):
    torch.manual_seed(0)
    kind = models.get(name)
    rows = (toy_impressions if issubclass(kind, Ranker) else toy_histories)(SCHEMA, 120)
    return kind(kind.Config(**SMALL[name]), SCHEMA), rows


def trained(name, **changes):
    model, rows = made(name)
    kinds, losses = set(), model.losses

    def watched(batch):
        found = losses(batch)
        kinds.update(value.dtype for value in found.values())
        return found

    model.losses = watched
    feed = Feed(rows, batch_size=30, seed=0, valid=rows[:30])
    state = fit(model, feed, lambda _: 0.5, TrainConfig(max_epochs=1, **changes))
    return state, kinds


@pytest.mark.parametrize(
    "name",
    [
        "mmoe",
        "syncrec",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("aread", "gsasrec", "sasrec", "star")),
    ],
)
def test_a_step_in_bfloat16_keeps_losses_and_state_in_single_precision(name):
    low, kinds = trained(name, autocast=True)
    plain, _ = trained(name)
    assert kinds == {torch.float32}
    floating = [v for v in low.model.values() if v.is_floating_point()]
    assert {value.dtype for value in floating} == {torch.float32}
    for term, value in plain.losses[-1].items():
        assert low.losses[-1][term] == pytest.approx(value, rel=0.02)
    changed = [not torch.equal(low.model[k], v) for k, v in plain.model.items()]
    assert any(changed), "autocast did nothing"


def test_statistics_of_experts_are_exact_under_autocast():
    from isthmus.nn import Experts

    torch.manual_seed(0)
    experts = Experts(2, 6, [5]).train()
    x_BI = torch.randn(700, 6) + 100  # in bfloat16 the mean of so many would be off by far
    active_EB = (torch.rand(2, 700) < 0.5).float()
    with torch.autocast("cpu", torch.bfloat16):
        h_EBO = torch.stack([x_BI @ w for w in experts.layers[0].weight])
        experts(x_BI, active_EB)
    mean_EO = (h_EBO.double() * active_EB[..., None]).sum(1) / active_EB.sum(1, keepdim=True)
    torch.testing.assert_close(
        experts.layers[0].mean[:, 0].double(), 0.1 * mean_EO, rtol=1e-4, atol=1e-3
    )


def test_autocast_ends_where_it_should():
    x, y = torch.randn(3, 3), torch.randn(3, 3, dtype=torch.float64)
    assert lowered(x, y) == (x, y)
    assert exact(y) is y
    with torch.autocast("cpu", torch.bfloat16):
        assert {t.dtype for t in lowered(x, x)} == {torch.bfloat16}
        assert (x @ x).dtype == torch.bfloat16
        assert exact(x @ x).dtype == torch.float32
        with full_precision(x):
            assert (x @ x).dtype == torch.float32


@pytest.mark.slow  # tracing takes seconds a model
@pytest.mark.filterwarnings("ignore")  # of the compiler's own
@pytest.mark.parametrize("name", ["aread", "mmoe", "sasrec", "syncrec"])
def test_compiled_scores_are_the_same(name):
    model, rows = made(name)
    plain = model.eval()(rows)
    torch._dynamo.reset()
    forward = torch.compile(model.forward, backend="aot_eager")
    torch.testing.assert_close(forward(rows), plain)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["aread", "sasrec"])
def test_compiled_losses_are_the_same_and_leave_the_model_as_it_was(name):
    model, rows = made(name)
    model.train()
    for module in model.modules():  # random numbers are drawn in another order
        if hasattr(module, "dropout"):
            module.dropout = 0.0
    before = {key: value.clone() for key, value in model.state_dict().items()}
    plain = model.losses(rows)
    model.load_state_dict(before)
    torch._dynamo.reset()
    with compiled(model, True, backend="aot_eager"):
        found = model.losses(rows)
        assert "losses" in vars(model)
    assert "losses" not in vars(model)
    assert model.state_dict().keys() == before.keys()
    assert found.keys() == plain.keys()
    for term, value in plain.items():
        torch.testing.assert_close(found[term], value)
