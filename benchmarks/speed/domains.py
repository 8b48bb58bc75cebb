"""What dozens of domains cost: parameters and training time of every ranker, at 5 to 60 domains.

    python benchmarks/speed/domains.py [--models star ple] [--rounds 3] [--steps 10] [--check]

Random rows in memory, the same for every number of domains but for their domain, whose sizes fall
as 1, 1/2, 1/3, .. One thread; times are process CPU seconds; the numbers of domains take turns in
every round. Writes ``benchmarks/results/cost.csv``, in which models measured anew replace their old
rows; ``python docs/generate.py --pictures`` makes ``docs/cost.md`` of it. With ``--check``, the
models that have a limit are measured at 6 and 60 domains, nothing is written, and the exit code is
1 if one exceeds it.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}  # before torch is loaded
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import torch  # noqa: E402  the thread settings come first

from benchmarks.speed import cost, workload  # noqa: E402
from benchmarks.speed.clock import interleaved  # noqa: E402
from isthmus import models  # noqa: E402
from isthmus.batch import Impressions  # noqa: E402
from isthmus.data.feed import Feed  # noqa: E402
from isthmus.models import Ranker  # noqa: E402
from isthmus.models.base import Losses, Model  # noqa: E402
from isthmus.models.isolated import Isolated  # noqa: E402
from isthmus.optim import update  # noqa: E402
from isthmus.schema import Feature, Schema  # noqa: E402
from isthmus.training.fit import TrainConfig, make_optimizer  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "cost.csv"
BATCH = 1024
ROWS = 20 * BATCH
EMBEDDING = 16
USER = {"user": 20_000, "age": 8, "city": 400, "device": 6}
ITEM = {"item": 10_000, "brand": 2_000, "category": 200, "price": 12}
CONTEXT = {"hour": 24, "weekday": 7, "place": 30, "channel": 10}
# Its search is timed in speed/aread.py: interval and cost both grow as the domains do.
SETTINGS = {"aread": {"search": {"enabled": False, "warmup_steps": 0}}}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--models", nargs="+", default=rankers(), metavar="NAME")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--steps", type=int, default=10, help="training steps of a round")
    options.add_argument("--check", action="store_true", help="only the limits; writes nothing")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    if chosen.check:
        sys.exit(check(chosen.rounds, chosen.steps))
    if not RESULTS.exists() or chosen.models == rankers():
        keep(cost.rows_of(cost.ISOLATED, {number: isolated(number) for number in cost.DOMAINS}, {}))
    for name in chosen.models:
        rows = measured(name, cost.DOMAINS, chosen.rounds, chosen.steps)
        print(said(rows[-1]), flush=True)
        keep(rows)


def rankers() -> list[str]:
    """Names of all rankers that can be trained."""
    return [name for name in models.names() if issubclass(models.get(name), Ranker)]


def check(rounds: int, steps: int) -> int:
    """Measure the models that have a limit, and nothing else; the exit code."""
    rows = []
    for name in cost.LIMITS:
        rows += measured(name, (cost.FEW, cost.MOST), rounds, steps)
        print(f"{said(rows[-1])}, limit {cost.LIMITS[name]}", flush=True)
    over = cost.over_limit(rows)
    print("\n".join(over), file=sys.stderr)
    return int(bool(over))


def measured(name: str, numbers: tuple[int, ...], rounds: int, steps: int) -> list[cost.Row]:
    """The rows of one model."""
    built = {number: model(name, number) for number in numbers}
    sides = {str(number): _step(built[number], number) for number in numbers}
    turns = {side: lambda it=it: next(it) for side, it in sides.items()}
    seconds = interleaved(turns, rounds=rounds, repeat=dict.fromkeys(turns, steps))
    each = {int(side): [s * 1000 / BATCH for s in taken] for side, taken in seconds.items()}
    return cost.rows_of(name, {number: parameters(m) for number, m in built.items()}, each)


def schema(domains: int) -> Schema:
    """Four features of each role."""
    roles = (("user", USER), ("item", ITEM), ("context", CONTEXT))
    features = tuple(
        Feature(name=name, size=size, role=role) for role, of in roles for name, size in of.items()
    )
    return Schema(features=features, domains=tuple(map(str, range(domains))))


def impressions(domains: int) -> Impressions:
    """The same rows for every number of domains, each domain with some; sizes fall as 1 / rank."""
    g = torch.Generator().manual_seed(0)
    sizes = [*USER.values(), *ITEM.values(), *CONTEXT.values()]
    features = torch.stack([torch.randint(size, (ROWS,), generator=g) for size in sizes], 1)
    label = (torch.rand(ROWS, generator=g) < 0.3).float()
    share = 1 / torch.arange(1, domains + 1)
    domain = torch.multinomial(share, ROWS, replacement=True, generator=g) + 1
    return Impressions(features, domain, label)


def model(name: str, domains: int) -> Model:
    """Default sizes but for the embeddings; AREAD with masks of density 0.6, as after a search."""
    settings = {"embedding_dim": EMBEDDING, **SETTINGS.get(name, {})}
    return workload.model(name, schema(domains), **settings)


def parameters(of: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in of.parameters())


def isolated(domains: int) -> int:
    """Parameters of one MLP a domain, each with the ids that its own rows have."""
    kind = models.get("mlp")
    config = kind.Config(embedding_dim=EMBEDDING)
    return parameters(Isolated.of_rows(config, schema(domains), kind, impressions(domains)))


def _step(of: Model, domains: int) -> Iterator[None]:
    """Each ``next`` is one training step, with whatever the model's own epoch puts around it."""
    rows, config = impressions(domains), TrainConfig()
    feed = Feed(
        rows, batch_size=BATCH, seed=0, valid=rows[:BATCH], unknown_share=config.unknown_share
    )
    optimizer = make_optimizer(of, config)
    of.train()
    for losses in _losses(of, feed):
        update(optimizer, losses)
        yield


def _losses(of: Model, feed: Feed) -> Iterator[Losses]:
    number = 0
    while True:
        yield from of.epoch(feed.epoch(number))
        number += 1


def keep(rows: list[cost.Row]) -> None:
    cost.write(RESULTS, cost.merged(cost.read(RESULTS), rows))


def said(row: cost.Row) -> str:
    return (
        f"{row['model']:14} at {row['domains']} domains: {int(row['parameters']):>11,} parameters, "
        f"{1000 * float(row['cpu_s_per_1000_rows']):6.1f} CPU-ms / 1,000 rows, "
        f"{row['ratio_to_6']} x that of {cost.FEW} domains "
        f"({row['ratio_to_6_low']} to {row['ratio_to_6_high']})"
    )


if __name__ == "__main__":
    main()
