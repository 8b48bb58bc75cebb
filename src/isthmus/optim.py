"""One optimiser step, the row-wise optimiser of embedding tables, and the two kinds side by side."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.errors import TrainingError


def update(
    optimizer: "torch.optim.Optimizer | Optimizers",
    losses: Mapping[str, Tensor],
    *,
    clip: float | None = None,
) -> None:
    """Minimise the sum of ``losses`` by one step: the only place where training takes gradients.

    Raises:
        TrainingError: a loss is not finite; it names the terms.
    """
    optimizer.zero_grad(set_to_none=True)
    total = torch.stack(list(losses.values())).sum()
    if not torch.isfinite(total):
        terms = ", ".join(f"{name} = {value.item()}" for name, value in losses.items())
        raise TrainingError(
            f"the loss is not finite ({terms}); lower train.lr, or set train.clip to bound gradients"
        )
    total.backward()
    if clip is not None:
        dense = [
            p
            for group in optimizer.param_groups
            for p in group["params"]
            if p.grad is not None and not p.grad.is_sparse
        ]
        nn.utils.clip_grad_norm_(dense, clip)
    optimizer.step()


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
    (0.9, 0.99) a row first met late moves by lr, as it would with a count of its own.
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
        gradient = table.grad.coalesce()
        ids, grad = gradient.indices()[0], gradient.values()
        rows = table.index_select(0, ids)
        grad = grad.add(rows, alpha=2 * group["l2"])
        mean = state["mean"].index_select(0, ids).lerp_(grad, 1 - beta1)
        square = (
            state["square"].index_select(0, ids).mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        )
        state["mean"].index_copy_(0, ids, mean)
        state["square"].index_copy_(0, ids, square)
        scale = square.div_(1 - beta2**step).sqrt_().add_(group["eps"])
        rows.addcdiv_(mean, scale, value=-group["lr"] / (1 - beta1**step))
        table.index_copy_(0, ids, rows)


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
