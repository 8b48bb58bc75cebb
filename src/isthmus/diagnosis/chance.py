"""What chance gives: limits for many domains at once, and each domain's figure with its error."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from isthmus.evaluation import Comparison, Predictions, Ranks
from isthmus.evaluation.either import compared as paired
from isthmus.evaluation.either import rules_of
from isthmus.evaluation.panel import Arm, Panel
from isthmus.evaluation.predictions import Floats
from isthmus.evaluation.ranks import METRIC
from isthmus.evaluation.variance import Estimate, clustered, clustered_mean

ALPHA = 0.01
"""Rate of false alarms of one check on a healthy run, over all its domains: a dozen checks ask
statistical questions, and nobody reads a diagnosis that errs every other time."""
ENOUGH = 10
"""Rows of each label below which a domain is not judged: as ``Rules.min_class``."""
SHOWN = 4
"""Domains whose figures a message spells out; the finding names all of them."""


def limit(tests: int) -> float:
    """Standard errors that the largest of so many figures exceeds by chance at rate ``ALPHA``.

    Two-sided and after Bonferroni: figures of domains need not be independent.
    """
    return -float(special.ndtri(ALPHA / 2 / max(tests, 1)))


def error(e: Estimate) -> float:
    """Standard error; infinite where it is not known."""
    return math.sqrt(e.variance) if e.variance >= 0 else math.inf


def figures(table: Predictions | Ranks) -> dict[int, Estimate]:
    """Each known domain's AUC (of ranks its ``METRIC``), where there are rows enough to say it."""
    return _means(table) if isinstance(table, Ranks) else _aucs(table)


def _aucs(p: Predictions) -> dict[int, Estimate]:
    panel = Panel.of(p)
    arm = Arm.of_scores(panel, [panel.scores(p)])
    found = {}
    for d in range(1, len(panel.names)):
        rows, auc = panel.rows(d), float(arm.auc[0, d])
        ones = int(panel.label[rows].sum())
        if min(ones, len(panel.label[rows]) - ones) < ENOUGH:
            continue
        variance, units = clustered(arm.influence[rows], panel.label[rows], panel.users(rows))
        found[d] = Estimate(auc, variance, max(units - 1, 1), units)
    return found


def _means(r: Ranks) -> dict[int, Estimate]:
    values = r.values(METRIC)
    return {d: mean(values[rows], r.user[rows]) for d, rows in by_domain(r) if rows.sum() >= ENOUGH}


def by_domain(table: Predictions | Ranks) -> list[tuple[int, np.ndarray]]:
    """Ids of the known domains, and which rows are theirs, [N]."""
    return [(d, table.domain == d) for d in range(1, len(table.domains) + 1)]


def mean(values: Floats, user: np.ndarray) -> Estimate:
    """A mean, users as clusters."""
    value = float(values.mean())
    variance, units = clustered_mean((values - value) / len(values), user)
    return Estimate(value, variance, max(units - 1, 1), units)


def compared(
    one: Sequence[Predictions | Ranks], other: Sequence[Predictions | Ranks], alpha: float
) -> Comparison:
    """The paired test of two models, of whichever kind both are."""
    return paired(one, other, rules_of(one[0], alpha=alpha))


def named(parts: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = f"; and {len(parts) - SHOWN} more" if len(parts) > SHOWN else ""
    return "; ".join(parts[:SHOWN]) + more


def of(count: int, total: int, noun: str = "domain") -> str:
    """ "3 of 61 domains", "1 of 1 domain"."""
    return f"{count:,} of {total:,} {noun}{'s' if total != 1 else ''}"
