"""Routed experts: groups of rows, each with weights of its own."""

import torch

from isthmus.nn import PartExperts, gated, grouped_linear

SIZES = [2, 0, 3, 1]


def parts(width=3, out=2):
    g = torch.Generator().manual_seed(0)
    shapes = ((sum(SIZES), width), (len(SIZES), width, out), (len(SIZES), out))
    return [torch.randn(s, generator=g, dtype=torch.float64).requires_grad_() for s in shapes]


def test_grouped_linear_is_a_product_a_group():
    x, weight, bias = parts()
    groups = [0, 0, 2, 2, 2, 3]
    expected = torch.stack([r @ weight[k] + bias[k] for r, k in zip(x, groups, strict=True)])
    torch.testing.assert_close(grouped_linear(x, weight, bias, SIZES), expected)


def test_gradients_of_grouped_linear():
    x, weight, bias = parts()
    assert torch.autograd.gradcheck(lambda *t: grouped_linear(*t, SIZES), (x, weight, bias))
    grouped_linear(x, weight, bias, SIZES).sum().backward()
    assert (weight.grad[1] == 0).all()  # a group without rows has a gradient, of zeros
    assert (bias.grad[1] == 0).all()


def test_a_part_of_one_row_trains():
    torch.manual_seed(0)
    experts = PartExperts(4, 2, 3, (5, 4), dropout=0.2)
    out = experts(torch.randn(6, 3), SIZES)
    out.square().sum().backward()
    assert out.shape == (6, 2, 4)
    assert experts.first.weight.grad[3].abs().sum() > 0
    assert all(p.grad.isfinite().all() for p in experts.parameters())


def test_gated_is_a_convex_mixture():
    expert = torch.tensor([[[1.0, 0.0], [3.0, 4.0]]])
    gate = torch.tensor([[0.0, 3.0]]).log()  # shares 0 and 1
    torch.testing.assert_close(gated(gate, expert), torch.tensor([[3.0, 4.0]]))
