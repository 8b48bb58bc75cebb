"""How a paired comparison decides: the settings, Holm's correction, the verdict."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from isthmus.evaluation.types import Cluster, Method, Verdict
from isthmus.schema import Frozen

Share = Annotated[float, Field(gt=0, lt=1)]


class Rules(Frozen):
    """Settings of a comparison.

    ``alpha``: rate of false alarms over all domains together. ``resolution``: the difference of
    AUC that a domain must be able to show to be called unchanged. ``min_class``: rows of each
    label below which a domain is not tested. ``method``: variance by DeLong's components, or by
    drawing users ``replicates`` times, from ``seed``. ``cluster``: what counts as independent.
    ``data`` says in the protocol what the rows are.
    """

    alpha: Share = 0.05
    resolution: Share = 0.05
    min_class: Annotated[int, Field(ge=2)] = 10
    method: Method = "delong"
    cluster: Cluster = "user"
    replicates: Annotated[int, Field(ge=50)] = 1000
    seed: int = 0
    data: str = "the evaluated split"


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values (Holm 1979), in the order given: each at most 1, and none below its own.

    The i-th smallest of m is multiplied by m - i + 1, and is no smaller than the one before it.
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    raised = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(raised, 1.0)
    return [float(value) for value in adjusted]


def decide(
    difference: float, p_adjusted: float, detectable: float, rules: Rules
) -> tuple[Verdict, str]:
    """Verdict and reason of a domain that was tested; significance comes first."""
    if p_adjusted < rules.alpha:
        return (Verdict.gains if difference > 0 else Verdict.hurt), ""
    if detectable > rules.resolution:
        return Verdict.not_measurable, (
            f"could have shown a difference of {detectable:.3f} or more, "
            f"which is coarser than {rules.resolution:g}"
        )
    return Verdict.unchanged, ""
