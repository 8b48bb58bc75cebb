"""What each of two processes finds in cases that are small enough to be worked by hand.

    torchrun --nproc-per-node 2 tests/distributed/cases.py FOLDER

writes FOLDER/RANK.json: what each case gives in that process, or the error that it ends with.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from isthmus import distributed
from isthmus.errors import DataError, IsthmusError
from isthmus.meeting import started
from isthmus.nn import EmbeddingTable
from isthmus.nn.mlp import BatchNorm
from isthmus.nn.normalise import NormaliseActive
from isthmus.optim import Optimizers, RowAdam, update

X_B = torch.tensor([1.0, 2.0, 6.0])
ROWS_BI = torch.tensor([[1.0, 0.0], [3.0, 1.0], [8.0, -2.0]])
WEIGHT_BI = torch.tensor([[1.0, -1.0], [2.0, 0.5], [-1.0, 3.0]])
ACTIVE_EB = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
IDS_B = torch.tensor([1, 1, 4])


class Terms(nn.Module):
    """A weight that all rows have, one that the first process has alone, one of nobody's; a table."""

    def __init__(self) -> None:
        super().__init__()
        self.all, self.first, self.nobody = (nn.Parameter(torch.tensor(1.0)) for _ in range(3))
        self.table, self.unmet = EmbeddingTable(6, 1), EmbeddingTable(6, 1)

    def losses(self, x_B: Tensor, ids_B: Tensor, rank: int) -> dict[str, Tensor]:
        losses = {"linear": (self.all * x_B).mean()}
        losses["table"] = (self.table(ids_B)[:, 0] * x_B).mean()
        losses["first"] = self.first * 9.0 if rank == 0 else torch.zeros(())
        return losses

    def optimizer(self) -> Optimizers:
        dense = torch.optim.SGD([self.all, self.first, self.nobody], lr=0.0)
        return Optimizers(dense=dense, tables=RowAdam([self.table.weight, self.unmet.weight]))


def step(rows: int, rank: int) -> dict[str, Any]:
    """Gradients and losses of a step on the first so many rows."""
    terms, part = Terms(), distributed.take(rows)
    terms.table.weight.data.fill_(1.0)
    optimizer = terms.optimizer()
    distributed.sent.clear()
    losses = update(optimizer, terms.losses(X_B[:rows][part], IDS_B[:rows][part], rank))
    table = terms.table.weight.grad.coalesce()
    return {
        "share": distributed.share(),
        "losses": {name: float(value.detach()) for name, value in losses.items()},
        "all": float(terms.all.grad),
        "first": float(terms.first.grad),
        "nobody": terms.nobody.grad is None,
        "ids": table.indices()[0].tolist(),
        "rows": table.values()[:, 0].tolist(),
        "unmet": terms.unmet.weight.grad is None,
        "sent": dict(distributed.sent),
    }


def undivided(rank: int) -> dict[str, Any]:
    """A step on one row, which both have: what reads the batch reads it once."""
    found = {"part": step(1, 0)}
    found["mean"] = float(distributed.mean(X_B[:1]))
    found["total"] = float(distributed.total(X_B[0]))
    return found


def infinite(rank: int) -> None:
    """A loss that is no number in one process."""
    weight = nn.Parameter(torch.tensor(1.0))
    distributed.take(3)
    bad = float("nan") if rank == 1 else 1.0
    update(torch.optim.SGD([weight]), {"fine": weight, "bad": weight * bad})


def tokens(rank: int) -> dict[str, Any]:
    """A mean over values of which the first process has one, and the other three."""
    rows = distributed.take(3)
    values = (torch.tensor([5.0]), torch.tensor([1.0, 2.0, 4.0]))[rank]
    return {
        "rows": [rows.start, rows.stop],
        "part": float(distributed.mean(values) * distributed.share()),
    }


def passing(rank: int) -> dict[str, Any]:
    """Sums and rows of all parts, and the gradients that come back through them."""
    x = X_B[distributed.take(3)].clone().requires_grad_()
    weights = torch.tensor([1.0, 10.0, 100.0]) * (rank + 1)
    whole, sum_ = distributed.gathered(x), distributed.total(x.sum())
    ((whole * weights).sum() + sum_ * (rank + 1)).backward()
    return {"whole": whole.tolist(), "sum": float(sum_.detach()), "grad": x.grad.tolist()}


def normal(rank: int) -> dict[str, Any]:
    """Batch norm of experts, of which each has active rows of its own, and torch's own form."""
    rows = distributed.take(3)
    x = ROWS_BI[rows].clone().requires_grad_()
    every = x.expand(3, -1, -1)
    normal_EBO, mean, var, count = NormaliseActive.apply(every, ACTIVE_EB[:, rows])
    (normal_EBO * WEIGHT_BI[rows]).sum().backward()
    norm = BatchNorm(2)
    again = ROWS_BI[rows].clone().requires_grad_()
    out = norm(again)
    (out * WEIGHT_BI[rows]).sum().backward()
    return {
        "normal": normal_EBO.tolist(),
        "mean": mean.tolist(),
        "var": var.tolist(),
        "rows": count.flatten().tolist(),
        "grad": x.grad.tolist(),
        "norm": out.tolist(),
        "norm_grad": again.grad.tolist(),
        "running": [norm.running_mean.tolist(), norm.running_var.tolist()],
    }


def said(rank: int) -> dict[str, Any]:
    """Words: what each says, and what was shared out."""
    dealt = distributed.dealt([1, 2, 3, 4, 5])
    return {
        "everyone": distributed.everyones(rank * 10),
        "first": distributed.from_first(lambda: f"made by {rank}"),
        "dealt": list(dealt),
        "each": distributed.each(lambda: [n * n for n in dealt]),
        "apart": distributed.each(lambda: distributed.peers().size),
    }


def refused_by_first(rank: int) -> None:
    distributed.from_first(_refuse)


def refused_by_second(rank: int) -> None:
    distributed.each(_refuse if rank == 1 else lambda: 1)


def _refuse() -> None:
    raise DataError("there is no such row")


CASES: dict[str, Callable[[int], Any]] = {
    "step": lambda rank: step(3, rank),
    "undivided": undivided,
    "infinite": infinite,
    "tokens": tokens,
    "passing": passing,
    "normal": normal,
    "said": said,
    "refused_by_first": refused_by_first,
    "refused_by_second": refused_by_second,
}


def main(folder: Path) -> None:
    with started() as here:
        found = {}
        for name, case in CASES.items():
            try:
                found[name] = case(here.rank)
            except IsthmusError as error:
                found[name] = f"{type(error).__name__}: {error}"
    found["threads"] = [file.read_text().strip() for file in Path("/proc/self/task").glob("*/comm")]
    (folder / f"{here.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
