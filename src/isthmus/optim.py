"""One optimiser step, the row-wise optimiser of embedding tables, and the two kinds side by side."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from isthmus import distributed
from isthmus.errors import TrainingError
from isthmus.nn.embedding import own_rows, placed


def update(
    optimizer: "torch.optim.Optimizer | Optimizers",
    losses: Mapping[str, Tensor],
    *,
    clip: float | None = None,
    watch: "Watch | None" = None,
) -> Mapping[str, Tensor]:
    """Minimise the sum of ``losses`` by one step: the only place where training takes gradients.

    Returns the losses. Where several processes have parts of a batch, they are those of the whole
    batch, and so are the gradients. On a GPU the losses are noted in ``watch``, where there is one,
    which looks at them later.

    Raises:
        TrainingError: a loss is not finite; it names the terms.
    """
    optimizer.zero_grad(set_to_none=True)
    total = torch.stack(list(losses.values())).sum()
    if distributed.peers().together:
        (total * distributed.share()).backward()
        losses = distributed.add_up(*_kinds(optimizer), losses)
        total = torch.stack(list(losses.values())).sum()
    else:
        total.backward()
    if watch is not None and total.device.type != "cpu":
        watch.note(losses)
    elif not torch.isfinite(total):
        raise TrainingError(_not_finite({name: value.item() for name, value in losses.items()}))
    if clip is not None:
        dense = [
            p
            for group in optimizer.param_groups
            for p in group["params"]
            if p.grad is not None and not p.grad.is_sparse
        ]
        nn.utils.clip_grad_norm_(dense, clip)
    optimizer.step()
    return losses


def _kinds(
    optimizer: "torch.optim.Optimizer | Optimizers",
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters with dense gradients, and tables, whose gradients are of rows."""
    parts = optimizer.parts.values() if isinstance(optimizer, Optimizers) else [optimizer]
    dense: list[nn.Parameter] = []
    tables: list[nn.Parameter] = []
    for part in parts:
        kind = tables if isinstance(part, RowAdam) else dense
        kind.extend(p for group in part.param_groups for p in group["params"])
    return dense, tables


class Watch:
    """Losses of steps on a GPU, looked at every so many steps: each look waits for the device.

    A step whose loss is not finite is named exactly, though later; ``bad`` is its number, from 0, of
    the ``steps`` that were noted.
    """

    def __init__(self, every: int = 64) -> None:
        self.every, self.steps = every, 0
        self.bad: int | None = None
        self._terms: list[dict[str, Tensor]] = []

    def note(self, losses: Mapping[str, Tensor]) -> None:
        """Remember a step's losses; raises what ``look`` does."""
        self._terms.append({name: value.detach() for name, value in losses.items()})
        self.steps += 1
        if len(self._terms) == self.every:
            self.look()

    def look(self) -> None:
        """Check the losses noted since the last look.

        Raises:
            TrainingError: one is not finite; it names the terms of the first such step.
        """
        noted, self._terms = self._terms, []
        if not noted:
            return
        each = torch.stack([value for terms in noted for value in terms.values()])
        values = iter(each.cpu().tolist())
        for step, terms in enumerate(noted, self.steps - len(noted)):
            found = {name: next(values) for name in terms}
            if not math.isfinite(sum(found.values())):
                self.bad = step
                raise TrainingError(_not_finite(found))


def _not_finite(terms: Mapping[str, float]) -> str:
    told = ", ".join(f"{name} = {value}" for name, value in terms.items())
    return f"the loss is not finite ({told}); lower train.lr, or set train.clip to bound gradients"


def gradients(
    parameters: Mapping[str, nn.Parameter], losses: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Gradient of the sum of ``losses`` by each parameter that it depends on; none is moved.

    Gradients of embedding tables are coalesced sparse tensors of rows, as in training.
    """
    total = torch.stack(list(losses.values())).sum()
    found = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
    return {
        name: gradient.coalesce() if gradient.is_sparse else gradient
        for name, gradient in zip(parameters, found, strict=True)
        if gradient is not None
    }


class RowAdam(torch.optim.Optimizer):
    """Adam on the touched rows of embedding tables alone, with L2 on those rows ("lazy").

    Its cost depends on the ids of a batch, never on the vocabulary. Gradients are sparse tensors
    of rows, as ``nn.EmbeddingTable`` gives them. One step count serves all rows: with betas
    (0.9, 0.99) a row first met late moves by lr, as it would with a count of its own. Of a table
    that is sharded over processes each steps its own rows, and holds their moments alone.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
        l2: float = 0.0,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps, "l2": l2})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put back what ``state_dict`` gave, in this number of processes or another."""
        super().load_state_dict(state_dict)
        for table, state in self.state.items():
            for name in ("mean", "square"):
                state[name] = placed(state[name], table)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step on every table that has a gradient."""
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None:
                    self._step_rows(table, group)

    def _step_rows(self, table: nn.Parameter, group: dict[str, Any]) -> None:
        state = self.state[table]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["mean"], state["square"] = torch.zeros_like(table), torch.zeros_like(table)
        state["step"] += 1
        step, (beta1, beta2) = float(state["step"]), group["betas"]
        assert table.grad is not None
        weight, first = own_rows(table)
        means, squares = (own_rows(state[name])[0] for name in ("mean", "square"))
        ids, grad = row_gradient(table.grad)
        ids = ids - first
        rows = weight.index_select(0, ids)
        grad = grad.add(rows, alpha=2 * group["l2"])
        mean = means.index_select(0, ids).lerp_(grad, 1 - beta1)
        square = squares.index_select(0, ids).mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        means.index_copy_(0, ids, mean)
        squares.index_copy_(0, ids, square)
        scale = square.div_(1 - beta2**step).sqrt_().add_(group["eps"])
        rows.addcdiv_(mean, scale, value=-group["lr"] / (1 - beta1**step))
        weight.index_copy_(0, ids, rows)


def row_gradient(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Ids of a sparse gradient's rows, and each one's sum.

    To coalesce, a GPU has to tell the host how many ids there are. There the tensors have as many
    rows as the gradient, and those to spare repeat the first id with the first sum: to write it
    once more changes nothing.
    """
    if gradient.device.type == "cpu":
        gradient = gradient.coalesce()
        return gradient.indices()[0], gradient.values()
    ids_N, grad_NK = gradient._indices()[0], gradient._values()
    if not len(ids_N):
        return ids_N, grad_NK
    sorted_N, order_N = ids_N.sort(stable=True)
    step_N = torch.zeros_like(sorted_N)
    step_N[1:] = sorted_N[1:] != sorted_N[:-1]
    place_N = step_N.cumsum(0)
    sum_NK = torch.zeros_like(grad_NK).index_add_(0, place_N, grad_NK.index_select(0, order_N))
    count_N = torch.arange(len(ids_N), device=ids_N.device)
    chosen_N = count_N.where(count_N <= place_N[-1], 0)
    id_N = torch.empty_like(sorted_N).scatter_(0, place_N, sorted_N)
    return id_N.index_select(0, chosen_N), sum_NK.index_select(0, chosen_N)


class Optimizers:
    """Several optimisers, each with parameters of its own, stepped as one."""

    def __init__(self, **parts: torch.optim.Optimizer) -> None:
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all parts."""
        return [group for part in self.parts.values() for group in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients."""
        for part in self.parts.values():
            part.zero_grad(set_to_none)

    def step(self) -> None:
        """Step every part."""
        for part in self.parts.values():
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """State of every part, by name."""
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what ``state_dict`` gave."""
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
