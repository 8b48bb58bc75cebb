"""Leave-out runs: which groups each leaves out, and what the scores say that each gives to each.

A target's score is regressed on which sources were there, over many runs that each leave out about
a third of all groups. One run thereby speaks of all pairs at once, where a design of pairs would
spend a run on each (the idea of datamodels, Ilyas et al., ICML 2022, with domains for rows).

Shape letters: N runs, G groups, M runs that have a score of the target, S = G - 1 sources.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from isthmus.errors import ConfigError
from isthmus.evaluation.predictions import Floats

Booleans = npt.NDArray[np.bool_]
OUT = 1 / 3
"""Share of the runs that leave a group out.

Only runs in which a target is present tell of it, (1 - q) N of N; among these a source is absent in
a share q. The variance of its effect goes as 1 / (q (1 - q)^2 N), which q = 1/3 makes smallest.
"""
FEWEST = 7
"""Runs for three groups: less tells nothing."""
_PENALTIES = np.logspace(-2, 3, 51)
_SWAPS = 60  # tries a cell of the design
_MOST_SWAPS = 200_000


def most_groups(runs: int) -> int:
    """Groups that so many runs can tell apart: two thirds have a target, and 3/2 are wanted an unknown."""
    return int(runs * (1 - OUT) / 1.5)


def fewest_runs(groups: int) -> int:
    """The reverse of ``most_groups``."""
    return max(FEWEST, math.ceil(groups * 1.5 / (1 - OUT)))


def runs_for(effect: float, noise: float) -> int:
    """Runs after which an effect is two standard errors, where a score varies by ``noise`` between runs.

    From the variance of a difference in a balanced design, noise^2 / (q (1 - q)^2 N).
    """
    return math.ceil((2 * noise / effect) ** 2 / (OUT * (1 - OUT) ** 2))


def design(groups: int, runs: int, *, seed: int = 0) -> Booleans:
    """Which groups each run leaves out: [N, G]; the first run leaves out none.

    Every group is left out of as many runs, any two together as often as if by independent chance.
    Runs are of different sizes on purpose: were all equally large, one source's presence would
    follow from the others', and what they give in common could not be told.

    Raises:
        ConfigError: fewer than three groups, or fewer than ``FEWEST`` runs.
    """
    if groups < 3 or runs < FEWEST:
        raise ConfigError(
            f"found {groups} groups and a budget of {runs} runs; expected at least 3 groups and "
            f"{FEWEST} runs to leave groups out in"
        )
    rng = np.random.default_rng(seed)
    once = np.zeros((runs - 1, 1), bool)
    once[: round((runs - 1) * OUT)] = True
    out = rng.permuted(np.repeat(once, groups, axis=1), axis=0)
    while out.all(1).any():  # a run of nothing
        out = rng.permuted(out, axis=0)
    _balance(out, rng)
    return np.concatenate([np.zeros((1, groups), bool), out])


def _balance(out: Booleans, rng: np.random.Generator) -> None:
    """Swap cells within columns as long as pairs come no farther from what chance would give them."""
    runs, groups = out.shape
    excess = (out.T.astype(np.int64) @ out) - float(out[:, 0].sum()) ** 2 / runs
    for _ in range(min(_SWAPS * out.size, _MOST_SWAPS)):
        group, one, other = rng.integers([groups, runs, runs]).tolist()
        if not out[one, group] or out[other, group] or out[other].sum() == groups - 1:
            continue
        moved = out[other].astype(np.float64) - out[one]
        moved[group] = 0
        if moved @ (2 * excess[group] + moved) <= 0:
            excess[group] += moved
            excess[:, group] += moved
            out[one, group], out[other, group] = False, True


@dataclass(frozen=True, slots=True)
class Effects:
    """What the runs say.

    ``effect[j, i]`` is how much higher target i scores when source j is there, ``error`` its
    standard error, both [G, G] and NaN on the diagonal and where a target has too few scores.
    ``noise`` [G] is the standard deviation of a score between runs of one design. ``penalty`` is
    the ratio of the noise's variance to the effects', by which they are shrunk.
    """

    effect: Floats
    error: Floats
    noise: Floats
    penalty: float


def effects(out_NG: Booleans, score_NG: Floats) -> Effects:
    """Ridge regression of each target's score on the presence of every source.

    Args:
        out_NG: what each run left out.
        score_NG: the score of each group in each run, NaN where there is none. Runs that left
            the target out are not read: with none of its own rows it is another question.

    The penalty is one for all targets, that of the highest marginal likelihood (empirical Bayes:
    effects drawn from N(0, noise^2 / penalty)); errors are those of the posterior. What the runs
    cannot tell apart is thereby drawn to 0 and has a wide error, and never a wild figure. Errors
    are over trainings, on these validation rows.
    """
    groups = out_NG.shape[1]
    fits = {i: _Fit.of(out_NG, score_NG, i) for i in range(groups)}
    known = {i: fit for i, fit in fits.items() if fit is not None}
    effect, error = np.full((2, groups, groups), np.nan)
    noise = np.full(groups, np.nan)
    likelihood = [sum(fit.likelihood(p) for fit in known.values()) for p in _PENALTIES]
    penalty = float(_PENALTIES[int(np.argmax(likelihood))])
    for i, fit in known.items():
        sources = np.arange(groups) != i
        effect[sources, i], error[sources, i] = fit.posterior(penalty)
        noise[i] = math.sqrt(fit.variance(penalty))
    return Effects(effect, error, noise, penalty)


@dataclass(frozen=True, slots=True)
class _Fit:
    """One target's regression, its centred design taken apart: X = U diag(s) V'."""

    s: Floats
    vt: Floats
    z: Floats  # U'y
    rest: float  # |y|^2 - |z|^2
    freedom: int  # runs - 1, for the mean

    @classmethod
    def of(cls, out_NG: Booleans, score_NG: Floats, target: int) -> "_Fit | None":
        used = ~out_NG[:, target] & np.isfinite(score_NG[:, target])
        if used.sum() < 3:
            return None
        x_MS = np.delete(~out_NG[used], target, axis=1).astype(np.float64)
        y_M = score_NG[used, target]
        u, s, vt = np.linalg.svd(x_MS - x_MS.mean(0), full_matrices=False)
        y_M = y_M - y_M.mean()
        z = u.T @ y_M
        return cls(s, vt, z, max(float(y_M @ y_M - z @ z), 0.0), len(y_M) - 1)

    def variance(self, penalty: float) -> float:
        """Of the noise, as it is most likely at this penalty."""
        explained = float((self.z**2 / (1 + self.s**2 / penalty)).sum())
        return max((explained + self.rest) / self.freedom, 1e-18)

    def likelihood(self, penalty: float) -> float:
        """Logarithm of the marginal likelihood, the noise's variance at its best, up to a constant."""
        spread = float(np.log1p(self.s**2 / penalty).sum())
        return -0.5 * (self.freedom * math.log(self.variance(penalty)) + spread)

    def posterior(self, penalty: float) -> tuple[Floats, Floats]:
        """Mean and standard deviation of each source's effect, [S] each."""
        mean = self.vt.T @ (self.z * self.s / (self.s**2 + penalty))
        shrunk = self.s**2 / (self.s**2 + penalty)
        left = (1 - self.vt.T**2 @ shrunk) / penalty
        return mean, np.sqrt(self.variance(penalty) * np.maximum(left, 0.0))
