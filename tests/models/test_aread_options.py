"""Options of AREAD beside the published method: the loss, and heads ranked in pruning."""

import pytest
import torch

from isthmus import models
from isthmus.data.feed import Feed
from isthmus.testing import toy_impressions, toy_schema
from isthmus.training.fit import TrainConfig, fit

SCHEMA = toy_schema()


def trained(**settings):
    torch.manual_seed(0)
    kind = models.get("aread")
    search = {"warmup_steps": 5, "every": 8, "batch_size": 64, "candidates": 4}
    search.update(settings.pop("search", {}))
    model = kind(kind.Config(search=search, **settings), SCHEMA)
    rows = toy_impressions(SCHEMA, 1024)
    feed = Feed(rows, batch_size=64, seed=0, valid=toy_impressions(SCHEMA, 256, 1))
    fit(model, feed, lambda _: 0.0, TrainConfig(max_epochs=2, patience=9, lr=1e-2))
    return model, rows


@pytest.mark.parametrize("loss", ["bagging", "mean"])
def test_the_loss_is_the_one_that_was_asked_for(loss):
    model, rows = trained(loss=loss, dropout=0.0)
    model.eval()
    batch = rows[:64]
    logit, used = model.head_logits(batch), model.used_heads(batch.domain)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    if loss == "bagging":
        each = [
            entropy(logit[i][used[i]], batch.label[i].expand(int(used[i].sum()))) for i in range(64)
        ]
        expected = torch.stack(each).mean()
    else:
        mean = torch.stack([logit[i][used[i]].sigmoid().mean() for i in range(64)])
        expected = torch.nn.functional.binary_cross_entropy(mean, batch.label)
    torch.testing.assert_close(sum(model.losses(batch).values()), expected, rtol=1e-5, atol=1e-6)


def test_ranked_heads_leave_more_heads_unused():
    sparse = {"start_density": 0.5, "density": 0.2}
    used = {}
    for rank in (False, True):
        model, _ = trained(search={**sparse, "rank_heads": rank})
        used[rank] = model.hierarchy.active()[-1][1:].double().mean().item()
    assert used[True] < used[False]
