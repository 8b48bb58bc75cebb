"""The mask search against a plain loop over candidates, and what it must leave alone."""

import itertools

import pytest
import torch

from isthmus.batch import Impressions
from isthmus.data.feed import Feed
from isthmus.models.aread import AREAD
from isthmus.models.hemp import Draws, SearchConfig, candidates, search_domain
from isthmus.nn import masks
from isthmus.optim import update
from isthmus.training.fit import TrainConfig, make_optimizer
from tests.models.test_aread_oracle import SCHEMA, build, rows
from tests.oracles import plain_aread, plain_masks, plain_search

DOMAIN = 2


def batches(number, seed, size=64):
    """Batches of one domain."""
    drawn = []
    for n in range(number):
        batch = rows(6 * size, seed * 100 + n, unknown=0)
        drawn.append(batch[(batch.domain == DOMAIN).nonzero()[:, 0]])
    return drawn


def search(model, config, fit, score, seed=0):
    draws = Draws(itertools.cycle(fit), itertools.cycle(score))
    rng = torch.Generator().manual_seed(seed)
    return search_domain(
        model.hierarchy,
        model.head,
        DOMAIN,
        model.embed.domain.weight.detach(),
        model._frozen_inputs,
        draws,
        config,
        rng,
    )


def starts(model, config, seed=0):
    """The masks that the same search starts from."""
    present = [level[DOMAIN] for level in model.hierarchy.mask]
    gates = model.hierarchy.gates(model.embed.domain.weight.detach(), masked=not config.regrow)
    gates = [g[DOMAIN].detach() for g in gates]
    start = candidates(present, gates, config, torch.Generator().manual_seed(seed))
    if config.incumbent and model.hierarchy.searched:
        start = [torch.cat([p[None], s[1:]]) for p, s in zip(present, start, strict=True)]
    return start


@pytest.mark.parametrize("experts", [(3, 4), (3, 6, 12), (2, 5, 4, 3)], ids=str)
@pytest.mark.parametrize("masked", [True, False], ids=["later search", "first search"])
def test_search_equals_a_plain_loop_over_candidates(experts, masked):
    """W2, W5: gates are read from the present table, and all are scored on the same batches."""
    model = build(experts, masked=masked).eval()
    config = SearchConfig(candidates=4, updates=3, scorings=2, lr=3e-3)
    fit, score = batches(3, seed=1), batches(2, seed=2)
    mask, loss_Z = search(model, config, fit, score)
    plain_masks, plain_losses = plain_search.search(
        plain_aread.like(model),
        DOMAIN,
        starts(model, config),
        fit,
        score,
        config,
        keeps_first=masked,
    )
    torch.testing.assert_close(loss_Z.double(), plain_losses, rtol=1e-4, atol=1e-6)
    best = int(plain_losses.argmin())
    for level, expected in zip(mask, plain_masks[best], strict=True):
        assert torch.equal(level, expected)
    assert len({tuple(torch.cat([x.flatten() for x in m]).tolist()) for m in plain_masks}) > 1


def test_a_search_changes_nothing_but_masks_bit_for_bit_w1():
    """Published: the bottom and the group embedding were trained along, at lr 1e-2, and kept so."""
    model, feed, optimizer = trained()
    state, moments = copied(model.state_dict()), copied(optimizer.state_dict())
    random, modes = torch.get_rng_state(), [m.training for m in model.modules()]
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    model.search(feed, feed.train[:50])
    changed = {n for n, v in model.state_dict().items() if not torch.equal(v, state[n])}
    assert changed <= {"hierarchy.mask_0", "hierarchy.mask_1", "hierarchy.searched"}
    assert "hierarchy.mask_0" in changed
    assert_same(optimizer.state_dict(), moments)
    assert torch.equal(torch.get_rng_state(), random)
    assert [m.training for m in model.modules()] == modes
    for parameter, before in zip(model.parameters(), gradients, strict=True):
        assert (parameter.grad is None) == (before is None)
        assert before is None or torch.equal(parameter.grad.to_dense(), before.to_dense())


def test_a_search_leaves_the_unknown_domain_its_experts():
    model, feed, _ = trained()
    model.search(feed, feed.train[:0])
    assert all(level[0].all() for level in model.hierarchy.mask)
    assert not all(level[1:].all() for level in model.hierarchy.mask)


def test_every_mask_found_is_valid_w7():
    """Published: with 4 levels 184 of 600 had edges that lead nowhere."""
    for experts in [(3, 4), (2, 5, 4, 3), (2, 3, 3, 3, 2)]:
        model, feed, _ = trained(experts=experts)
        for _ in range(2):
            model.search(feed, feed.train[:0])
            for domain in range(1, 5):
                mask = [level[domain] for level in model.hierarchy.mask]
                assert plain_masks.edges(mask) == plain_masks.on_a_path(mask) != set()


