"""Checks of a ranking, domain by domain: whether there is one, whether it lasts, what can be seen of it."""

import numpy as np

from isthmus.diagnosis.chance import (
    ALPHA,
    ENOUGH,
    by_domain,
    compared,
    error,
    figures,
    limit,
    named,
    of,
)
from isthmus.diagnosis.evidence import Evidence, Scored
from isthmus.diagnosis.registry import NotApplicable, Observed, check
from isthmus.diagnosis.types import Severity
from isthmus.evaluation import Predictions, Ranks, Verdict
from isthmus.evaluation.rank_compare import RULES
from isthmus.evaluation.ranks import METRIC
from isthmus.evaluation.rules import Rules
from isthmus.evaluation.variance import detectable

LEAST = 20
"""Rows below which a domain's scores may well be equal by chance or for want of features."""
DROP = {"AUC": 0.05, METRIC: 0.02}
"""Loss from validation to test that matters: of an AUC the resolution of a verdict; rankings of items
are told apart more finely."""
COARSE = {"AUC": Rules().resolution, METRIC: RULES.resolution}
"""Detectable change above which a verdict says "not measurable"."""
RANDOM_ROWS = 100
"""Rows from which a retriever that beats no dice is a fault, and no bad luck: dice give 0.005 of NDCG@10
among 1,000 items, and one hit in 100 rows is as much."""


def _metric(table: Scored) -> str:
    return METRIC if isinstance(table, Ranks) else "AUC"


@check(
    "ISTH304",
    Severity.error,
    "A domain's scores are all the same",
    looks_at=f"domains with {LEAST} test rows or more whose scores are one number; of retrievers, "
    "whose items all have one score in nine rows of ten",
    remedy="the model says nothing there: look for features that are empty in this domain, dead "
    "experts (ISTH501), or a domain without training rows (ISTH106)",
    needs="test",
)
def constant(e: Evidence) -> Observed:
    assert e.test is not None
    flat = [d for d, rows in by_domain(e.test) if rows.sum() >= LEAST and _flat(e.test.take(rows))]
    if flat:
        yield (
            f"{of(len(flat), len(e.domains))}: {named([*map(e.name, flat)])}",
            tuple(map(e.name, flat)),
        )


def _flat(table: Scored) -> bool:
    if isinstance(table, Predictions):
        return bool(table.score.min() == table.score.max())
    choice = ~table.cold & (table.of["domain"] > 1)
    level = table.tied["domain"] + 1 == table.of["domain"]
    return bool(choice.sum() >= LEAST and level[choice].mean() >= 0.9)


@check(
    "ISTH305",
    Severity.note,
    "A domain is too small to measure",
    looks_at=f"domains with one label alone in the test rows, with fewer than {ENOUGH} rows of a "
    "label (of retrievers, rows), or whose smallest detectable change, at 80 % power and "
    "corrected over the domains, is above that of a verdict. It is that of a comparison with a "
    "model as noisy as this one, the errors of both correlated by a half",
    remedy="read nothing into these domains' figures; pool them for the measurement, or collect "
    "more rows",
    needs="test",
)
def unmeasurable(e: Evidence) -> Observed:
    assert e.test is not None
    known, coarse = figures(e.test), COARSE[_metric(e.test)]
    small = [d for d, rows in by_domain(e.test) if rows.any() and d not in known]
    level = Rules().alpha / max(len(known), 1)
    least = {d: detectable(one, level) for d, one in known.items() if error(one) < 1}
    blunt = sorted((d for d in least if least[d] > coarse), key=lambda d: -least[d])
    parts = [f"{e.name(d)} {least[d]:.3f}" for d in blunt]
    said = []
    if small:
        said.append(f"too few rows or one label in {named([*map(e.name, small)])}")
    if blunt:
        said.append(f"changes of {_metric(e.test)} below these would not show: {named(parts)}")
    if said:
        both = (*small, *blunt)
        yield f"{of(len(both), len(e.domains))}: {'; '.join(said)}", tuple(map(e.name, both))


