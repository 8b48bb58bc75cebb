"""The cross network against its equation, layer by layer."""

import torch

from isthmus.nn import CrossNetwork


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