def test_the_batch_that_meets_a_search_is_trained_with_its_own_masks_w3():
    """Published: with the mask of the domain that was searched last."""
    model, feed, _ = trained(first=0, every=3, dropout=0.0)
    steps = model.epoch(feed)
    for _ in range(4):  # warm-up
        next(steps)
    losses = next(steps)
    assert bool(model.hierarchy.searched)
    batch = feed.current
    plain = plain_aread.like(model)  # after the search: with the masks of every row's domain
    expected = plain.loss(batch.features, batch.domain, batch.label)
    torch.testing.assert_close(sum(losses.values()), expected, rtol=1e-5, atol=1e-7)


def test_dropout_and_batch_statistics_play_no_part_in_a_search_w5():
    """Published: candidates were scored in training mode, on different batches."""
    found = []
    for dropout in (0.0, 0.9):
        model, feed, _ = trained()
        for module in model.modules():
            if hasattr(module, "dropout"):
                module.dropout = dropout
        model.search(feed, feed.train[:0])
        found.append(model.hierarchy.mask)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_the_incumbent_is_scored_as_it_serves_w5():
    """Without updates its score is the model's own log loss on the scoring batches."""
    model = build().eval()
    config = SearchConfig(candidates=3, updates=0, scorings=2)
    fit, score = batches(1, seed=1), batches(2, seed=2)
    _, loss_Z = search(model, config, fit, score)
    rows = joined(*score)
    with torch.no_grad():
        own = torch.nn.functional.binary_cross_entropy_with_logits(model(rows), rows.label)
    torch.testing.assert_close(loss_Z[0].double(), own, rtol=1e-5, atol=1e-6)


def test_the_incumbent_is_always_in_the_contest_and_stays_if_it_is_best():
    model = build(seed=4).eval()
    present = [level[DOMAIN].clone() for level in model.hierarchy.mask]
    fit, score = batches(3, seed=1), batches(2, seed=2)
    alone = SearchConfig(candidates=1, updates=3)
    mask, _ = search(model, alone, fit, score)
    assert all(torch.equal(a, b) for a, b in zip(mask, present, strict=True))
    kept = 0
    for seed in range(6):
        config = SearchConfig(candidates=3, updates=2, lr=1e-6, flips=0.2)
        mask, loss_Z = search(model, config, fit, score, seed)
        stays = all(torch.equal(a, b) for a, b in zip(mask, present, strict=True))
        assert stays == (int(loss_Z.argmin()) == 0)
        kept += stays
    assert 0 < kept < 6, "one side never wins"


def test_gates_are_read_at_every_search_w2():
    """Published: statistics were recorded in the warm-up alone; later candidates were random."""
    model = build().eval()
    config = SearchConfig(candidates=2, flips=0, incumbent=False)
    with torch.no_grad():
        for seed in range(3):
            for weight, bias in zip(
                model.hierarchy.gate_weight, model.hierarchy.gate_bias, strict=True
            ):
                weight.zero_()
                bias.copy_(torch.randn(bias.shape, generator=torch.Generator().manual_seed(seed)))
            start = starts(model, config)
            every = [torch.ones(level.shape[1:], dtype=torch.bool) for level in start]
            strong = [b.softmax(0) * len(b) for b in model.hierarchy.gate_bias]
            best = plain_masks.strongest(every, strong, config.start_density)
            assert plain_masks.edges([level[0] for level in start]) <= best


def test_pruned_edges_return_by_their_strength():
    """The first prototype never regrew: masks fell to 8 % of their edges in two searches."""
    model = build().eval()
    weak = [torch.zeros_like(level) for level in model.hierarchy.mask]
    for level in weak:
        level[:, 0, 0] = True
    model.hierarchy.set_mask(weak)
    every = [torch.ones(level.shape[1:], dtype=torch.bool) for level in weak]
    config = SearchConfig(candidates=4, flips=0)
    start = starts(model, config)
    gates = model.hierarchy.gates(model.embed.domain.weight.detach(), masked=False)
    strong = masks.importance([g[DOMAIN].detach() for g in gates])
    expected = plain_masks.strongest(every, strong, config.start_density)
    found = plain_masks.edges([level[2] for level in start])
    assert found <= expected
    assert len(found) > 0.6 * sum(level.numel() for level in every)


@pytest.mark.parametrize("seed", range(4))
def test_without_regrowth_nothing_returns(seed):
    model = build(seed=seed).eval()
    config = SearchConfig(candidates=6, regrow=False, flips=0.6)
    present = plain_masks.edges([level[DOMAIN] for level in model.hierarchy.mask])
    for z in range(6):
        assert plain_masks.edges([level[z] for level in starts(model, config, seed)]) <= present


