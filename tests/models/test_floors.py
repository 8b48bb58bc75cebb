"""The floors against plain loops over rows, by hand, and through training, state and resumption."""

import math
from collections import Counter

import pytest
import torch

from isthmus.batch import Histories
from isthmus.data.feed import Feed
from isthmus.models import get
from isthmus.schema import Schema
from isthmus.training.fit import TrainConfig, fit

FLOORS = ("popularity", "repeat_own", "markov", "item_knn")
SCHEMA = Schema(features=(), domains=("a", "b"), items=9, max_history=5, domain_items=(4, 4))
DOMAIN = torch.tensor([0, 1, 1, 1, 1, 2, 2, 2, 2])


def histories(rows, seed=0, least=1):
    """Random histories of up to five of eight items, and a target."""
    g = torch.Generator().manual_seed(seed)
    items = torch.randint(1, 9, (rows, 6), generator=g)
    size = torch.randint(least, 6, (rows, 1), generator=g)
    padded = torch.arange(5) < 5 - size
    own = items[:, :5].masked_fill(padded, 0)
    return Histories(own, DOMAIN[own], items[:, 5], DOMAIN[items[:, 5]])


def trained(name, rows, **settings):
    kind = get(name)
    model = kind(kind.Config(**settings), SCHEMA)
    state = fit(model, Feed(rows, batch_size=7, seed=0), lambda _: 0.5, TrainConfig(max_epochs=9))
    assert state.epochs == 1  # there is nothing more to learn
    return model


def chains(rows):
    """Each row's items and its target, unpadded."""
    return [
        [i for i in own if i] + [t]
        for own, t in zip(rows.items.tolist(), rows.target.tolist(), strict=True)
    ]


def came_next(rows):
    return Counter(item for chain in chains(rows) for item in chain[1:])


def scored(model, rows):
    return model.scores(rows)[:, 1:].tolist()


TRAIN, ASKED = histories(60), histories(40, seed=1, least=0)


def test_popularity_counts_what_came_next():
    counts = came_next(TRAIN)
    expected = [counts[i] for i in range(1, 9)]
    assert scored(trained("popularity", TRAIN), ASKED) == [expected] * len(ASKED)


def test_repeat_own_puts_own_items_by_times_then_newest_then_the_popular():
    counts = came_next(TRAIN)
    found = scored(trained("repeat_own", TRAIN), ASKED)
    for chain, row in zip(chains(ASKED), found, strict=True):
        own = chain[:-1]

        def key(item, own=own):
            newest = max((n for n, i in enumerate(own) if i == item), default=-1)
            return own.count(item), newest, counts[item]

        by_score = sorted(range(1, 9), key=lambda item: row[item - 1])
        assert [key(i) for i in by_score] == sorted(key(i) for i in range(1, 9))


def plain_markov(rows, asked, domain, within):
    """The chain's scores, by loops; ``asked`` is one row's unpadded history."""
    follows, next_count = Counter(), came_next(rows)
    for chain in chains(rows):
        for n, item in enumerate(chain):
            before = [i for i in chain[:n] if not within or DOMAIN[i] == DOMAIN[item]]
            if before:
                follows[before[-1], item] += 1
    own = [i for i in asked if not within or DOMAIN[i] == domain]
    last = own[-1] if own else 0
    total = sum(n for (a, _), n in follows.items() if a == last)
    share = {i: next_count[i] / sum(next_count.values()) for i in range(1, 9)}
    return [(follows[last, i] + share[i]) / (total + 1) for i in range(1, 9)]


@pytest.mark.parametrize("within", [True, False])
def test_markov_is_what_a_plain_loop_counts(within):
    found = scored(trained("markov", TRAIN, within_domain=within), ASKED)
    for chain, domain, row in zip(chains(ASKED), ASKED.domain.tolist(), found, strict=True):
        assert row == pytest.approx(plain_markov(TRAIN, chain[:-1], domain, within))
        assert sum(row) == pytest.approx(1)  # probabilities


def plain_knn(rows, asked, neighbours=200, shrink=10.0, decay=0.6):
    held = [set(chain) for chain in chains(rows)]
    size = Counter(item for own in held for item in own)

    def similarity(i, j):
        both = sum(i in own and j in own for own in held)
        return both / (math.sqrt(size[i] * size[j]) + shrink) if both else 0.0

    scores = [0.0] * 8
    for i in set(asked):
        near = sorted((j for j in range(1, 9) if j != i), key=lambda j: (-similarity(i, j), j))
        for j in near[:neighbours]:
            age = asked[::-1].index(i)
            scores[j - 1] += decay**age * similarity(i, j)
    return scores


@pytest.mark.parametrize("settings", [{}, {"neighbours": 3}, {"shrink": 0, "decay": 1}])
def test_item_knn_is_what_a_plain_loop_sums(settings):
    found = scored(trained("item_knn", TRAIN, **settings), ASKED)
    for chain, row in zip(chains(ASKED), found, strict=True):
        assert row == pytest.approx(plain_knn(TRAIN, chain[:-1], **settings))


def test_by_hand():
    """Three rows: 1 2 3, 1 2 5, 5 3; after 1 always comes 2."""
    items = torch.tensor([[0, 0, 0, 1, 2], [0, 0, 0, 1, 2], [0, 0, 0, 0, 5]])
    target = torch.tensor([3, 5, 3])
    rows = Histories(items, DOMAIN[items], target, DOMAIN[target])
    asked = Histories(items[:1, :4], DOMAIN[items[:1, :4]], target[:1], DOMAIN[target[:1]])
    assert trained("popularity", rows).scores(asked)[0].tolist() == [0, 0, 2, 2, 0, 1, 0, 0, 0]
    markov = trained("markov", rows).scores(asked)[0]
    assert markov[2] == pytest.approx((2 + 2 / 5) / 3)
    knn = trained("item_knn", rows, shrink=0).scores(asked)[0]
    assert knn[2] == pytest.approx(2 / math.sqrt(2 * 2))
    assert knn[1] == 0


@pytest.mark.parametrize("name", FLOORS)
def test_state_is_whole_whatever_was_there_before(name):
    model, other = trained(name, TRAIN), trained(name, histories(9, seed=5))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.scores(ASKED), model.scores(ASKED))


@pytest.mark.parametrize("name", FLOORS)
def test_the_order_of_the_rows_and_training_again_change_nothing(name):
    model = trained(name, TRAIN)
    again = trained(name, TRAIN[torch.randperm(len(TRAIN))])
    assert torch.equal(again.scores(ASKED), model.scores(ASKED))
    for _ in range(2):
        assert list(model.epoch(Feed(TRAIN, batch_size=9, seed=3).epoch(0))) == []
    assert torch.equal(again.scores(ASKED), model.scores(ASKED))


@pytest.mark.parametrize("name", FLOORS)
def test_they_have_no_vectors(name):
    with pytest.raises(NotImplementedError, match="no vectors"):
        trained(name, TRAIN)(ASKED)
