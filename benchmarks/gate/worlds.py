"""Worlds in which the true difference of candidate and incumbent is known, in every domain.

Domains of several sizes share their users, of whom some have many rows and most few. The scores of
both models have parts in common: of the user, of the row, and of the user in one model alone, so
that differences are clustered by user as well. In the worlds called *collapse* the candidate is the
incumbent itself, but for a few users of whom it knows nothing: losses are rare and large.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from isthmus.evaluation.gate import judge
from isthmus.evaluation.gate_tables import RankTable, ScoreTable, Table
from isthmus.evaluation.gate_types import Gate, GateRules
from isthmus.evaluation.panel import Arm, Panel
from isthmus.evaluation.rank_compare import Paired
from isthmus.evaluation.rules import Rules

Kind = Literal["scores", "scores, collapse", "ranks", "sparse ranks", "ranks, collapse"]
KINDS: tuple[Kind, ...] = (
    "scores",
    "scores, collapse",
    "ranks",
    "sparse ranks",
    "ranks, collapse",
)
SIZES = (60, 120, 300, 1000, 3000)
"""Rows of each domain."""
POSITIVE = 0.3
AUC = 0.75
RANKED = {"ranks": 0.3, "sparse ranks": 0.06, "ranks, collapse": 0.3}
"""NDCG@10 of the incumbent."""
CANDIDATES = 200
SHARED = {"user": 0.2, "row": 0.5, "user of one model": 0.1, "row of one model": 0.2}
"""Parts of the variance of a latent score."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Design:
    """Rows of all domains, [N], in order of domain: what does not change with the models."""

    domain: Ints
    user: Ints
    label: npt.NDArray[np.int8]

    @classmethod
    def drawn(cls, rng: np.random.Generator, sizes: tuple[int, ...] = SIZES) -> "Design":
        """A third as many users as rows; how many rows a user has varies widely."""
        users = []
        for size in sizes:
            busy = rng.lognormal(size=size // 3)
            users.append(rng.choice(len(busy), size, p=busy / busy.sum()))
        label = rng.random(sum(sizes)) < POSITIVE
        domain = np.repeat(np.arange(1, len(sizes) + 1), sizes)
        return cls(domain, np.concatenate(users), label.astype(np.int8))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{n} rows" for n in np.bincount(self.domain)[1:])


def gates(
    kind: Kind,
    rules: GateRules,
    repetitions: int,
    *,
    loss: float,
    seed: int = 0,
    sizes: tuple[int, ...] = SIZES,
) -> list[Gate]:
    """The gate on so many fresh draws; in each domain the candidate is worse by ``loss``."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(repetitions):
        design = Design.drawn(rng, sizes)
        found.append(judge(table(kind, design, loss, rng), rules, metric=metric(kind)))
    return found


def metric(kind: Kind) -> str:
    return "AUC" if kind.startswith("scores") else "ndcg@10"


def table(kind: Kind, design: Design, loss: float, rng: np.random.Generator) -> Table:
    """One draw of both models' scores or ranks on these rows."""
    latent = _latent(design, rng)
    lost = None
    if kind.endswith("collapse"):
        latent[1] = latent[0]
        lost = rng.random(design.user.max() + 1)[design.user]
    if kind.startswith("scores"):
        return _scores(design, latent, lost, loss, rng)
    return _ranks(RANKED[kind], design, latent, lost, loss)


def _latent(design: Design, rng: np.random.Generator) -> Floats:
    """Standard normal, [2, N], with the parts in common that ``SHARED`` says."""
    users, rows = design.user.max() + 1, len(design.user)
    parts = {
        "user": rng.normal(size=users)[design.user],
        "row": rng.normal(size=rows),
        "user of one model": rng.normal(size=(2, users))[:, design.user],
        "row of one model": rng.normal(size=(2, rows)),
    }
    return sum(np.sqrt(share) * parts[name] for name, share in SHARED.items())


def _scores(
    design: Design, latent: Floats, lost: Floats | None, loss: float, rng: np.random.Generator
) -> Table:
    """Binormal: AUC = Phi(d / sqrt 2) where positives stand d higher than negatives."""
    apart = np.sqrt(2) * special.ndtri([AUC, AUC if lost is not None else AUC - loss])
    scores = latent + apart[:, None] * design.label
    if lost is not None:
        blind = lost < _share_lost(loss)
        scores[1, blind] = rng.normal(size=int(blind.sum())) + apart[0] / 2
    rules = Rules()
    bounds = np.searchsorted(design.domain, np.arange(len(design.names) + 2))
    rows = np.arange(len(design.user))
    panel = Panel(
        ("(unknown)", *design.names), bounds, rows, rows, design.domain.astype(np.int32),
        design.label, design.user,
    )  # fmt: skip
    incumbent, candidate = (Arm.of_scores(panel, [score]) for score in scores)
    return ScoreTable.of(panel, candidate, incumbent, rules)


def _share_lost(loss: float) -> float:
    """The share q of users with scores of no meaning at which the AUC is lower by ``loss``.

    Their scores lie between those of positives and negatives: of pairs of such a row with another
    P(half the distance) is in the right order, of pairs among them one half.
    """
    half = special.ndtr(special.ndtri(AUC) / 2)

    def lower(q: float) -> float:
        auc = (1 - q) ** 2 * AUC + 2 * q * (1 - q) * half + q**2 / 2
        return float(AUC - auc - loss)

    return float(optimize.brentq(lower, 0, 1))


def _ranks(ndcg: float, design: Design, latent: Floats, lost: Floats | None, loss: float) -> Table:
    """The place is ``CANDIDATES`` x u^power for an even u; the power makes the mean NDCG@10."""
    even = special.ndtr(latent)
    wanted = (ndcg, ndcg if lost is not None else ndcg - loss)
    values = np.array([_ndcg(u ** _power(mean)) for u, mean in zip(even, wanted, strict=True)])
    if lost is not None:
        values[1, lost < loss / ndcg] = 0.0
    paired = Paired(
        names=("(unknown)", *design.names),
        domain=design.domain,
        user=design.user,
        cold=np.zeros(len(design.user), bool),
        either=values.max(axis=0) > 0,
        second=values[:1],
        difference=values[1:] - values[:1],
    )
    return RankTable(paired, Rules())


def _ndcg(place: Floats) -> Floats:
    above = np.floor(CANDIDATES * place)
    return np.where(above < 10, 1 / np.log2(above + 2), 0.0)


@lru_cache
def _power(mean: float) -> float:
    grid = (np.arange(20_000) + 0.5) / 20_000
    return float(optimize.brentq(lambda power: _ndcg(grid**power).mean() - mean, 0.05, 50))
