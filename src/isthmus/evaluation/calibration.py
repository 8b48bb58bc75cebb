"""Calibration shift: what a joint model promises a domain against what its own model promised."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isthmus.evaluation.metrics import missing_class
from isthmus.evaluation.panel import Panel
from isthmus.evaluation.predictions import Floats, Predictions
from isthmus.evaluation.ranking import Labels
from isthmus.evaluation.rules import Rules, holm
from isthmus.evaluation.types import CalibrationShift, Interval, Shift
from isthmus.evaluation.variance import (
    LEVEL,
    Estimate,
    clustered_mean,
    over_seeds,
    p_value,
    quantile,
    standard_error,
)


def calibration_shifts(
    panel: Panel, joint: Sequence[Predictions], isolated: Sequence[Predictions], rules: Rules
) -> dict[str, CalibrationShift]:
    """By domain name: joint's calibration ratio over isolated's, tested against 1.

    A ratio is the sum of scores over the sum of labels. All is done with its logarithm, a mean over
    seeds: over the rows by the delta method (a row's share in log(sum x) is x / sum x), rows of a
    user as one cluster, and between seeds as ``over_seeds`` does. Labels cancel in the shift, so it
    is told far more finely than either ratio. Holm's correction is over the domains with
    ``rules.min_class`` rows of both labels and two users.
    """
    scores = [[panel.scores(p) for p in arm] for arm in (joint, isolated)]
    found = {}
    for d in panel.shown():
        estimates = _Estimates.of(panel, d, scores, rules)
        found[panel.names[d]] = estimates
    tested = {name: e for name, e in found.items() if isinstance(e, _Estimates)}
    adjusted = dict(zip(tested, holm([p_value(e.shift) for e in tested.values()]), strict=True))
    return {
        name: e.judged(adjusted[name], rules.alpha)
        if isinstance(e, _Estimates)
        else CalibrationShift(verdict=Shift.not_measurable, reason=e)
        for name, e in found.items()
    }


@dataclass(frozen=True, slots=True)
class _Estimates:
    """Of one domain, logarithms: the two calibration ratios, and the first minus the second."""

    joint: Estimate
    isolated: Estimate
    shift: Estimate

    @classmethod
    def of(
        cls, panel: Panel, d: int, scores: Sequence[Sequence[Floats]], rules: Rules
    ) -> "_Estimates | str":
        """The estimates, or why there are none."""
        rows = panel.rows(d)
        label = panel.label[rows]
        if reason := _untested(label, rules):
            return reason
        joint, isolated = (np.array([seed[rows] for seed in arm]) for arm in scores)
        if not (joint.sum(axis=1).all() and isolated.sum(axis=1).all()):
            return "a model scores all rows 0"
        promised, own = _logs(joint), _logs(isolated)
        came = math.log(float(label.sum()))
        shares = label / label.sum()
        users = panel.users(rows)

        def estimate(values: Floats, influence: Floats) -> Estimate:
            return over_seeds(values, *clustered_mean(influence, users))

        found = cls(
            joint=estimate(promised.values - came, promised.shares - shares),
            isolated=estimate(own.values - came, own.shares - shares),
            shift=estimate(promised.values - own.values, promised.shares - own.shares),
        )
        return "all rows are of one user" if math.isnan(found.shift.variance) else found

    def judged(self, p_adjusted: float, alpha: float) -> CalibrationShift:
        """The ratios, and what the shift says."""
        joint, isolated = _ratio(self.joint), _ratio(self.isolated)
        return CalibrationShift(
            joint=joint,
            isolated=isolated,
            shift=_ratio(self.shift),
            p_value=p_value(self.shift),
            p_adjusted=p_adjusted,
            verdict=_verdict(self, joint, isolated) if p_adjusted < alpha else Shift.none,
        )


@dataclass(frozen=True, slots=True)
class _Logs:
    """log(sum of scores) by seed, [S], and each row's share in it, a mean over seeds, [N]."""

    values: Floats
    shares: Floats


def _logs(scores: Floats) -> _Logs:
    total = scores.sum(axis=1)
    return _Logs(np.log(total), (scores / total[:, None]).mean(axis=0))


def _untested(label: Labels, rules: Rules) -> str:
    rows, positives = len(label), int(label.sum())
    if reason := missing_class(rows, positives):
        return reason
    fewest = min(positives, rows - positives)
    if fewest >= rules.min_class:
        return ""
    which = "positives" if fewest == positives else "negatives"
    return f"{fewest} {which} among {rows:,} rows, fewer than {rules.min_class}"


def _ratio(log: Estimate) -> Interval:
    half = quantile(log.freedom, (1 + LEVEL) / 2) * standard_error(log)
    # beyond e^50 a bound says no more, and infinity is no figure
    low, high = max(log.value - half, -50.0), min(log.value + half, 50.0)
    return Interval(value=math.exp(log.value), low=math.exp(low), high=math.exp(high))


def _verdict(found: _Estimates, joint: Interval, isolated: Interval) -> Shift:
    """Nearer or farther only where labels tell on which side of 1 the farther model lies."""
    farther = abs(found.joint.value) > abs(found.isolated.value)
    if farther and not joint.low <= 1 <= joint.high:
        return Shift.farther
    if not farther and not isolated.low <= 1 <= isolated.high:
        return Shift.nearer
    return Shift.moved
