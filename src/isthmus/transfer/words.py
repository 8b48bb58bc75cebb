"""How a transfer map was measured, in words."""

import numpy as np

from isthmus.evaluation.left_out import runs_for
from isthmus.evaluation.transfer import TransferMap

_SMALL = 0.01  # the effect that the needed runs are said for


def protocol(found: TransferMap, *, groups_given: bool) -> str:
    """Of which rows, by how many runs, what is held fixed, and how small an effect shows.

    ``groups_given``: by the user, and not formed by the likeness of gradients.
    """
    parts = []
    domains = sum(map(len, found.groups.values()))
    if domains > len(found.groups):
        parts.append(
            f"{domains} domains in {len(found.groups)} groups; what domains of one group give to "
            "each other is not measured."
        )
        if not groups_given:
            parts.append(
                "Groups were formed by the likeness of these same gradients: their map between "
                "groups, and its agreement with other ways, is no independent finding."
            )
    if "left_out" in found.ways:
        parts.append(_left_out(found))
    if "gradients" in found.ways:
        parts.append(
            "Gradients: after each epoch of the joint training, of samples of training rows, over "
            "the parameters that two domains or more use, each divided by its root mean square; "
            "symmetric, and blind to how many rows a source has."
        )
    if "masks" in found.ways:
        parts.append("Masks: edges in common over all edges of two domains; symmetric.")
    return " ".join(parts)


def _left_out(found: TransferMap) -> str:
    noise = [one for one in found.noise if one is not None]
    usual = float(np.sqrt(np.mean(np.square(noise)))) if noise else 0.0
    needed = f"; about {runs_for(_SMALL, usual):,} would show one of {_SMALL}" if usual else ""
    shown = f"Half of the effects show from {found.resolved:.4f} on at two standard errors" if (
        found.resolved is not None) else "No effect could be measured"  # fmt: skip
    return (
        f"Leaving out: {found.metric} of validation rows in {found.runs} trainings, each with "
        "another seed, all but the first without about a third of the groups; ridge regression on "
        "which sources were there, over the trainings that hold the target. Epochs at most are as "
        "in the run, the best by the validation rows of the domains that are there; fewer rows mean "
        f"fewer steps, as they would for you. {shown}{needed}."
    )
