"""Checks of how training went: where it stopped, what moved, and what a domain's own weights learn from."""

from isthmus.diagnosis.chance import named, of
from isthmus.diagnosis.data import data_of
from isthmus.diagnosis.evidence import Course, Evidence
from isthmus.diagnosis.registry import NotApplicable, Observed, check
from isthmus.diagnosis.types import Severity

RISES = 0.001
"""Change of the validation score that counts: the fourth digit is the noise of a seed."""
STILL = 0.001
"""Of a loss, relative: what trains moves by more than a thousandth over three epochs."""
COSTS = -0.02
"""Nats: a running gap is an average of noisy batches, and wanders by a hundredth about its value."""
ROWS_A_PARAMETER = 0.01
"""Rows for each own weight below which a domain's part is as it was drawn: weights are far more than rows
everywhere, and regularised, so only a hundred to one is told."""


def _course(e: Evidence) -> Course:
    assert e.course is not None
    if not e.course.scores:
        raise NotApplicable("no epoch was scored")
    return e.course


@check(
    "ISTH601",
    Severity.warning,
    "Training ended while it was still improving",
    looks_at=f"the best epoch is the last that max_epochs allows, and {RISES} above the one "
    "before it (or the only one)",
    remedy="raise train.max_epochs: the same command goes on in a new run; early stopping will "
    "end it",
    needs="course",
)
def cut_short(e: Evidence) -> Observed:
    course = _course(e)
    scores, last = course.scores, len(course.scores) - 1
    if len(scores) < course.max_epochs or course.best != last:
        return
    if not last:
        yield "training had one epoch, and nothing says that it was enough", ()
    elif scores[last] - scores[last - 1] > RISES:
        yield (
            f"epoch {last + 1} of {course.max_epochs} was the best, with {course.metric} {scores[last]:.4f} after "
            f"{scores[last - 1]:.4f}",
            (),
        )


@check(
    "ISTH602",
    Severity.note,
    "The first epoch was the best",
    looks_at=f"validation scores that fall from the first epoch on, by {RISES} or more until the "
    "last. Rankers of sparse ids often do: embeddings learn their rows by heart in the second "
    "epoch",
    remedy="try a lower train.lr, more train.weight_decay and embedding_l2, or raise min_count",
    needs="course",
)
def best_first(e: Evidence) -> Observed:
    course = _course(e)
    scores = course.scores
    if len(scores) > 1 and not course.best and scores[0] - scores[-1] > RISES:
        yield (
            f"{course.metric} {scores[0]:.4f} after epoch 1, {scores[-1]:.4f} after epoch {len(scores)}",
            (),
        )


@check(
    "ISTH603",
    Severity.warning,
    "A loss never moved",
    looks_at="each named loss over three epochs or more: its highest and lowest mean differ by "
    f"less than {STILL:.1%}",
    remedy="its weight is too small, or no gradient reaches what it is to teach: raise the "
    "weight, or leave the term out",
    needs="course",
)
def still_loss(e: Evidence) -> Observed:
    course = _course(e)
    names = dict.fromkeys(name for epoch in course.losses for name in epoch)
    for name in names:
        values = [epoch[name] for epoch in course.losses if name in epoch]
        size = max(map(abs, values))
        if len(values) >= 3 and max(values) - min(values) <= STILL * size:
            yield (
                f"{name!r} was {values[0]:.6g} in the first and {values[-1]:.6g} in the last of {len(values)} epochs",
                (),
            )


@check(
    "ISTH604",
    Severity.note,
    "The model itself finds that other domains cost this one",
    looks_at="the running gap that a retriever tells of each domain, single less cross loss: below "
    f"{COSTS} nats after each of the last three epochs",
    remedy="the model lowers these domains' weight in the cross loss by itself; compare with "
    "isolated models (ISTH701) before anything else is done",
    needs="course",
)
def negative_gap(e: Evidence) -> Observed:
    course = _course(e)
    if not course.gaps:
        raise NotApplicable("the model estimates no running gap")
    last = {name: list(told[-3:]) for name, told in course.gaps.items()}
    costs = {
        name: gaps[-1] or 0.0
        for name, gaps in last.items()
        if gaps and all(gap is not None and gap < COSTS for gap in gaps)
    }
    if costs:
        names = tuple(sorted(costs, key=costs.__getitem__))
        parts = [f"{name} {costs[name]:+.3f}" for name in names]
        yield f"{of(len(costs), len(last))}: {named(parts)}", names


@check(
    "ISTH605",
    Severity.note,
    "A domain has hardly any rows for its own weights",
    looks_at="training rows against the parameters that one more domain adds to the model: fewer "
    f"than one row for {1 / ROWS_A_PARAMETER:g} of them",
    remedy="let similar domains share a part (`isthmus cluster`), make towers smaller, or take a "
    "model without parts of each domain's own",
    needs="data own_parameters",
)
def few_rows(e: Evidence) -> Observed:
    assert e.own_parameters is not None
    rows = data_of(e).rows["train"]
    least = ROWS_A_PARAMETER * e.own_parameters
    few = sorted((int(rows[d]), d) for d in range(1, len(e.domains) + 1) if rows[d] < least)
    if few:
        parts = [f"{e.name(d)} {n:,} rows" for n, d in few]
        yield (
            f"{of(len(few), len(e.domains))} for {e.own_parameters:,} parameters each: {named(parts)}",
            tuple(e.name(d) for _, d in few),
        )
