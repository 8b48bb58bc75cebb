"""Checks of ids: one thing under two ids, one id for two things, and ids that training never saw."""

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from isthmus.diagnosis.chance import limit, named, of
from isthmus.diagnosis.data import data_of
from isthmus.diagnosis.evidence import Evidence
from isthmus.diagnosis.registry import NotApplicable, Observed, check
from isthmus.diagnosis.types import Severity

TWICE_SHARE = 0.001
"""Share of a vocabulary's values below which writings that agree are a coincidence: random case-
sensitive codes of four characters and more agree less often than that."""
STRAY_SHARE = 0.01
"""Where at least 99 % of the items are of one domain, an item is meant to be."""
UNKNOWN_RISE = 0.3
"""Unknown rows beyond those of training, as a share: a feature that fails in three rows of ten
carries the model no longer. Below it, new users and items are how a market is."""
DRIFT = 0.1
"""Rise of the unknown share from validation to test: a tenth of all rows changed their nature within
one split, and a choice by validation no longer fits."""
STRANGE_SHARE = 0.05
"""Of test rows: what no figure a domain covers should not be more than the usual error of a figure."""
DESIGN = 10.0
"""Rows of one user or item are unknown together: counts are taken to hold so many times less than
their number tells."""


@check(
    "ISTH201",
    Severity.warning,
    "One thing has several ids",
    looks_at="values of a vocabulary that differ only in capitals, in blanks around or within them, in "
    'leading zeros or in a fraction ".0" of a number: "ab 1" and "AB1 ", "007" and "7", "7.0" and "7"; '
    f"where at least {TWICE_SHARE:.1%} of the values are concerned",
    remedy="write ids in one way before they are prepared; each of the two ids learns from a part "
    "of the rows alone",
    needs="data",
)
def written_twice(e: Evidence) -> Observed:
    for table, values in data_of(e).values.items():
        twins = [same for same in _alike(values) if len(same) > 1]
        count = sum(map(len, twins))
        if count and count >= TWICE_SHARE * len(values):
            parts = [" = ".join(map(repr, same[:3])) for same in twins]
            yield (
                f"{of(count, len(values), 'value')} of {table!r} are one of several writings: {named(parts)}",
                (),
            )


def _alike(values: Sequence[str]) -> list[list[str]]:
    """Values by what they are, however they are written."""
    groups = defaultdict(list)
    for value in values:
        plain = "".join(value.split()).casefold()
        if plain.endswith(".0") and plain[:-2].isdigit():
            plain = plain[:-2]
        groups[plain.lstrip("0") or "0" if plain.isdigit() else plain].append(value)
    return list(groups.values())


@check(
    "ISTH202",
    Severity.warning,
    "Items stray into other domains",
    looks_at="items with training rows in several domains, where all others (99 % at least) have "
    "one domain each: a handful of exceptions are slips in the data, or ids that two sources use "
    "for different things. Where many items are of several domains, that is how the data is",
    remedy="look at these items; where two sources number their items each from 1, put the source "
    "before the id",
    needs="data",
)
def stray_items(e: Evidence) -> Observed:
    spread = data_of(e).spread
    if spread is None:
        raise NotApplicable("no feature is the item's id")
    several, items = int((spread > 1).sum()), int((spread > 0).sum())
    if 0 < several <= STRAY_SHARE * items:
        yield (
            f"{of(several, items, 'item')} have rows in two domains or more, all others in one",
            (),
        )


@check(
    "ISTH203",
    Severity.warning,
    "A domain's test rows are mostly new to the model",
    looks_at="the share of a domain's test rows whose user, item or other feature has no id, "
    f"against that of its training rows: {UNKNOWN_RISE:.0%} of the rows more, and more than "
    "chance gives over all features and domains",
    remedy="train nearer to the day of use, lower min_count, or give features that last (category, "
    "price, brand); until then the domain is served by what its rows have in common",
    needs="data",
)
def unknown(e: Evidence) -> Observed:
    yield from _rises(e, "train", UNKNOWN_RISE)


@check(
    "ISTH204",
    Severity.warning,
    "Unknown ids pile up from validation to test",
    looks_at="the share of a domain's rows without a known value of a feature, in test against "
    f"validation: {DRIFT:.0%} of the rows more, and more than chance gives over all features and "
    "domains",
    remedy="what was chosen by validation may not fit: prepare with a later validation split, and "
    "plan to train more often",
    needs="data",
)
def drift(e: Evidence) -> Observed:
    yield from _rises(e, "valid", DRIFT)


def _rises(e: Evidence, before: str, least: float) -> Observed:
    """Domains in which the share of unknown rows rose by ``least`` until the test rows."""
    data = data_of(e)
    splits = (before, "test")
    if any(split not in data.rows or not data.rows[split].sum() for split in splits):
        raise NotApplicable(f"the data has no {before} or no test rows")
    z = limit(len(data.unknown) * len(e.domains))
    for feature, counts in data.unknown.items():
        found = []
        for d in range(1, len(e.domains) + 1):
            n = [int(data.rows[split][d]) for split in splits]
            if not min(n):
                continue
            share = [int(counts[split][d]) / n[i] for i, split in enumerate(splits)]
            error = math.sqrt(DESIGN * sum(_variance(p, m) for p, m in zip(share, n, strict=True)))
            if share[1] - share[0] > max(least, z * error):
                found.append((share[1] - share[0], d, share))
        if found:
            found.sort(key=lambda one: -one[0])
            parts = [f"{e.name(d)} {b:.0%} ({before} {a:.0%})" for _, d, (a, b) in found]
            yield (
                f"{feature!r} is unknown in the test rows of {of(len(found), len(e.domains))}: "
                f"{named(parts)}",
                tuple(e.name(d) for _, d, _ in found),
            )


def _variance(share: float, rows: int) -> float:
    """Of a share, one row more of each kind added: none is sure."""
    p = (share * rows + 1) / (rows + 2)
    return p * (1 - p) / (rows + 2)


@check(
    "ISTH205",
    Severity.warning,
    "Many rows are of no known domain",
    looks_at=f"test rows of the unknown domain, {STRANGE_SHARE:.0%} of all or more",
    remedy="prepare anew, so that the new domains are known; until then they share one path, and "
    "no figure speaks of them",
    needs="data",
)
def unknown_domain(e: Evidence) -> Observed:
    rows = data_of(e).rows.get("test")
    if rows is None or not rows.sum():
        raise NotApplicable("the data has no test rows")
    if rows[0] >= STRANGE_SHARE * rows.sum():
        yield f"{of(int(rows[0]), int(np.sum(rows)), 'test row')} are of no known domain", ()
