"""Several processes train one model: who takes which rows, and what they tell each other.

Every process draws the same batches and computes on its own part of each. The loss of a batch is
the sum over processes of ``share()`` times the loss of the part: so gradients are added up, and so
is whatever reads a whole batch (``total``, ``gathered``, ``moments``, ``mean``). A batch of fewer
rows than there are processes is not divided: all of them compute all of it, for an equal share.
Nothing is ever skipped, so that no process waits for one that does not come.

Alone, and inside ``apart``, all of this does nothing and costs nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from isthmus.errors import IsthmusError

if TYPE_CHECKING:  # half a second, which nobody who is alone should wait for
    from torch.distributed.tensor import DTensor

T = TypeVar("T")
sent: Counter[str] = Counter()
"""Bytes that this process handed to others, by what they are: dense, sparse, rows, statistics, words."""


@dataclass(frozen=True, slots=True)
class Peers:
    """Which of the processes this is, and how many there are."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether it is the one that writes and speaks."""
        return self.rank == 0

    @property
    def together(self) -> bool:
        """Whether there are others."""
        return self.size > 1


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of a batch that this process takes, and what share of the batch they are."""

    rows: slice
    share: float
    divided: bool


ALONE, WHOLE = Peers(), Part(slice(None), 1.0, False)


class _Now:
    """What changes from batch to batch: the part in work, and whether others are left out of it."""

    part = WHOLE
    apart = False


def peers() -> Peers:
    """Those that this process works with now."""
    if _Now.apart or not dist.is_available() or not dist.is_initialized():
        return ALONE
    return Peers(dist.get_rank(), dist.get_world_size())


@contextmanager
def apart() -> Iterator[None]:
    """Work alone for a while, such as on what was shared out: nobody else needs to do the same."""
    before, _Now.apart = _Now.apart, True
    try:
        yield
    finally:
        _Now.apart = before


# --- rows


def part(rows: int) -> Part:
    """Which of so many rows this process takes: neighbours, as evenly as can be."""
    here = peers()
    if not here.together:
        return WHOLE
    if rows < here.size:
        return Part(slice(None), 1 / here.size, False)
    start, stop = (rows * rank // here.size for rank in (here.rank, here.rank + 1))
    return Part(slice(start, stop), (stop - start) / rows, True)


def take(rows: int) -> slice:
    """As ``part``, of the batch that losses are computed on from now on."""
    _Now.part = part(rows)
    return _Now.part.rows


def dealt(values: Sequence[T]) -> Sequence[T]:
    """Those of some values that are this process's to work on, every so many."""
    here = peers()
    return values[here.rank :: here.size]


def share() -> float:
    """What share of the present batch this process has."""
    return _Now.part.share if peers().together else 1.0


def divided() -> bool:
    """Whether what this process has of the present batch is a part of it."""
    return peers().together and _Now.part.divided


# --- what reads a whole batch


def total(x: Tensor) -> Tensor:
    """The sum over the parts of the present batch, of one shape in all; gradients pass."""
    return _Total.apply(x) if divided() else x


def gathered(x: Tensor) -> Tensor:
    """The rows of all parts of the present batch, in the batch's order; gradients pass."""
    return _Gathered.apply(x) if divided() else x


def mean(values: Tensor) -> Tensor:
    """Mean over values of which a part may have more than its share, such as tokens.

    Times ``share()``, and added up over the parts, it is the mean over all values of the batch.
    """
    if not divided():
        return values.mean()
    count = _summed(torch.tensor(float(values.numel()), dtype=torch.float64), "statistics")
    return values.sum() / (count.item() * share())


