"""What is timed: each case gives the CPU seconds of its sides, round by round."""

import itertools
from collections.abc import Callable, Iterator

import torch
from tests.oracles import plain_aread, plain_search
from torch import nn

from benchmarks.speed import workload
from benchmarks.speed.clock import interleaved
from isthmus.batch import Impressions
from isthmus.data.feed import EpochFeed
from isthmus.inference import probabilities
from isthmus.models.hemp import SearchConfig, candidates
from isthmus.nn import EmbeddingTable
from isthmus.optim import RowAdam, update
from isthmus.training.fit import TrainConfig, make_optimizer

BATCH = 1024
Seconds = dict[str, list[float]]


def _endless(rows: Impressions) -> Iterator[Impressions]:
    feed = workload.feed({"train": rows, "valid": rows[:0]})
    for number in itertools.count():
        yield from (b for b in feed.epoch(number).shuffled() if len(b) == BATCH)


def step(model: nn.Module, rows: Impressions) -> Callable[[], None]:
    """One training step of ours."""
    batches, optimizer = _endless(rows), make_optimizer(model, TrainConfig())
    model.train()
    return lambda: update(optimizer, model.losses(next(batches)))


def plain_step(plain: nn.Module, rows: Impressions) -> Callable[[], None]:
    """One training step of the plain version: dense Adam with dense L2, as published."""
    batches = _endless(rows)
    optimizer = torch.optim.Adam(plain.parameters(), 1e-3, betas=(0.9, 0.99), weight_decay=2e-5)
    plain.train()

    def once() -> None:
        batch = next(batches)
        optimizer.zero_grad()
        plain.loss(batch.features, batch.domain, batch.label).backward()
        optimizer.step()

    return once


def training(rows: Impressions, rounds: int) -> Seconds:
    """Masked training steps of both sides, with a small and a large table."""
    sides = {}
    for name, items in (("0.32M", workload.IDS["itemid"]), ("1.6M", workload.LARGE)):
        ours = workload.model("aread", workload.schema(items))
        here = workload.spread(rows, items)
        sides[f"ours {name}"] = step(ours, here)
        sides[f"plain {name}"] = plain_step(plain_aread.like(ours), here)
    repeat = {name: 6 if name.startswith("ours") else 1 for name in sides}
    return interleaved(sides, rounds=rounds, repeat=repeat)


def embedding(rows: Impressions, rounds: int) -> Seconds:
    """Look-up of 1024 x 14 ids, backward and update of the table alone."""
    sides = {}
    for name, size in (("0.32M", 322_443), ("1.6M", 1_590_730)):
        g = torch.Generator().manual_seed(0)
        ids = torch.randint(size, (32, BATCH, 14), generator=g)
        table = EmbeddingTable(size, 32)
        dense = nn.Embedding(size, 32)
        sides[f"ours {name}"] = _table_step(table, RowAdam([table.weight], l2=1e-5), ids)
        adam = torch.optim.Adam(dense.parameters(), 1e-3, betas=(0.9, 0.99), weight_decay=2e-5)
        sides[f"plain {name}"] = _table_step(dense, adam, ids)
    repeat = {name: 10 if name.startswith("ours") else 1 for name in sides}
    return interleaved(sides, rounds=rounds, repeat=repeat)


def _table_step(
    table: nn.Module, optimizer: torch.optim.Optimizer, ids: torch.Tensor
) -> Callable[[], None]:
    turn = itertools.cycle(ids)
    grad = torch.randn(BATCH, 14, 32)

    def once() -> None:
        optimizer.zero_grad()
        table(next(turn)).backward(grad)
        optimizer.step()

    return once


def search(rows: dict[str, Impressions], rounds: int, number: int, domains: list[int]) -> Seconds:
    """A whole search of ours, and plain searches of some domains (to be scaled)."""
    config = SearchConfig(candidates=number, batch_size=BATCH, updates=5, scorings=5)
    ours = workload.model("aread", workload.schema(), search=config.model_dump())
    epoch = workload.feed(rows).epoch(0)
    extra = ours._counterfactuals(epoch)
    sides: dict[str, Callable[[], object]] = {"ours": lambda: ours.search(epoch, extra)}
    for domain in domains:
        sides[f"plain {domain}"] = _plain_search(ours, epoch, extra, domain, config)
    return interleaved(sides, rounds=rounds)


def default_search(rows: dict[str, Impressions], rounds: int) -> Seconds:
    """A whole search at the settings that users get."""
    ours = workload.model("aread", workload.schema())
    epoch = workload.feed(rows).epoch(0)
    extra = ours._counterfactuals(epoch)
    return interleaved({"ours": lambda: ours.search(epoch, extra)}, rounds=rounds)


def _plain_search(
    ours: nn.Module, epoch: EpochFeed, extra: Impressions, domain: int, config: SearchConfig
) -> Callable[[], object]:
    plain = plain_aread.like(ours)
    present = [level[domain] for level in ours.hierarchy.mask]
    gates = [g[domain].detach() for g in ours.hierarchy.gates(ours.embed.domain.weight)]
    start = candidates(present, gates, config, torch.Generator().manual_seed(0))
    draws = ours._draws(epoch, extra, domain, epoch.rng)

    def once() -> object:
        fit = list(itertools.islice(draws.fit, config.updates))
        score = list(itertools.islice(draws.score, config.scorings))
        return plain_search.search(plain, domain, start, fit, score, config, keeps_first=True)

    return once


def domains(rows: Impressions, rounds: int) -> Seconds:
    """Steps at 6 and at 60 domains."""
    sides = {}
    for name, number in itertools.product(("aread", "mmoe"), (6, 60)):
        here = workload.schema(domains=number)
        model = workload.model(name, here)
        sides[f"{name} {number}"] = step(model, workload.redrawn(rows, number))
    return interleaved(sides, rounds=rounds, repeat=dict.fromkeys(sides, 6))


def feeding(rows: dict[str, Impressions], rounds: int) -> Seconds:
    """One whole shuffled epoch."""
    feed, numbers = workload.feed(rows), itertools.count()

    def once() -> None:
        for _ in feed.epoch(next(numbers)).shuffled():
            pass

    return interleaved({"ours": once}, rounds=rounds)


def scoring(rows: Impressions, rounds: int) -> Seconds:
    """Probabilities of 16,384 rows, in batches of two sizes."""
    ours = workload.model("aread", workload.schema()).eval()
    plain, part = plain_aread.like(ours).eval(), rows[:16_384]

    @torch.inference_mode()
    def plainly() -> None:
        for start in range(0, 4 * BATCH, BATCH):
            batch = part[start : start + BATCH]
            plain.probability(batch.features, batch.domain)

    sides: dict[str, Callable[[], object]] = {
        f"ours {size}": lambda size=size: probabilities(ours, part, batch_size=size)
        for size in (1024, 4096)
    }
    seconds = interleaved({**sides, "plain": plainly}, rounds=rounds)
    seconds["plain"] = [4 * value for value in seconds["plain"]]
    return seconds
