"""One-sided bounds of a difference that hold in small domains as well, and the rows they need."""

import math
from dataclasses import dataclass

from isthmus.evaluation.types import Interval
from isthmus.evaluation.variance import Estimate, Shape, p_value, quantile, standard_error

POWER = 0.8
"""The chance of passing that ``needed`` is for, of a candidate that is equal."""


LEAST = 10
"""Degrees of freedom below which their own estimate says nothing."""


@dataclass(frozen=True, slots=True)
class _Guarded:
    """Mean, its standard error, skewness term and freedom of the data with the further units."""

    centre: float
    error: float
    lean: float
    freedom: float


def one_sided(e: Estimate, alpha: float, *, shape: Shape = Shape(), loss: float = 1.0) -> Interval:
    """The difference with its lower and its upper bound, each at level 1 - alpha.

    Upper: value + t x se. Lower: Student's bound, guarded in two ways against losses that are rare
    and large, with which it passes far too much.

    *Unseen*: a small domain may hold none of them. It is taken as though c further units (users)
    had each lost ``loss``; with n units, s^2 the variance, k3 and k4 the sums of ``shape``:

        value' = (n value - c loss) / (n + c),
        s'^2 = (n^2 s^2 + c (value + loss)^2) / (n + c)^2,
        k3' = (n^3 k3 - c (value + loss)^3) / (n + c)^3,     k4' likewise.

    *Seen*, they lean the difference to the left. The distribution of t is corrected to first order
    (Johnson, JASA 73, 1978; Hall, Biometrika 79, 1992), where that lowers the bound; and a variance
    of which a few users make up most has few degrees of freedom (but at least ``LEAST``):

        low = value' - t s' + min(k3', 0) / s'^2 x (1 + 2 t^2) / 6,
        t of min(e.freedom, 2 s'^4 / (k4' - s'^4 / n)) degrees of freedom.

    c solves c + z sqrt(c) + (1 + 2 z^2) / 6 = -ln alpha (0.63 at 0.05), so that a loss of which n
    units showed none is bounded by -ln(alpha) x loss / n under a normal t: the "rule of
    three" (Hanley and Lippman-Hand, JAMA 249, 1983). In large domains all this is next to nothing.
    """
    error, low, high = standard_error(e), -1.0, 1.0
    if math.isfinite(e.variance):
        guarded = _guarded(e, alpha, shape, loss)
        t = quantile(guarded.freedom, 1 - alpha)
        low = min(guarded.centre - t * guarded.error + guarded.lean, e.value)
        high = e.value + quantile(e.freedom, 1 - alpha) * error
    return Interval(value=e.value, low=max(-1.0, low), high=min(1.0, high))


def _guarded(e: Estimate, alpha: float, shape: Shape, loss: float) -> _Guarded:
    more, n, far = further_units(alpha), e.units, e.value + loss
    centre = (n * e.value - more * loss) / (n + more)
    variance = (n**2 * e.variance + more * far**2) / (n + more) ** 2
    if variance <= 0:
        return _Guarded(centre, 0.0, 0.0, e.freedom)
    third = (n**3 * shape.third - more * far**3) / (n + more) ** 3
    fourth = (n**4 * shape.fourth + more * far**4) / (n + more) ** 4 - variance**2 / n
    freedom = min(e.freedom, max(2 * variance**2 / fourth, LEAST) if fourth > 0 else e.freedom)
    lean = min(third, 0.0) / variance * _skewed(quantile(freedom, 1 - alpha))
    return _Guarded(centre, math.sqrt(variance), lean, freedom)


def further_units(alpha: float) -> float:
    """The c of ``one_sided``."""
    z = quantile(math.inf, 1 - alpha)
    rest = -math.log(alpha) - _skewed(z)
    return (math.sqrt(z**2 + 4 * rest) - z) ** 2 / 4


def _skewed(t: float) -> float:
    """How far off Student's t is at this quantile, in units of its skewness."""
    return (1 + 2 * t**2) / 6


def p_worse(e: Estimate) -> float:
    """One-sided p-value of "not worse": small where the value is far below zero."""
    half = p_value(e) / 2
    return half if e.value < 0 else 1 - half


def factor_needed(
    e: Estimate, alpha: float, margin: float, *, shape: Shape = Shape(), loss: float = 1.0
) -> float:
    """How many times the data an equal candidate needs to pass with a chance of ``POWER``.

    With r times the data its bound lies about steps x se / sqrt(r) + shift / r below the truth, with
    steps = t_{1-alpha} + t_POWER and the shift of all that does not shrink with se; r is where that
    is the margin.
    """
    guarded = _guarded(e, alpha, shape, loss)
    shift = e.value - guarded.centre - guarded.lean
    steps = quantile(guarded.freedom, 1 - alpha) + quantile(e.freedom, POWER)
    wide = steps * guarded.error
    root = (wide + math.sqrt(wide**2 + 4 * max(shift, 0.0) * margin)) / (2 * margin)
    return root**2