def moments(rows: Tensor, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, mean and (biased) variance of the whole batch, of those of its parts; without gradient.

    In float64: the mean's square is taken away from the mean of squares.
    """
    if not divided():
        return rows, mean, var
    wide_rows, wide_mean = rows.double(), mean.double()
    squares = wide_rows * (var.double() + wide_mean.square())
    parts = [wide_rows, wide_rows * wide_mean, squares]
    flat = _summed(torch.cat([part.flatten() for part in parts]), "statistics")
    pieces = flat.split([part.numel() for part in parts])
    count, first, second = (x.view_as(one) for x, one in zip(pieces, parts, strict=True))
    wide_mean = first / count.clamp(min=1)
    wide_var = (second / count.clamp(min=1) - wide_mean.square()).clamp(min=0)
    return count.to(rows.dtype), wide_mean.to(mean.dtype), wide_var.to(var.dtype)


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _summed(x.clone(memory_format=torch.contiguous_format), "statistics")

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _summed(grad.clone(memory_format=torch.contiguous_format), "statistics")


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        pieces = _collected(x, _everywhere([len(x)])[:, 0].tolist(), "statistics")
        before = sum(len(piece) for piece in pieces[: peers().rank])
        ctx.own = slice(before, before + len(x))
        return torch.cat(pieces)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _summed(grad.clone(memory_format=torch.contiguous_format), "statistics")[ctx.own]


# --- gradients


def add_up(
    dense: Iterable[nn.Parameter], tables: Iterable[nn.Parameter], losses: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Add up gradients over all processes, in place, and give the losses of the whole batch.

    Gradients are of ``share()`` times the losses of a part. ``dense`` ones go in one flat bucket; of ``tables``, whose gradients are sparse tensors of rows, the rows that each process
    met. A parameter that no process has a gradient of keeps none. Those of a sharded table
    are left alone: each process has rows of its own of it.
    """
    _add_rows([p for p in tables if p.requires_grad and not is_sharded(p)])
    trained = [p for p in dense if p.requires_grad]
    values = torch.stack([value.detach() for value in losses.values()]) * share()
    there = values.new_tensor([float(p.grad is not None) for p in trained])
    gradients = [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in trained]
    flat = _summed(torch.cat([values, there, *gradients]), "dense")
    sizes = [len(values), len(trained), *(p.numel() for p in trained)]
    values, there, *gradients = flat.split(sizes)
    for parameter, anywhere, gradient in zip(trained, there.tolist(), gradients, strict=True):
        parameter.grad = gradient.view_as(parameter) if anywhere else None
    return dict(zip(losses, values, strict=True))


def is_sharded(tensor: Tensor) -> "TypeGuard[DTensor]":
    """Whether it is a ``DTensor``, of which each process has rows of its own."""
    return hasattr(tensor, "device_mesh")


def _add_rows(tables: Sequence[nn.Parameter]) -> None:
    if not tables:
        return
    found = [None if table.grad is None else table.grad.coalesce() for table in tables]
    lengths = _everywhere([-1 if g is None else g.indices().shape[1] for g in found])
    for number, (table, gradient) in enumerate(zip(tables, found, strict=True)):
        sizes = lengths[:, number]
        if int(sizes.max()) < 0:
            continue
        counts = sizes.clamp(min=0).tolist()
        if gradient is None:
            ids, rows = table.new_empty(0, dtype=torch.int64), table.new_empty(0, table.shape[1])
        else:
            ids, rows = gradient.indices()[0], gradient.values()
        ids = torch.cat(_collected(ids, counts, "sparse"))
        rows = torch.cat(_collected(rows, counts, "sparse"))
        table.grad = torch.sparse_coo_tensor(ids[None], rows, table.shape, check_invariants=False)


# --- words


@torch.no_grad()
def broadcast(tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors by those of the first process; sharded ones are everyone's own."""
    if peers().together:
        for tensor in tensors:
            if not is_sharded(tensor):
                dist.broadcast(tensor, 0)


def everyones(value: T) -> list[T]:
    """What each process says, by rank."""
    here = peers()
    if not here.together:
        return [value]
    heard: list[Any] = [None] * here.size
    dist.all_gather_object(heard, _at_home(value))
    return heard


def _at_home(value: Any) -> Any:
    """The same with tensors in main memory, through which words go."""
    if isinstance(value, Tensor):
        return value.cpu()
    if isinstance(value, dict):
        return {key: _at_home(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_at_home(item) for item in value)
    return value


def from_first(make: Callable[[], T]) -> T:
    """What the first process makes; the others wait, and get it, or the error that it met."""
    here = peers()
    if not here.together:
        return make()
    box: list[Any] = [None, None]
    if here.leads:
        try:
            box[0] = make()
        except IsthmusError as error:
            box[1] = error
    dist.broadcast_object_list(box, 0)
    if box[1] is not None:
        raise box[1]
    return box[0]


def each(make: Callable[[], T], *, then: Callable[[], None] = lambda: None) -> list[T]:
    """What each process makes by itself, by rank; an error that one met is raised in all.

    Who is through with its own does ``then``, and next hears what the others made.
    """
    made: T | None = None
    failure: IsthmusError | None = None
    with apart():
        try:
            made = make()
        except IsthmusError as error:
            failure = error
    then()
    heard = everyones((made, failure))
    for _, met in heard:
        if met is not None:
            raise met
    return [value for value, _ in heard]  # type: ignore[misc]


# --- what travels


def _summed(x: Tensor, kind: str) -> Tensor:
    sent[kind] += x.numel() * x.element_size()
    dist.all_reduce(x)
    return x


def _everywhere(numbers: Sequence[int]) -> Tensor:
    """The numbers that each process gives, by rank: [processes, numbers] int64 in main memory."""
    own = torch.tensor(numbers)
    heard = [torch.empty_like(own) for _ in range(peers().size)]
    sent["words"] += own.numel() * own.element_size()
    dist.all_gather(heard, own)
    return torch.stack(heard)


def _collected(x: Tensor, sizes: Sequence[int], kind: str) -> list[Tensor]:
    """Rows of every process, of which it has ``sizes``, by rank: padded on their way."""
    longest = max(sizes)
    padded = x.new_zeros(longest, *x.shape[1:])
    padded[: len(x)] = x
    sent[kind] += padded.numel() * padded.element_size()
    heard = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(heard, padded)
    return [rows[:size] for rows, size in zip(heard, sizes, strict=True)]
