"""Expert-based rankers against plain versions of themselves, row by row; and what routing promises."""

import pytest
import torch

from isthmus import models
from isthmus.batch import Impressions
from isthmus.nn import DomainLinear, PartExpertLinear
from isthmus.testing import toy_impressions, toy_schema
from tests.models.random_weights import randomise
from tests.oracles import plain_experts as plain

SCHEMA = toy_schema(5)
CLUSTERS = {"domains": "clusters", "clusters": (("a", "d"), ("b", "c"), ("e",))}
SMALL = {
    "shared_bottom": {"bottom_hidden": (6, 5), "tower_hidden": (4,)},
    "ple": {"levels": ((6, 5), (4,), (3, 4)), "specific_experts": 2, "tower_hidden": (4,)},
    "hinet": {"sub_experts": 3, "expert_hidden": (6, 5), "task_hidden": (5,), "others": 2},
    "aesm2": {"num_experts": 6, "layers": (6, 5), "specific": 2, "shared": 1},
    "sar_net": {"expert_hidden": (6, 5), "attention_hidden": 5, "shared_experts": 3},
}
each = pytest.mark.parametrize("parts", [{}, CLUSTERS], ids=["each", "clusters"])


def build(name, seed=0, **settings):
    """A model in double precision with random weights and running statistics, evaluating."""
    torch.manual_seed(seed)
    cls = models.get(name)
    return randomise(
        cls(cls.Config(embedding_dim=4, **{**SMALL[name], **settings}), SCHEMA).double()
    )


def rows(number=60, seed=0):
    """Rows of every domain, the unknown one too; some histories are empty."""
    batch = toy_impressions(SCHEMA, number, seed)
    domain = torch.arange(number) % (SCHEMA.num_domains + 1)
    batch.features[::7, 3:] = 0
    return Impressions(batch.features, domain, batch.label.double())


@torch.no_grad()
def by_row(model, batch, oracle, *args):
    parts = model.part(batch).tolist()
    cells = zip(batch.features.tolist(), batch.domain.tolist(), parts, strict=True)
    return [oracle(model, ids, d, p, *args) for ids, d, p in cells]


def check(scores, expected):
    assert len({round(float(v), 6) for v in expected}) > len(expected) / 2  # not a dead network
    torch.testing.assert_close(scores, torch.stack(expected), rtol=1e-9, atol=1e-9)


@each
@pytest.mark.parametrize("name", ["shared_bottom", "ple", "sar_net"])
def test_scores_are_the_papers_equations(name, parts):
    model, batch = build(name, **parts), rows()
    with torch.inference_mode():
        check(model(batch), by_row(model, batch, getattr(plain, name)))


@pytest.mark.parametrize("levels", [((5,),), ((6, 5), (4,)), ((4,), (4,), (4,), (3,))])
def test_ple_of_any_depth(levels):
    model, batch = build("ple", levels=levels), rows()
    with torch.inference_mode():
        check(model(batch), by_row(model, batch, plain.ple))


@each
@pytest.mark.parametrize("others", [0, 1, 3, 99])
def test_hinet_reads_the_others_of_greatest_attention(others, parts):
    """With 99 all others are read, and the attention is the paper's own."""
    model, batch = build("hinet", others=others, **parts), rows()
    with torch.inference_mode():
        check(model(batch), by_row(model, batch, plain.hinet, others))


@each
def test_aesm2_selects_by_divergence(parts):
    model, batch = build("aesm2", **parts), rows()
    expected = by_row(model, batch, plain.aesm2)
    with torch.inference_mode():
        losses = model.losses(batch)
        check(model(batch), [logit for logit, *_ in expected])
    assert len({str(chosen) for _, chosen, *_ in expected}) > 3
    for term, place in (("specific", 2), ("shared", 3)):
        mean = torch.stack([row[place] for row in expected]).mean()
        torch.testing.assert_close(losses[term], 0.01 * mean)


@torch.no_grad()
def shake(model, parts):
    """Change all weights that belong to these parts."""
    for module in model.modules():
        if isinstance(module, DomainLinear):
            owned = [module.weight[parts], module.bias[parts]]
            module.weight[parts], module.bias[parts] = (t + torch.randn_like(t) for t in owned)
        elif isinstance(module, PartExpertLinear):
            owned = [module.weight[:, parts], module.bias[:, parts]]
            module.weight[:, parts], module.bias[:, parts] = (
                t + torch.randn_like(t) for t in owned
            )


@pytest.mark.parametrize("name", ["shared_bottom", "ple", "sar_net", "hinet"])
def test_weights_of_other_parts_change_no_score(name):
    model, batch = build(name), rows()
    meets = {2}
    if name == "hinet":
        with torch.inference_mode():
            meets |= set(model.attention()[0][2].tolist())
    strangers = [p for p in range(model.num_parts) if p not in meets]
    assert strangers
    own = model.part(batch) == 2
    with torch.inference_mode():
        before = model(batch)
        shake(model, strangers)
        after = model(batch)
    torch.testing.assert_close(after[own], before[own], rtol=0, atol=1e-12)
    assert (after != before)[torch.isin(model.part(batch), torch.tensor(strangers))].all()


def test_aesm2_experts_not_selected_change_no_score():
    model, batch = build("aesm2"), rows()
    chosen = [row[1][0] for row in by_row(model, batch, plain.aesm2)]
    without = torch.tensor([3 not in used for used in chosen])
    with torch.inference_mode():
        before = model(batch)
        model.layers[0].experts.layers[0].shift[3] += 5
        after = model(batch)
    torch.testing.assert_close(after[without], before[without], rtol=0, atol=1e-12)
    assert 0 < without.sum() < len(batch)
    assert (after != before)[~without].all()


def test_hinet_explores_in_training_and_lets_unread_parts_learn():
    model = build("hinet", others=1, dropout=0.0).train()
    read = {other for _ in range(60) for other in model.attention()[0][1].tolist()}
    assert read == {2, 3, 4, 5}
    other_PJ, share_PJ = model.attention()
    torch.testing.assert_close(share_PJ, torch.ones_like(share_PJ))
    share_PJ[1].sum().backward()
    unread = [p for p in (2, 3, 4, 5) if p not in other_PJ[1].tolist()]
    assert (model.attend.bias.grad[unread] != 0).all()
    assert (model.attend.bias.grad[[0, 1]] == 0).all()


@pytest.mark.parametrize("name", ["ple", "hinet", "sar_net", "aesm2"])
def test_one_domain_is_enough(name):
    cls = models.get(name)
    schema = toy_schema(1)
    model = cls(cls.Config(embedding_dim=4, **SMALL[name]), schema)
    losses = model.losses(toy_impressions(schema, 16))
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_sar_net_without_a_history_to_attend_to():
    model = models.get("sar_net")
    schema = SCHEMA.model_copy(update={"features": SCHEMA.features[:3]})
    batch = rows(8)
    built = model(model.Config(embedding_dim=4), schema)
    assert not list(built.attention)
    assert built(Impressions(batch.features[:, :3], batch.domain, batch.label)).shape == (8,)


def test_aesm2_refuses_to_select_more_experts_than_there_are():
    with pytest.raises(ValueError, match="raise num_experts"):
        models.get("aesm2").Config(num_experts=2, shared=3)
