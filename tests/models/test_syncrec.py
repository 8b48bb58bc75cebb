"""SyNCRec against the plain loop, and what must hold of it."""

import pytest
import torch
from pydantic import ValidationError

from isthmus.batch import Histories
from isthmus.models.syncrec import SyNCRec
from isthmus.schema import Schema
from tests.oracles import plain_syncrec


def histories(schema, rows, seed=0, longest=None):
    """Random users; an item's domain is its remainder, as the catalogue needs one for each item."""
    g = torch.Generator().manual_seed(seed)
    length = longest or schema.max_history
    items = torch.randint(1, schema.items, (rows, length + 1), generator=g)
    domains = (items - 1) % schema.num_domains + 1
    size = torch.randint(0, length + 1, (rows, 1), generator=g)
    padded = torch.arange(length) < length - size
    return Histories(
        items[:, :-1].masked_fill(padded, 0),
        domains[:, :-1].masked_fill(padded, 0),
        items[:, -1],
        domains[:, -1],
    )


def schema_of(domains, items=31, length=9):
    return Schema(
        features=(),
        domains=tuple(f"d{i}" for i in range(domains)),
        items=items,
        max_history=length,
    )


def built(schema, seed=0, **settings):
    torch.manual_seed(seed)
    values = {"embedding_dim": 8, "dropout": 0.0, "num_experts": 3, "cross_ratio": 0.6, **settings}
    return SyNCRec(SyNCRec.Config.model_validate(values), schema).double()


def enlarged(model):
    """Weights far from their start, so that nothing is near zero by chance."""
    g = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=g, dtype=p.dtype), alpha=0.15)
        model.items.weight[0] = 0
    return model


def users(batch):
    rows = zip(batch.items, batch.domains, batch.target, batch.domain, strict=True)
    return [
        ([*items[items > 0].tolist(), int(target)], [*domains[items > 0].tolist(), int(domain)])
        for items, domains, target, domain in rows
    ]


@pytest.mark.parametrize(
    ("domains", "settings"),
    [
        (3, {}),
        (3, {"heads": 2, "pre_norm": False}),
        (3, {"asymmetric": False, "correction": False}),
        (3, {"correction_gradient": True, "mim_weight": 0.0, "temperature": 0.3}),
        (11, {"layers": 1, "momentum": 0.5}),
        (1, {"layers": 1}),
    ],
)
def test_one_packed_pass_is_the_loop_over_domains(domains, settings):
    model = enlarged(built(schema_of(domains), **settings))
    gap, met = {}, frozenset()
    for step in range(2):  # the second starts from running gaps
        batch = histories(model.schema, 6, seed=step)
        model.zero_grad()
        found = model.losses(batch)
        sum(found.values()).backward()
        ours = {n: p.grad.clone() for n, p in model.named_parameters()}
        model.zero_grad()
        expected, gap = plain_syncrec.losses(model, users(batch), gap, met)
        sum(expected.values()).backward()
        met, gap = frozenset(gap), {d: g.detach() for d, g in gap.items()}
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=0, atol=1e-10)
        for name, p in model.named_parameters():
            grad = torch.zeros_like(p) if p.grad is None else p.grad
            torch.testing.assert_close(
                ours[name], grad, rtol=0, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}"
            )
        for d, value in gap.items():
            torch.testing.assert_close(model.gap_D[d], value, rtol=0, atol=1e-10)


def gradients(model, value):
    model.zero_grad()
    value.backward()
    return [p.grad for p in model.experts.parameters()]


def test_each_task_teaches_its_own_experts_alone():
    model = enlarged(built(schema_of(3), num_experts=5, cross_ratio=0.8, mim_weight=0.0))
    first = model.config.cross_experts
    assert first == 4
    batch = histories(model.schema, 8)
    for task, own in (("cross", slice(0, first)), ("single", slice(first, None))):
        for grad in gradients(model, model.losses(batch)[task]):
            others = torch.ones(len(grad), dtype=torch.bool)
            others[own] = False
            assert grad[own].abs().flatten(1).sum(1).gt(0).all(), task
            assert not grad[others].any(), task


def test_experts_towers_and_gates_are_each_their_own():
    model = built(schema_of(3))
    for weight in (
        model.experts.blocks[0].attention.project.weight,
        model.single_head.gate.weight,
        model.single_head.tower.up.weight,
    ):
        assert len({w.sum().item() for w in weight}) == len(weight) > 1


