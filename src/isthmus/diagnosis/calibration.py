"""Checks of what a score promises: the click rate that comes, domain by domain."""

import math

import numpy as np

from isthmus.diagnosis.chance import ENOUGH, by_domain, error, limit, named, of
from isthmus.diagnosis.evidence import Evidence, Scored
from isthmus.diagnosis.registry import NotApplicable, Observed, check
from isthmus.diagnosis.types import Severity
from isthmus.evaluation import Predictions
from isthmus.evaluation.metrics import BIN_ROWS, BINS, calibration_error
from isthmus.evaluation.predictions import Floats
from isthmus.evaluation.ranking import Ranked
from isthmus.evaluation.variance import Estimate, clustered_mean

BAND = 1.25
"""A ratio within 1/1.25 to 1.25 is let pass: bids and blending tolerate a fifth, and click rates move
by as much from week to week."""
UNEVEN = 0.03
"""Calibration error beyond a domain's mean: 3 clicks in 100 impressions put wrong."""


def scores_of(table: Scored | None) -> Predictions:
    """The scores of a ranker. Raises NotApplicable for ranks of items."""
    if not isinstance(table, Predictions):
        raise NotApplicable("a retriever ranks items, and promises no click rate")
    return table


def log_ratios(p: Predictions) -> dict[int, Estimate]:
    """Log of mean score over mean label by domain (delta method, users as clusters)."""
    found = {}
    for d, rows in by_domain(p):
        score, label, user = p.score[rows], p.label[rows], p.user[rows]
        ones, promised = int(label.sum()), float(score.sum())
        if ones < ENOUGH or promised <= 0:
            continue
        variance, units = clustered_mean(score / promised - label / ones, user)
        found[d] = Estimate(math.log(promised / ones), variance, max(units - 1, 1), units)
    return found


@check(
    "ISTH301",
    Severity.warning,
    "A domain's scores promise too much or too little",
    looks_at="mean score over mean label of a domain's test rows: its interval, users as clusters "
    f"and corrected over the domains, lies outside {1 / BAND:g} to {BAND:g}",
    remedy="calibrate by domain on validation rows before scores are compared across domains or "
    "used as probabilities; AUC is not concerned",
    needs="test",
)
def ratio(e: Evidence) -> Observed:
    ratios = log_ratios(scores_of(e.test))
    z = limit(len(ratios))
    off = {d: r for d, r in ratios.items() if abs(r.value) - z * error(r) > math.log(BAND)}
    if off:
        worst = sorted(off, key=lambda d: -abs(off[d].value))
        parts = [f"{e.name(d)} {_interval(off[d], z)}" for d in worst]
        yield (
            f"{of(len(off), len(ratios))} with clicks enough: {named(parts)} times the clicks that came",
            tuple(map(e.name, worst)),
        )


def _interval(r: Estimate, z: float) -> str:
    low, value, high = (math.exp(r.value + side * z * error(r)) for side in (-1, 0, 1))
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


@check(
    "ISTH302",
    Severity.warning,
    "A domain's scores are right on average only",
    looks_at="calibration error over bins of a domain's test rows, less what the mean alone "
    f"explains and less what chance gives at this size: above {UNEVEN}",
    remedy="calibrate by domain with a curve (isotonic or Platt) and not by one factor; or train "
    "longer: scores may be too bold or too timid",
    needs="test",
)
def uneven(e: Evidence) -> Observed:
    p = scores_of(e.test)
    large = [(d, rows) for d, rows in by_domain(p) if rows.sum() >= 4 * BIN_ROWS]
    if not large:
        raise NotApplicable(f"no domain has {4 * BIN_ROWS} test rows")
    z = limit(len(large))
    found = []
    for d, rows in large:
        score, label = p.score[rows], p.label[rows]
        ece = calibration_error(Ranked.of(label, score))
        bias = abs(float((score - label).mean()))
        if ece - bias - _by_chance(score, score - label, p.user[rows], z) > UNEVEN:
            found.append((ece, bias, d))
    if found:
        found.sort(reverse=True)
        parts = [f"{e.name(d)} {ece:.3f} (of which the mean {bias:.3f})" for ece, bias, d in found]
        yield (
            f"calibration error of {of(len(found), len(large))}: {named(parts)}",
            tuple(e.name(d) for _, _, d in found),
        )


def _by_chance(score: Floats, miss: Floats, user: np.ndarray, z: float) -> float:
    """Calibration error of a calibrated model at most, at ``z`` standard errors.

    A bin of rows with probabilities p misses by a normal number of variance sum p (1 - p), times
    what users' rows being alike adds to it; the mean of its size is sqrt(2 / pi) of its deviation.
    """
    spread = score * (1 - score)
    clustering, _ = clustered_mean(miss - miss.mean(), user)
    alike = max(1.0, clustering / max(float(spread.sum()), 1e-12))
    bins = max(1, min(BINS, len(score) // BIN_ROWS))
    parts = np.array_split(spread[np.argsort(score)], bins)
    variance = np.array([part.sum() for part in parts]) * alike
    expected = math.sqrt(2 / math.pi) * float(np.sqrt(variance).sum())
    deviation = math.sqrt((1 - 2 / math.pi) * float(variance.sum()))
    return (expected + z * deviation) / len(score)


@check(
    "ISTH303",
    Severity.warning,
    "Calibration moved between validation and test",
    looks_at="mean score over mean label of a domain, in test against validation: by a factor "
    f"above {BAND:g}, and beyond chance over the domains (the splits taken as independent)",
    remedy="the click rate of these domains moves faster than the model is trained: calibrate on "
    "the newest rows, and again often",
    needs="valid test",
)
def shift(e: Evidence) -> Observed:
    before, after = log_ratios(scores_of(e.valid)), log_ratios(scores_of(e.test))
    both = [d for d in after if d in before]
    z = limit(len(both))
    moved = []
    for d in both:
        change = after[d].value - before[d].value
        if abs(change) - z * math.hypot(error(before[d]), error(after[d])) > math.log(BAND):
            moved.append((abs(change), d))
    if moved:
        moved.sort(reverse=True)
        parts = [
            f"{e.name(d)} {math.exp(before[d].value):.2f}, then {math.exp(after[d].value):.2f}"
            for _, d in moved
        ]
        yield f"{of(len(moved), len(both))}: {named(parts)}", tuple(e.name(d) for _, d in moved)
