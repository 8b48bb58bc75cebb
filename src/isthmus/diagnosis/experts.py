"""Checks of experts: masks and gates, by level and by domain."""

import numpy as np

from isthmus.diagnosis.chance import named, of
from isthmus.diagnosis.evidence import Bools, Evidence
from isthmus.diagnosis.registry import NotApplicable, Observed, check
from isthmus.diagnosis.types import Severity

HARDLY = 0.05
"""Of an even share: an expert that no domain takes a twentieth of that from could be left out, and no
score would move by more than the noise of a seed."""
REDRAWN = 0.8
"""Of the churn of masks drawn anew at random: above it hardly an edge is kept for a reason."""
LAST = 2
"""Epochs at the end of training by which masks ought to have settled."""


def used(masks: list[Bools]) -> list[Bools]:
    """Which experts each domain uses, a level: [D, n]."""
    reads = [np.any(level, axis=1) for level in masks]
    return [np.any(masks[0], axis=2), *reads]


@check(
    "ISTH501",
    Severity.warning,
    "No domain uses an expert",
    looks_at="experts that the masks of all domains leave out",
    remedy="leave them out of settings.experts: they cost memory and time; or let masks keep more "
    "(settings.search.density)",
    needs="masks",
)
def dead(e: Evidence) -> Observed:
    assert e.masks is not None
    levels = used(list(e.masks))
    parts = [
        f"level {number}: {', '.join(str(i + 1) for i in np.flatnonzero(~level.any(0)))}"
        for number, level in enumerate(levels, 1)
        if not level.any(0).all()
    ]
    if parts:
        total = sum(level.shape[1] for level in levels)
        idle = sum(int((~level.any(0)).sum()) for level in levels)
        yield f"{of(idle, total, 'expert')} in no domain's mask: {named(parts)}", ()


@check(
    "ISTH502",
    Severity.error,
    "A domain's mask leads nowhere",
    looks_at="domains whose mask leaves no expert at some level: no score of theirs passes the "
    "experts",
    remedy="the masks were not made by the model's own search (which repairs them): train again, "
    "and report it where it happens again",
    needs="masks",
)
def empty(e: Evidence) -> Observed:
    assert e.masks is not None
    yield from _where(e, np.any([~level.any(1) for level in used(list(e.masks))], axis=0))


@check(
    "ISTH503",
    Severity.note,
    "A domain's mask keeps everything",
    looks_at="domains whose mask keeps all edges: the search found nothing to leave out, or never "
    "came to them",
    remedy="if all domains are named, the search is off or training ended before the first: train "
    "longer, or lower settings.search.every; if a few, they have no rows to search with",
    needs="masks",
)
def open_masks(e: Evidence) -> Observed:
    assert e.masks is not None
    yield from _where(e, np.all([level.all((1, 2)) for level in e.masks], axis=0))


def _where(e: Evidence, found: Bools) -> Observed:
    """The domains, if there are any, of which this is so: [D]."""
    names = tuple(e.domains[i] for i in np.flatnonzero(found))
    if names:
        yield f"{of(len(names), len(e.domains))}: {named(names)}", names


@check(
    "ISTH504",
    Severity.warning,
    "Masks never settle",
    looks_at="the share of a domain's mask edges that each of the last epochs changed (of edges "
    "in the mask before or after), against that of masks drawn anew at random with as many edges: "
    f"the median over domains is above {REDRAWN:.0%} of it in the last {LAST} epochs",
    remedy="search less often (settings.search.every), score candidates on more rows "
    "(settings.search.batch_size), or train longer; masks that say nothing are better switched off",
    needs="masks course",
)
def unsettled(e: Evidence) -> Observed:
    assert e.masks is not None
    assert e.course is not None
    if not e.course.churn:
        raise NotApplicable(
            "the log does not tell how masks changed: the run is of an older version"
        )
    if len(e.course.scores) <= LAST:
        raise NotApplicable(f"masks settle after {LAST} epochs at the earliest")
    random = dict(zip(e.domains, _random_churn(list(e.masks)), strict=True))
    ratios = {
        name: [c / random[name] for c in told[-LAST:] if c is not None]
        for name, told in e.course.churn.items()
        if random.get(name, 0.0) > 0
    }
    ratios = {name: shares for name, shares in ratios.items() if len(shares) == LAST}
    if not ratios:
        raise NotApplicable("the masks keep everything")
    medians = np.median(list(ratios.values()), axis=0)
    if medians.min() > REDRAWN:
        names = tuple(name for name, shares in ratios.items() if min(shares) > REDRAWN)
        yield (
            f"in the last {LAST} epochs half of the domains changed their masks by {medians.min():.0%} or more "
            f"of what drawing anew changes, {of(len(names), len(ratios))} in each of them",
            names,
        )


def _random_churn(masks: list[Bools]) -> list[float]:
    """Jaccard distance that two random masks of a domain's density have, level by level pooled: [D].

    Two sets of k of n edges share k^2 / n on average and have 2 k - k^2 / n in all.
    """
    kept = np.array([level.sum((1, 2)) for level in masks], dtype=float)
    total = np.array([[level[0].size] for level in masks], dtype=float)
    both = (kept**2 / total).sum(0)
    return [float(x) for x in 1 - both / np.maximum(2 * kept.sum(0) - both, 1e-12)]


@check(
    "ISTH505",
    Severity.warning,
    "Gates hardly use an expert",
    looks_at="what a domain's rows take of each expert on average, by the gates: an expert that "
    f"no domain takes {HARDLY:.0%} of an even share from",
    remedy="fewer experts do as well; or warm up longer and raise dropout, so that gates do not "
    "choose before experts differ",
    needs="gates",
)
def idle(e: Evidence) -> Observed:
    assert e.gates is not None
    for name, share in e.gates.items():
        most = np.nanmax(share, axis=0, initial=0.0)
        experts = len(most)
        slack = np.flatnonzero(most < HARDLY / experts)
        if experts > 1 and len(slack):
            listed = ", ".join(str(i + 1) for i in slack)
            yield (
                f"{name}: {of(len(slack), experts, 'expert')} ({listed}), the most that a domain takes of them "
                f"is {most[slack].max():.2%}, an even share {1 / experts:.0%}",
                (),
            )