@check(
    "ISTH306",
    Severity.warning,
    "A domain is ranked worse in test than in validation",
    looks_at=f"the fall of a domain's AUC by more than {DROP['AUC']} (of retrievers, NDCG@10 by "
    f"{DROP[METRIC]}), beyond chance over the domains, the splits taken as independent",
    remedy="the domain moves (ISTH204, ISTH303), or the choice of epoch and settings was fitted "
    "to its validation rows: train nearer to the day of use, choose by more rows",
    needs="valid test",
)
def falls(e: Evidence) -> Observed:
    assert e.valid is not None
    assert e.test is not None
    before, after = figures(e.valid), figures(e.test)
    both, least = [d for d in after if d in before], DROP[_metric(e.test)]
    z, fallen = limit(len(both)), []
    for d in both:
        fall = before[d].value - after[d].value
        if fall > max(least, z * float(np.hypot(error(before[d]), error(after[d])))):
            fallen.append((fall, d))
    if fallen:
        fallen.sort(reverse=True)
        parts = [f"{e.name(d)} {before[d].value:.3f}, then {after[d].value:.3f}" for _, d in fallen]
        yield (
            f"{_metric(e.test)} of {of(len(fallen), len(both))}: {named(parts)}",
            tuple(e.name(d) for _, d in fallen),
        )


@check(
    "ISTH307",
    Severity.warning,
    "A domain is ranked no better than by dice",
    looks_at="domains whose AUC is below a half beyond chance over the domains; of retrievers, "
    f"whose mean NDCG@10 over {RANDOM_ROWS} rows or more is not above that of a random order of "
    "the candidates",
    remedy="below a half is a signal that points the wrong way: look for labels or ids of this "
    "domain that mean something else than in the others; at a half, for features that are empty "
    "there",
    needs="test",
)
def by_dice(e: Evidence) -> Observed:
    assert e.test is not None
    found = figures(e.test)
    if isinstance(e.test, Ranks):
        bad = [d for d in found if _no_better(e.test.take(e.test.domain == d))]
    else:
        z = limit(len(found))
        bad = [d for d, one in found.items() if 0.5 - one.value > z * error(one)]
    if bad:
        parts = [f"{e.name(d)} {found[d].value:.3f}" for d in bad]
        yield (
            f"{_metric(e.test)} of {of(len(bad), len(found))}: {named(parts)}",
            tuple(map(e.name, bad)),
        )


def _no_better(r: Ranks) -> bool:
    if len(r) < RANDOM_ROWS:
        return False
    gain = 1 / np.log2(2 + np.arange(10))
    among = r.of["domain"][~r.cold]
    dice = float((np.cumsum(gain)[np.minimum(among, 10) - 1] / among).sum()) / len(r)
    return float(r.values(METRIC).mean()) <= dice


@check(
    "ISTH308",
    Severity.warning,
    "A floor ranks a domain better",
    looks_at="retrievers against floors on the same rows (popularity, the user's own repeats, the "
    "item last seen together): domains in which the floor's NDCG@10 is higher beyond chance, "
    "Holm-corrected",
    remedy="serve the floor in these domains, or add its order as a feature of the ranking; then "
    "train longer, or with more weight on these domains",
    needs="test floors",
)
def below_floor(e: Evidence) -> Observed:
    if not isinstance(e.test, Ranks):
        raise NotApplicable("a ranker has no floor: popularity ranks items")
    assert e.floors is not None
    for name, floor in e.floors.items():
        table = compared([e.test], [floor], ALPHA / len(e.floors))
        worse = [row for row in table.rows if row.verdict is Verdict.hurt and row.difference]
        if worse:
            worse.sort(key=lambda row: row.difference.value if row.difference else 0.0)
            parts = [f"{r.domain} {r.difference.value:+.3f}" for r in worse if r.difference]
            yield (
                f"{name} is ahead in {of(len(worse), len(table.rows))}, NDCG@10 less by: {named(parts)}",
                tuple(row.domain for row in worse),
            )
