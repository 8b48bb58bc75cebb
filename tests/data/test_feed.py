"""Batches: each row once, in orders that the seed and the epoch decide alone."""

from collections import Counter
from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.batch import Impressions
from isthmus.data.feed import Feed, generator, joined
from isthmus.errors import ConfigError, DataError


def rows(domains, first=0):
    """Row i has feature i, so that every row can be told apart."""
    number = len(domains)
    return Impressions(
        torch.arange(first, first + number)[:, None],
        torch.tensor(domains, dtype=torch.int64),
        torch.arange(number).remainder(2).float(),
    )


def ids(batches):
    return [i for batch in batches for i in batch.features[:, 0].tolist()]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(1, 50), st.integers(0, 9))
def test_shuffled_gives_each_row_once_in_full_batches(domains, size, seed):
    epoch = Feed(rows(domains), batch_size=size, seed=seed).epoch(0)
    batches = list(epoch.shuffled())
    assert sorted(ids(batches)) == list(range(len(domains)))
    assert len(batches) == epoch.num_batches
    assert all(len(b) == size for b in batches[:-1])
    for batch in batches:
        here = batch.features[:, 0]
        assert batch.domain.tolist() == [domains[i] for i in here]
        assert torch.equal(batch.label, here.remainder(2).float())


def test_order_depends_on_seed_and_epoch_alone_w21():
    """Published: shuffled once at the start, the same domain order in every epoch."""
    data = rows([1, 2, 3] * 30)

    def order(seed, epoch, before=0):
        feed = Feed(data, batch_size=8, seed=seed)
        for number in range(before):
            list(feed.epoch(number).shuffled())
        torch.manual_seed(epoch + 17 * before)
        return ids(feed.epoch(epoch).shuffled())

    assert order(0, 3) == order(0, 3, before=3), "epochs that came before change nothing"
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_drawing_batches_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    epoch = Feed(rows([1, 2] * 9), batch_size=4, seed=0, unknown_share=0.5).epoch(0)
    list(epoch.shuffled())
    next(epoch.sample(1, 4))
    next(epoch.round_robin(1))
    assert torch.equal(torch.get_rng_state(), before)


def test_purposes_have_generators_of_their_own():
    seeds = {
        generator(seed, *purpose).initial_seed()
        for seed in range(9)
        for purpose in [(), (0,), (1,), (0, 1), (1, 0)]
    }
    assert len(seeds) == 45


def test_hidden_domains_have_their_share_and_all_else_stays():
    data = rows([1, 2, 3, 4] * 2500)
    batches = list(Feed(data, batch_size=512, seed=0, unknown_share=0.1).epoch(0).shuffled())
    hidden = sum(int((b.domain == 0).sum()) for b in batches)
    assert hidden == pytest.approx(1000, abs=5 * 30)
    for batch in batches:
        own = data.domain[batch.features[:, 0]]
        assert ((batch.domain == own) | (batch.domain == 0)).all()
    assert sorted(ids(batches)) == list(range(10_000))
    assert (data.domain > 0).all(), "the feed's own rows were changed"
    shown = Feed(data, batch_size=512, seed=0).epoch(0).shuffled()
    assert all((b.domain > 0).all() for b in shown)


def test_a_domains_rows_are_hidden_on_request_alone():
    feed = Feed(rows([1, 2] * 500), batch_size=64, seed=0, unknown_share=0.2)
    seen = {
        hide: torch.cat([b.domain for b in feed.epoch(0).domain(2, hide=hide)])
        for hide in (False, True)
    }
    assert (seen[False] == 2).all()
    assert set(seen[True].tolist()) == {0, 2}
    assert (seen[True] == 0).float().mean().item() == pytest.approx(0.2, abs=0.06)
    assert sorted(ids(feed.epoch(0).domain(2, hide=True))) == list(range(1, 1000, 2))


def test_domain_gives_its_rows_once_in_a_new_order():
    epoch = Feed(rows([1, 2] * 40), batch_size=16, seed=0).epoch(0)
    one, other = ids(epoch.domain(2)), ids(epoch.domain(2))
    assert sorted(one) == sorted(other) == list(range(1, 80, 2))
    assert one != other
    assert ids(epoch.domain(7)) == [], "a domain without rows has no batch"


def test_validation_rows_stay_apart():
    feed = Feed(rows([1, 2] * 9), batch_size=4, seed=0, valid=rows([2, 2, 1], first=100))
    epoch = feed.epoch(0)
    assert sorted(ids(epoch.domain(2, split="valid"))) == [100, 101]
    assert sorted(set(ids(islice(epoch.sample(2, 8, split="valid"), 5)))) == [100, 101]
    assert max(ids(epoch.shuffled())) < 100


def test_a_domain_may_be_missing_in_a_split_r6():
    feed = Feed(rows([1, 1, 3, 0]), batch_size=2, seed=0, valid=rows([1]))
    assert feed.domains == [1, 3], "the unknown domain and absent ones are not searched"
    assert len(feed.rows_of(3, "valid")) == 0
    assert ids(feed.epoch(0).domain(3, split="valid")) == []


def test_round_robin_takes_turns_and_starts_used_up_domains_anew():
    epoch = Feed(rows([1] * 10 + [2] * 3 + [5]), batch_size=4, seed=0).epoch(0)
    batches = list(epoch.round_robin(9))
    assert [set(b.domain.tolist()) for b in batches] == [{1}, {2}, {5}] * 3
    assert sorted(ids(batches[0::3])) == list(range(10))
    assert Counter(ids(batches[2::3])) == {13: 3}


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(0, 6), st.integers(1, 20))
def test_sample_takes_every_row_before_any_comes_again(own, more, size):
    data, extra = rows([1] * own + [2] * 5), rows([1] * more + [2] * 3, first=100)
    epoch = Feed(data, batch_size=4, seed=0).epoch(0)
    everything = [*range(own), *range(100, 100 + more)]
    batches = islice(epoch.sample(1, size, extra=extra), 3 * -(-len(everything) // size))
    drawn = ids(batches)
    assert Counter(drawn) == dict.fromkeys(everything, 3)
    for start in range(0, len(drawn), len(everything)):
        assert sorted(drawn[start : start + len(everything)]) == everything


def test_current_is_the_last_batch_to_train_on():
    epoch = Feed(rows([1, 2] * 9), batch_size=4, seed=0, unknown_share=0.5).epoch(0)
    samples = epoch.sample(1, 4)
    for batch in epoch.shuffled():
        next(samples)  # as a search draws, between a batch and its step
        assert epoch.current is batch


def test_permuted_keeps_the_values():
    epoch = Feed(rows([1]), batch_size=4, seed=0).epoch(0)
    values = list(range(30))
    assert sorted(epoch.permuted(values)) == values != epoch.permuted(values)


def test_joined_puts_one_after_the_other():
    both = joined(rows([1, 2]), rows([3], first=9))
    assert both.features[:, 0].tolist() == [0, 1, 9]
    assert both.domain.tolist() == [1, 2, 3]
    assert both.label.tolist() == [0, 1, 0]


def test_refuses_what_cannot_be_fed():
    with pytest.raises(DataError, match="no training rows"):
        Feed(rows([]), batch_size=4, seed=0)
    with pytest.raises(ConfigError, match="batch size is 0"):
        Feed(rows([1]), batch_size=0, seed=0)
