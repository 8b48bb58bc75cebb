"""One-sided bounds of a difference that hold in small domains as well, and the rows they need."""

import math

from isthmus.evaluation.types import Interval
from isthmus.evaluation.variance import Estimate, p_value, quantile, standard_error

POWER = 0.8
"""The chance of passing that ``needed`` is for, of a candidate that is equal."""


def one_sided(e: Estimate, alpha: float, loss: float) -> Interval:
    """The difference with its lower and its upper bound, each at level 1 - alpha.

    Upper: value + t x se. Lower: the same of the data and c further units (users) which each lost
    ``loss``:

        value' = (n value - c loss) / (n + c),
        variance' = (n^2 variance + c (value + loss)^2) / (n + c)^2,     low = value' - t x se'.

    Why further units: losses may be rare and large, and a small domain may hold none of them. Its
    variance is then near nothing and Student's bound near zero, though the mean loss is large. With
    c such that c + z sqrt(c) = -ln alpha, a loss of which n units showed none is bounded by
    ``loss`` x -ln(alpha) / n: the "rule of three" (Hanley and Lippman-Hand, JAMA 249, 1983), exact
    for rare losses. In large domains it adds c loss / n to the distance, which is next to nothing.
    """
    t = quantile(e.freedom, 1 - alpha)
    value, low = e.value, -1.0
    high = value + t * standard_error(e)
    if math.isfinite(e.variance):
        centre, error = _with_losses(e, alpha, loss)
        low = centre - t * error
    return Interval(value=value, low=max(-1.0, min(low, value)), high=min(1.0, max(high, value)))


def _with_losses(e: Estimate, alpha: float, loss: float) -> tuple[float, float]:
    """The mean and its standard error with the further units."""
    more, units = further_units(alpha), e.units
    centre = (units * e.value - more * loss) / (units + more)
    spread = units**2 * e.variance + more * (e.value + loss) ** 2
    return centre, math.sqrt(spread) / (units + more)


def further_units(alpha: float) -> float:
    """The c of ``one_sided``: 1.2 at alpha 0.05."""
    z = quantile(math.inf, 1 - alpha)
    return float((math.sqrt(z**2 - 4 * math.log(alpha)) - z) ** 2 / 4)


def p_worse(e: Estimate) -> float:
    """One-sided p-value of "not worse": small where the value is far below zero."""
    half = p_value(e) / 2
    return half if e.value < 0 else 1 - half


def factor_needed(e: Estimate, alpha: float, loss: float, margin: float) -> float:
    """How many times the data an equal candidate needs to pass with a chance of ``POWER``.

    With r times the data the bound lies (t_{1-alpha} + t_POWER) se / sqrt(r) + c loss / (n r) below
    the truth; r is where that is the margin.
    """
    shift = further_units(alpha) * loss / max(e.units, 1)
    steps = quantile(e.freedom, 1 - alpha) + quantile(e.freedom, POWER)
    wide = steps * _with_losses(e, alpha, loss)[1]
    root = (wide + math.sqrt(wide**2 + 4 * shift * margin)) / (2 * margin)
    return root**2
