"""Edges weighed by the merit of the experts above: hand-worked."""

import torch

from isthmus.models.hemp import _merit
from isthmus.nn import masks


def test_merit_is_passed_down_by_the_gates():
    """Two levels of edges, 2 -> 2 -> 2: all numbers by hand."""
    gates = [torch.tensor([[0.5, 0.2], [0.5, 0.8]]), torch.tensor([[0.9, 0.3], [0.1, 0.7]])]
    weight = [torch.ones(2, 2), torch.ones(2, 2)]
    low, high = masks.weighed_from_above(weight, gates, torch.tensor([1.5, 0.5]))
    torch.testing.assert_close(high, torch.tensor([[1.5, 0.5], [1.5, 0.5]]))
    # experts of the middle: .9 * 1.5 + .3 * .5 = 1.5 and .1 * 1.5 + .7 * .5 = .5; their mean is 1
    torch.testing.assert_close(low, torch.tensor([[1.5, 0.5], [1.5, 0.5]]))


def test_equal_merit_changes_no_order():
    gates = [torch.rand(3, 6).softmax(0), torch.rand(6, 12).softmax(0)]
    weight = masks.importance(gates)
    top = masks.weighed_from_above(weight, gates, torch.ones(12))[-1]
    torch.testing.assert_close(top, weight[-1])


def test_without_merit_pruning_never_drops_an_expert_that_it_should():
    """Gates sum to 1 over sources: only merit can tell a useless head from a useful one."""
    gates = [torch.full((2, 4), 0.5)]
    weight = [torch.tensor([[1.1, 1.0, 1.0, 1.0], [0.9, 1.0, 1.0, 1.0]])]
    everything = [torch.ones(2, 4, dtype=torch.bool)]
    merit = torch.tensor([3.0, 0.4, 0.3, 0.3])
    weighed = masks.weighed_from_above(weight, gates, merit)
    kept = masks.keep_strongest(everything, weighed, 0.5)
    assert kept[0].any(0).tolist() == [True, True, False, False]


def test_merit_orders_used_heads_by_loss_and_averages_one():
    loss = torch.tensor([[0.5, 0.6, 0.7, 0.1]])
    used = torch.tensor([[True, True, True, False]])
    merit = _merit(loss, used)
    assert merit[0, 3] == 0
    assert merit[0, 0] > merit[0, 1] > merit[0, 2] > 0
    torch.testing.assert_close(merit.sum(), torch.tensor(3.0))


def test_heads_that_are_alike_have_merit_one():
    merit = _merit(torch.full((1, 4), 0.6), torch.ones(1, 4, dtype=torch.bool))
    torch.testing.assert_close(merit, torch.ones(1, 4))
