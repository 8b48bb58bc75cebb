"""The cross network against its equation, layer by layer; pairs of features by hand."""

import torch

from isthmus.nn import CrossNetwork, pairwise_products


def test_equals_the_equation_of_the_paper():
    torch.manual_seed(0)
    cross = CrossNetwork(7, 4).double()
    with torch.no_grad():
        cross.weight.normal_()
        cross.bias.normal_()
    first = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    x = first
    for weight, bias in zip(cross.weight, cross.bias, strict=True):
        x = first * (x @ weight)[:, None] + bias + x
    torch.testing.assert_close(cross(first), x)
    inputs = [first, cross.weight, cross.bias]
    seed = torch.randn_like(x)
    expected = torch.autograd.grad(x, inputs, seed)
    torch.testing.assert_close(torch.autograd.grad(cross(first), inputs, seed), expected)


def test_pairs_of_three_features_by_hand():
    e_BFK = torch.tensor(
        [[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]]]
    )
    assert pairwise_products(e_BFK).tolist() == [11 + 17 + 39, 0 + 2 + 2]
    assert pairwise_products(e_BFK[:, :1]).tolist() == [0, 0]