@pytest.mark.parametrize("inference", ["cross", "both", "single"])
def test_nothing_looks_ahead(inference):
    """Neither path, gates included, changes where only later items do."""
    model = enlarged(built(schema_of(3), inference=inference)).eval()
    batch = histories(model.schema, 8)
    changed = Histories(batch.items.clone(), batch.domains.clone(), batch.target, batch.domain)
    changed.items[:, -1] = changed.items[:, -1] % 28 + 3  # another item
    changed.domains[:, -1] = (changed.items[:, -1] - 1) % 3 + 1
    one, other = (model.tokens(b) for b in (batch, changed))
    assert torch.equal(one.user, other.user)
    before = torch.ones(len(one.user), dtype=torch.bool)
    before[one.last] = before[(one.last - 1).clamp(min=0)] = False
    compared = before & (one.domain == other.domain)
    assert compared.sum() > 10
    for x, y in zip(model.paths(one), model.paths(other), strict=True):
        torch.testing.assert_close(x[compared], y[compared], rtol=0, atol=1e-12)
    assert not torch.equal(model(batch), model(changed))


def test_the_next_item_is_not_read():
    model = enlarged(built(schema_of(3), inference="both")).eval()
    batch = histories(model.schema, 8)
    hidden = Histories(batch.items, batch.domains, torch.zeros_like(batch.target), batch.domain)
    assert torch.equal(model(batch), model(hidden))


def test_a_domains_number_means_nothing():
    """Domains named anew, with their weights moved along: the same losses."""
    model = enlarged(built(schema_of(3)))
    other = enlarged(built(schema_of(3)))
    other.load_state_dict(model.state_dict())
    anew = torch.tensor([0, 3, 1, 2])
    with torch.no_grad():
        tables = (other.start.weight, other.embed.domain.weight, *other.single_head.parameters())
        mine = (model.start.weight, model.embed.domain.weight, *model.single_head.parameters())
        for table, source in zip(tables, mine, strict=True):
            table[anew] = source
    batch = histories(model.schema, 8)
    moved = Histories(batch.items, anew[batch.domains], batch.target, anew[batch.domain])
    found = other.losses(moved)
    for name, value in model.losses(batch).items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-12)
    torch.testing.assert_close(other.gap_D[anew], model.gap_D, rtol=0, atol=1e-12)


def test_what_can_be_scored():
    """No history at all, one row, no rows; the unknown domain is scored by the cross path."""
    model = enlarged(built(schema_of(3), inference="both")).eval()
    batch = histories(model.schema, 4)
    empty = Histories(
        torch.zeros_like(batch.items), torch.zeros_like(batch.domains), batch.target, batch.domain
    )
    assert model.scores(empty).isfinite().all()
    assert model.scores(batch[:0]).shape == (0, 31)
    unknown = Histories(batch.items, batch.domains, batch.target, torch.zeros_like(batch.domain))
    cross = model._cross(tokens := model.tokens(batch))[tokens.last]
    torch.testing.assert_close(model(unknown), cross, rtol=0, atol=1e-12)
    assert not torch.allclose(model(batch), cross)


def test_agreement_compares_so_many_tokens_at_most():
    model = built(schema_of(2, length=20), mim_negatives=5)
    tokens = model.tokens(histories(model.schema, 8))
    order, sizes = model._compared(tokens.domain)
    assert sizes == [5, 5]
    assert len(set(order.tolist())) == 10
    assert tokens.domain[order].tolist() == [1] * 5 + [2] * 5
    again, _ = model._compared(tokens.domain)
    assert not torch.equal(order, again)


def test_weights_follow_the_gaps():
    model = built(schema_of(3), momentum=0.0, temperature=0.5)
    loss_QN = torch.tensor([[1.0, 1.0, 3.0], [2.0, 2.0, 2.0]], dtype=torch.float64)
    weight_D = model._weights(loss_QN, torch.tensor([1, 1, 2]))
    assert model.gap_D.tolist() == [0, -1, 1, 0]
    assert model.met_D.tolist() == [False, True, True, False]
    high = 1 / (1 + torch.tensor(-4.0, dtype=torch.float64).exp())
    expected = torch.stack([high * 0, 2 * (1 - high), 2 * high, high * 0])
    torch.testing.assert_close(weight_D, expected)
    model.eval()
    model._weights(loss_QN, torch.tensor([3, 3, 3]))
    assert model.gap_D.tolist() == [0, -1, 1, 0], "only training moves the gaps"


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ValidationError, match=r"num_experts to 2 or more"):
        SyNCRec.Config(num_experts=1)
    with pytest.raises(ValidationError, match=r"divisor of settings\.embedding_dim"):
        SyNCRec.Config(embedding_dim=10, heads=4)
    assert SyNCRec.Config(num_experts=1, asymmetric=False).num_experts == 1


@pytest.mark.parametrize("loss", ["sampled_softmax", "bce", "gbce"])
def test_both_tasks_meet_the_same_negatives(loss):
    """With the same predictions the tasks have the same losses."""
    model = built(schema_of(3), loss=loss, negatives=4)
    tokens = model.note(histories(model.schema, 8))
    path_NH = model.paths(tokens)[1]
    loss_QN = model.token_losses(torch.stack([path_NH, path_NH]), tokens.target)
    assert torch.equal(loss_QN[0], loss_QN[1])
    assert loss_QN.isfinite().all()
