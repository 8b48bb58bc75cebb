"""How fast SyNCRec trains, what domains cost it (one packed pass against one for each), and SASRec.

    python benchmarks/speed/syncrec.py [--rounds 5] [--out FILE]

Users, their lengths and the sizes are those that the published step was timed with: histories of at
most 50 items, 22 on average, hidden 64, 5 experts, 2 layers, dropout .5, the loss against one
negative. SASRec: full histories, one domain of 3,100 items, dropout .2. One thread; process CPU
seconds; the sides take turns in every round.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}  # before torch is loaded
ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import torch  # noqa: E402  the thread settings come first

from benchmarks.speed.clock import interleaved, median, ratio  # noqa: E402
from isthmus.batch import Histories  # noqa: E402
from isthmus.models.sasrec import SASRec  # noqa: E402
from isthmus.models.syncrec import SyNCRec  # noqa: E402
from isthmus.nn.sequence import Tokens  # noqa: E402
from isthmus.optim import update  # noqa: E402
from isthmus.schema import Schema  # noqa: E402
from isthmus.training.fit import TrainConfig, make_optimizer  # noqa: E402

LENGTH, ITEMS = 50, 14_853
PUBLISHED = {5: 33.5, 25: 8.4}  # samples a CPU-second of the published step, hidden 64
TARGET = {5: 250, 25: 220}
USERS = {5: 128, 25: 64}  # of a batch, as there
ONE_NEGATIVE = {"loss": "bce", "negatives": 1, "candidates": "all"}


def schema(domains: int) -> Schema:
    """Items in equal shares."""
    share = ITEMS // domains
    return Schema(
        features=(),
        domains=tuple(map(str, range(domains))),
        items=1 + share * domains,
        max_history=LENGTH,
        domain_items=(share,) * domains,
    )


def histories(of: Schema, users: int, seed: int = 0) -> Histories:
    """Users of skewed lengths: 22 targets on average, one in eight with a full history."""
    g = torch.Generator().manual_seed(seed)
    size = torch.empty(users, 1).exponential_(1 / 25, generator=g).long().clamp(3, LENGTH)
    items = torch.randint(1, of.items, (users, LENGTH + 1), generator=g)
    share = of.domain_items[0]
    domains = (items - 1) // share + 1
    padded = torch.arange(LENGTH) < LENGTH - size
    return Histories(
        items[:, :-1].masked_fill(padded, 0),
        domains[:, :-1].masked_fill(padded, 0),
        items[:, -1],
        domains[:, -1],
    )


class Looped(SyNCRec):
    """The same model with a pass for the cross sequences and one more for each domain's.

    As the published code, each pass takes all users, padded, through all experts.
    """

    def _encoded(self, tokens, own_NH, cross_NH):
        experts, first = self.config.num_experts, self.config.cross_experts
        users = int(tokens.user.max()) + 1
        order, by_own = [], []
        for domain in range(1, len(self.gap_D)):
            at = (tokens.domain == domain).nonzero()[:, 0]
            place = tokens.user[at] * LENGTH1 + tokens.own.position[at]
            by_own.append(self._padded(own_NH[at], place, users, range(first, experts)))
            order.append(at)
        everyone = tokens.user * LENGTH1 + tokens.cross.position
        by_cross = self._padded(cross_NH, everyone, users, range(first))
        at = tokens.place[torch.cat(order)]
        empty = own_NH.new_zeros(experts, tokens.rows * tokens.slots, own_NH.shape[1])
        return (
            (empty.index_copy(1, at, torch.cat(by_own, 1)),),
            (empty.index_copy(1, tokens.place, by_cross),),
        )

    def _padded(self, x_XH, place_X, users, taught):
        """Each expert on its own over padded rows; those that are not ``taught`` without gradient."""
        slots_PH = x_XH.new_zeros(users * LENGTH1, x_XH.shape[1]).index_copy(0, place_X, x_XH)
        mask = torch.full((users, 1, LENGTH1, LENGTH1), float("-inf")).triu(1)
        outs = []
        for k, expert in enumerate(self.alone):
            with torch.set_grad_enabled(k in taught):
                outs.append(expert(slots_PH[None], mask)[0].index_select(0, place_X))
        return torch.stack(outs)

    @property
    def alone(self) -> list[Callable[..., torch.Tensor]]:
        """The experts one by one."""
        names, views = dict(self.experts.named_parameters()), []
        for k in range(self.config.num_experts):
            own = {name: value[k : k + 1] for name, value in names.items()}
            views.append(lambda *x, own=own: torch.func.functional_call(self.experts, own, x))
        return views


LENGTH1 = LENGTH + 1


def step(kind: type[SyNCRec], domains: int, users: int, **settings: object) -> Callable[[], None]:
    """One training step on one batch."""
    torch.manual_seed(0)
    of = schema(domains)
    values = {"embedding_dim": 64, "dropout": 0.5, **settings}
    model = kind(SyNCRec.Config.model_validate(values), of)
    optimizer, batch = make_optimizer(model, TrainConfig()), histories(of, users)
    return lambda: update(optimizer, model.losses(batch))


EPOCH, SASREC_ITEMS, SASREC_USERS = 834_000, 3_100, 64  # targets of an epoch, as of MovieLens-1M
PLAIN = {"softmax": 75, "sampled_softmax": 30}  # CPU-seconds an epoch, a plain prototype


def sasrec_step(loss: str) -> Callable[[], None]:
    """One step of SASRec on full histories of one domain."""
    torch.manual_seed(0)
    of = Schema(
        features=(),
        domains=("all",),
        items=1 + SASREC_ITEMS,
        max_history=LENGTH,
        domain_items=(SASREC_ITEMS,),
    )
    model = SASRec(SASRec.Config.model_validate({"loss": loss}), of)
    items = torch.randint(1, of.items, (SASREC_USERS, LENGTH + 1))
    ones = torch.ones_like(items)
    batch = Histories(items[:, :-1], ones[:, :-1], items[:, -1], ones[:, -1])
    optimizer = make_optimizer(model, TrainConfig())
    return lambda: update(optimizer, model.losses(batch))


def check() -> None:
    """Both sides are the same function."""
    of = schema(5)
    batch, found = histories(of, 8), []
    for kind in (SyNCRec, Looped):
        torch.manual_seed(0)
        model = kind(SyNCRec.Config(embedding_dim=16, dropout=0.0), of)
        found.append(torch.stack(list(model.losses(batch).values())))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/speed_syncrec.json")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    check()
    sides = {}
    for domains, users in USERS.items():
        sides[f"packed {domains}"] = step(SyNCRec, domains, users, **ONE_NEGATIVE)
        sides[f"softmax {domains}"] = step(SyNCRec, domains, users)
        sides[f"looped {domains}"] = step(Looped, domains, users, **ONE_NEGATIVE)
    sides["packed 25, as many users"] = step(SyNCRec, 25, USERS[5], **ONE_NEGATIVE)
    for loss in PLAIN:
        sides[f"sasrec {loss}"] = sasrec_step(loss)
    seconds = interleaved(sides, rounds=chosen.rounds)
    lines = {}
    for domains, users in USERS.items():
        packed, looped = seconds[f"packed {domains}"], seconds[f"looped {domains}"]
        lines[f"D = {domains}"] = {
            "packed, samples / CPU-s": users / median(packed),
            "full softmax over the domain, samples / CPU-s": users
            / median(seconds[f"softmax {domains}"]),
            "plain loop, samples / CPU-s": users / median(looped),
            "loop over packed, time": ratio(looped, packed),
            "published, samples / CPU-s": PUBLISHED[domains],
            "target, samples / CPU-s": TARGET[domains],
        }
    lines["step at 25 domains over 5, time"] = ratio(
        seconds["packed 25, as many users"], seconds["packed 5"]
    )
    for loss, plain in PLAIN.items():
        a_step = median(seconds[f"sasrec {loss}"])
        lines[f"SASRec, {loss}"] = {
            "CPU-s an epoch of 834k targets": a_step * EPOCH / (SASREC_USERS * (LENGTH + 1)),
            "plain prototype": plain,
        }
    of = Tokens.of(histories(schema(5), USERS[5]), LENGTH)
    lines["targets a user"] = len(of.user) / USERS[5]
    text = json.dumps({"lines": lines, "load": os.getloadavg()[0], "seconds": seconds}, indent=1)
    chosen.out.write_text(text + "\n", encoding="utf-8")
    print(json.dumps(lines, indent=1))


if __name__ == "__main__":
    main()
