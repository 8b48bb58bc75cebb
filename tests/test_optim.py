"""Row-wise Adam against torch's Adam and against a loop over rows; one step of all optimisers."""

import math

import pytest
import torch
from torch import nn

from isthmus.errors import TrainingError
from isthmus.nn import EmbeddingTable
from isthmus.optim import Optimizers, RowAdam, update

ROWS, DIM = 7, 3


def table(seed=0):
    torch.manual_seed(seed)
    return EmbeddingTable(ROWS, DIM, std=1.0).double()


def batches(number, rows=ROWS, seed=0, *, every=False):
    """Ids with repetitions, and a gradient for each place they stand in."""
    g = torch.Generator().manual_seed(seed)
    for _ in range(number):
        ids = torch.randint(rows, (5,), generator=g)
        if every:
            ids = torch.cat([ids, torch.arange(ROWS)])
        yield ids, torch.randn(len(ids), DIM, generator=g, dtype=torch.float64)


def test_equals_torch_adam_where_every_row_is_in_every_batch():
    ours = table()
    dense = nn.Parameter(ours.weight.detach().clone())
    rows = RowAdam([ours.weight], 1e-2, l2=1e-3)
    adam = torch.optim.Adam([dense], 1e-2, betas=(0.9, 0.99), weight_decay=2e-3)
    for ids, grad in batches(20, every=True):
        ours(ids).backward(grad)
        dense[ids].backward(grad)
        for optimizer in (rows, adam):
            optimizer.step()
            optimizer.zero_grad()
    torch.testing.assert_close(ours.weight, dense)


def test_equals_a_loop_over_touched_rows():
    """Lazy: a row's moments and weights change when it is met, by the batch's step count."""
    ours, lr, l2, beta1, beta2, eps = table(), 1e-2, 1e-3, 0.9, 0.99, 1e-8
    optimizer = RowAdam([ours.weight], lr, l2=l2)
    weight = ours.weight.detach().clone().tolist()
    mean, square = ([[0.0] * DIM for _ in range(ROWS)] for _ in range(2))
    for step, (ids, grad) in enumerate(batches(15, rows=5), start=1):
        ours(ids).backward(grad)
        optimizer.step()
        optimizer.zero_grad()
        for row in set(ids.tolist()):
            for k in range(DIM):
                g = sum(float(grad[i, k]) for i in range(len(ids)) if ids[i] == row)
                g += 2 * l2 * weight[row][k]
                mean[row][k] = beta1 * mean[row][k] + (1 - beta1) * g
                square[row][k] = beta2 * square[row][k] + (1 - beta2) * g * g
                up = mean[row][k] / (1 - beta1**step)
                weight[row][k] -= lr * up / (math.sqrt(square[row][k] / (1 - beta2**step)) + eps)
    torch.testing.assert_close(ours.weight.detach(), torch.tensor(weight, dtype=torch.float64))


def test_a_row_first_met_late_moves_by_the_learning_rate():
    ours = table()
    optimizer = RowAdam([ours.weight], 1e-2)
    for late in [False] * 300 + [True]:
        before = ours.weight.detach().clone()
        ours(torch.tensor([6 if late else 0])).backward(torch.full((1, DIM), 0.3).double())
        optimizer.step()
        optimizer.zero_grad()
    moved = before[6] - ours.weight.detach()[6]
    torch.testing.assert_close(moved, torch.full_like(moved, 1e-2), rtol=0.06, atol=0)


def test_untouched_rows_stay_bit_for_bit():
    ours = table()
    before = ours.weight.detach().clone()
    optimizer = RowAdam([ours.weight], 1e-2, l2=0.1)
    ours(torch.tensor([2, 2, 4])).sum().backward()
    optimizer.step()
    changed = (ours.weight != before).any(1)
    assert changed.tolist() == [False, False, True, False, True, False, False]


def test_state_goes_on_where_it_stopped():
    straight, first, second = table(), table(), table()
    optimizers = [RowAdam([t.weight], 1e-2) for t in (straight, first, second)]
    steps = list(batches(6))

    def run(number, part):
        for ids, grad in part:
            (straight, first, second)[number](ids).backward(grad)
            optimizers[number].step()
            optimizers[number].zero_grad()

    run(0, steps)
    run(1, steps[:3])
    second.load_state_dict(first.state_dict())
    optimizers[2].load_state_dict(optimizers[1].state_dict())
    run(2, steps[3:])
    assert torch.equal(straight.weight, second.weight)


def test_optimizers_step_as_one_and_keep_their_states_apart():
    ours, linear = table(), nn.Linear(DIM, 1).double()
    both = Optimizers(
        dense=torch.optim.Adam(linear.parameters(), 1e-2), tables=RowAdam([ours.weight], 1e-2)
    )
    before = [p.detach().clone() for p in (ours.weight, linear.weight)]
    update(both, {"one": linear(ours(torch.arange(ROWS))).sum(), "other": ours.weight.new_ones(())})
    assert all(
        not torch.equal(p, b) for p, b in zip((ours.weight, linear.weight), before, strict=True)
    )
    assert set(both.state_dict()) == {"dense", "tables"}
    assert len(both.param_groups) == 2
    both.zero_grad()
    assert ours.weight.grad is None
    assert linear.weight.grad is None


def test_update_minimises_the_sum_of_the_terms():
    x = nn.Parameter(torch.tensor([1.0, 1.0]))
    update(torch.optim.SGD([x], 0.1), {"a": x[0] * 2, "b": x[1] * 3, "c": x[0]})
    torch.testing.assert_close(x.detach(), torch.tensor([0.7, 0.7]))


def test_update_clips_dense_gradients_alone():
    ours, x = table(), nn.Parameter(torch.tensor([3.0, 4.0], dtype=torch.float64))
    optimizer = Optimizers(dense=torch.optim.SGD([x], 1.0), tables=RowAdam([ours.weight], 1e-2))
    update(optimizer, {"a": (x * x).sum() / 2, "b": ours(torch.tensor([1])).sum()}, clip=1.0)
    torch.testing.assert_close(x.detach(), torch.tensor([2.4, 3.2], dtype=torch.float64))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_names_its_term_and_changes_nothing(bad):
    x = nn.Parameter(torch.ones(2))
    with pytest.raises(TrainingError, match=r"other = (nan|inf).*train\.lr"):
        update(torch.optim.SGD([x], 0.1), {"good": x.sum(), "other": x.sum() * bad})
    assert torch.equal(x, torch.ones(2))
