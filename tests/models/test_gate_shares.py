"""What models tell of their gates is what they mix by."""

import pytest
import torch

from isthmus import models
from isthmus.models import Ranker
from isthmus.testing import toy_impressions, toy_schema

RANKERS = [name for name in models.names() if issubclass(models.get(name), Ranker)]
SCHEMA = toy_schema()


def model_of(name, **settings):
    torch.manual_seed(0)
    kind = models.get(name)
    return kind(kind.Config(embedding_dim=4, **settings), SCHEMA).eval()


@pytest.mark.parametrize("name", RANKERS)
@torch.no_grad()
def test_shares_of_a_row_sum_to_one(name):
    batch = toy_impressions(SCHEMA, 20)
    for share_BE in model_of(name).gate_shares(batch).values():
        assert share_BE.shape[0] == len(batch)
        assert torch.all(share_BE >= 0)
        torch.testing.assert_close(share_BE.sum(1), torch.ones(len(batch)))


@torch.no_grad()
def test_mmoe_mixes_its_experts_by_them():
    batch, model = toy_impressions(SCHEMA, 20), model_of("mmoe")
    expert_EBO = model.experts(model.embed(batch))
    mixed_BO = torch.einsum("be,ebo->bo", model.gate_shares(batch)["experts"], expert_EBO)
    torch.testing.assert_close(model.tower(mixed_BO, model.routing(batch)), model(batch))


@torch.no_grad()
def test_aread_takes_nothing_of_experts_that_a_mask_leaves_out():
    batch, model = toy_impressions(SCHEMA, 60), model_of("aread", experts=(3, 2), augment=None)
    kept = [level.clone() for level in model.expert_masks()]
    kept[0][1, 0] = False  # the first domain does without the first expert
    model.hierarchy.set_mask(kept)
    share_BS = model.gate_shares(batch)["level 1"]
    assert torch.all(share_BS[batch.domain == 1, 0] == 0)
    assert torch.all(share_BS[batch.domain == 2, 0] > 0)
    gate_DST = model.hierarchy.gates(model.embed.domain.weight)[0]
    for row, domain in zip(share_BS, batch.domain.tolist(), strict=True):
        torch.testing.assert_close(row, gate_DST[domain].mean(1))