def test_candidates_differ_are_valid_and_follow_the_generator():
    model = build().eval()
    config = SearchConfig(candidates=8, incumbent=False)
    one, same, other = (starts(model, config, seed) for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    edges = [frozenset(plain_masks.edges([level[z] for level in one])) for z in range(8)]
    assert len(set(edges)) >= 6
    for z in range(8):
        mask = [level[z] for level in one]
        assert edges[z] == plain_masks.on_a_path(mask)
    share = masks.density(one)
    assert (share > 0.55).all()
    assert (share <= 0.85).all()


@pytest.mark.parametrize("density", [0.3, 0.6, None])
def test_pruning_ends_at_the_target_density(density):
    config = SearchConfig(density=density, start_density=0.8, updates=4, prune=0.1)
    shares = [config.share_after(n) for n in range(5)]
    assert shares[0] == pytest.approx(0.8)
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == pytest.approx(density or 0.8 * 0.9**4)
    model = build(masked=False).eval()
    mask, _ = search(
        model, config.model_copy(update={"candidates": 3}), batches(4, 1), batches(1, 2)
    )
    for level in mask:
        assert level.double().mean() == pytest.approx(shares[-1], abs=0.15)


def test_a_search_depends_on_the_feed_alone():
    """The same seed and epoch give the same masks, whatever the global generator did before."""
    found = []
    for noise in range(2):
        model, feed, _ = trained()
        torch.rand(noise * 3)
        model.search(feed, feed.train[:0])
        found.append(model.hierarchy.mask)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("case", ["no validation rows", "one class", "few rows", "absent domain"])
def test_odd_domains_are_searched_all_the_same_r6_r8(case):
    """Published: no rows in a split is a crash, one class a NaN that never is better."""
    data, valid = rows(400, unknown=0), rows(120, 1, unknown=0)
    odd = data.domain == 3
    if case == "no validation rows":
        valid = valid[(valid.domain != 3).nonzero()[:, 0]]
    elif case == "one class":
        data = Impressions(data.features, data.domain, data.label.masked_fill(odd, 0))
    elif case == "few rows":
        keep = torch.cat([(~odd).nonzero()[:, 0], odd.nonzero()[:1, 0]])
        data = data[keep]
    else:
        data = data[(~odd).nonzero()[:, 0]]
    model, feed, _ = trained(data=data, valid=valid)
    model.search(feed, feed.train[:20])
    for level in model.hierarchy.mask:
        assert level[1:].flatten(1).any(1).all()
    assert all(level[3].all() for level in model.hierarchy.mask) == (case == "absent domain")
    loss = sum(model.losses(feed.train[:64]).values())
    assert loss.isfinite()


def test_one_level_has_nothing_to_search():
    model, feed, _ = trained(experts=(4,))
    assert len(list(model.epoch(feed))) == model.steps(feed)
    assert model.mask_overlap is not None


@pytest.mark.parametrize(
    ("first", "every", "due"), [(0, 4, [0, 4, 8]), (3, 4, [3, 7, 11]), (5, 99, [5])]
)
def test_searches_come_when_the_configuration_says(first, every, due):
    config = SearchConfig(first=first, every=every)
    assert [step for step in range(12) if config.is_due(step, 5)] == due
    assert not any(SearchConfig(enabled=False).is_due(step, 5) for step in range(12))


def trained(experts=(3, 4, 5), *, data=None, valid=None, dropout=0.2, **search):
    """A model after a few steps, the feed of the next epoch, and the optimiser."""
    torch.manual_seed(0)
    config = AREAD.Config(
        embedding_dim=4,
        bottom_experts=2,
        bottom_hidden=(8, 6),
        experts=experts,
        dropout=dropout,
        search=SearchConfig(
            warmup_steps=4, candidates=4, updates=2, scorings=2, **{"every": 10**6, **search}
        ),
        augment=None,
    )
    model = AREAD(config, SCHEMA).double()
    data = rows(400, unknown=0) if data is None else data
    feed = Feed(
        data, batch_size=64, seed=0, valid=rows(120, 1, unknown=0) if valid is None else valid
    )
    optimizer = make_optimizer(model, TrainConfig(lr=1e-2))
    for batch in feed.epoch(0).shuffled():
        update(optimizer, model.losses(batch))
    return model, feed.epoch(0), optimizer


def joined(*parts):
    return Impressions(
        *(torch.cat([getattr(p, name) for p in parts]) for name in ("features", "domain", "label"))
    )


def copied(value):
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [copied(item) for item in value]
    return value


def assert_same(value, expected):
    if isinstance(value, torch.Tensor):
        assert torch.equal(value, expected)
    elif isinstance(value, dict):
        assert value.keys() == expected.keys()
        for key, item in value.items():
            assert_same(item, expected[key])
    elif isinstance(value, list | tuple):
        assert len(value) == len(expected)
        for item, other in zip(value, expected, strict=True):
            assert_same(item, other)
    else:
        assert value == expected
