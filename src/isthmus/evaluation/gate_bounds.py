"""One-sided bounds of a difference that hold in small domains as well, and the rows they need."""

import math
from dataclasses import dataclass

from isthmus.evaluation.types import Interval
from isthmus.evaluation.variance import Estimate, p_value, quantile, standard_error

POWER = 0.8
"""The chance of passing that ``needed`` is for, of a candidate that is equal."""


@dataclass(frozen=True, slots=True)
class _Guarded:
    """Mean, standard error and skewness term of the data with the further units."""

    centre: float
    error: float
    lean: float


def one_sided(e: Estimate, alpha: float, *, third: float = 0.0, loss: float = 1.0) -> Interval:
    """The difference with its lower and its upper bound, each at level 1 - alpha.

    Upper: value + t x se. Lower: Student's bound, guarded in two ways against losses that are rare
    and large, with which it passes far too much.

    *Unseen*: a small domain may hold none of them. It is taken as though c further units (users)
    had each lost ``loss``; with n units, s^2 the variance and k3 = ``third``, the third moment:

        value' = (n value - c loss) / (n + c),
        s'^2 = (n^2 s^2 + c (value + loss)^2) / (n + c)^2,
        k3' = (n^3 k3 - c (value + loss)^3) / (n + c)^3.

    *Seen*, they lean the difference to the left. The distribution of t is corrected to first order
    (Johnson, JASA 73, 1978; Hall, Biometrika 79, 1992), where that lowers the bound:

        low = value' - t s' + min(k3', 0) / s'^2 x (1 + 2 z^2) / 6.

    c solves c + z sqrt(c) + (1 + 2 z^2) / 6 = -ln alpha (0.63 at 0.05), so that a loss of which n
    units showed none is bounded by -ln(alpha) x loss / n: the "rule of three" (Hanley and
    Lippman-Hand, JAMA 249, 1983). Where k units showed it, the bound is within 2 % of the exact one
    of Poisson's distribution. In large domains all this is next to nothing.
    """
    t, error, low = quantile(e.freedom, 1 - alpha), standard_error(e), -1.0
    if math.isfinite(e.variance):
        guarded = _guarded(e, alpha, third, loss)
        low = min(guarded.centre - t * guarded.error + guarded.lean, e.value)
    high = e.value + t * error if math.isfinite(error) else 1.0
    return Interval(value=e.value, low=max(-1.0, low), high=min(1.0, high))


def _guarded(e: Estimate, alpha: float, third: float, loss: float) -> _Guarded:
    more, units, far = further_units(alpha), e.units, e.value + loss
    variance = (units**2 * e.variance + more * far**2) / (units + more) ** 2
    moment = (units**3 * third - more * far**3) / (units + more) ** 3
    lean = min(moment, 0.0) / variance * _skewed(alpha) if variance > 0 else 0.0
    return _Guarded((units * e.value - more * loss) / (units + more), math.sqrt(variance), lean)


def further_units(alpha: float) -> float:
    """The c of ``one_sided``."""
    z = quantile(math.inf, 1 - alpha)
    rest = -math.log(alpha) - _skewed(alpha)
    return (math.sqrt(z**2 + 4 * rest) - z) ** 2 / 4


def _skewed(alpha: float) -> float:
    """How much a skewed t is off, (1 + 2 z^2) / 6."""
    return (1 + 2 * quantile(math.inf, 1 - alpha) ** 2) / 6


def p_worse(e: Estimate) -> float:
    """One-sided p-value of "not worse": small where the value is far below zero."""
    half = p_value(e) / 2
    return half if e.value < 0 else 1 - half


def factor_needed(
    e: Estimate, alpha: float, margin: float, *, third: float = 0.0, loss: float = 1.0
) -> float:
    """How many times the data an equal candidate needs to pass with a chance of ``POWER``.

    With r times the data its bound lies about steps x se / sqrt(r) + shift / r below the truth, with
    steps = t_{1-alpha} + t_POWER and the shift of all that does not shrink with se; r is where that
    is the margin.
    """
    guarded = _guarded(e, alpha, third, loss)
    shift = e.value - guarded.centre - guarded.lean
    steps = quantile(e.freedom, 1 - alpha) + quantile(e.freedom, POWER)
    wide = steps * guarded.error
    root = (wide + math.sqrt(wide**2 + 4 * max(shift, 0.0) * margin)) / (2 * margin)
    return root**2
