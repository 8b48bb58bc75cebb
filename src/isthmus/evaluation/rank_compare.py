"""Paired comparison of two retrievers, domain by domain, by a metric that each row has."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from isthmus.errors import ConfigError, DataError, MismatchError
from isthmus.evaluation.predictions import Floats, Ints
from isthmus.evaluation.ranks import METRIC, Protocol, Ranks
from isthmus.evaluation.rules import Rules, decide, holm
from isthmus.evaluation.types import (
    UNKNOWN,
    Comparison,
    Difference,
    DomainComparison,
    Interval,
    Verdict,
)
from isthmus.evaluation.variance import (
    Estimate,
    clustered_mean,
    detectable,
    difference_interval,
    over_seeds,
    p_value,
    share_interval,
)

Mask = npt.NDArray[np.bool_]
RULES = Rules(resolution=0.01)
"""Rankings are told apart more finely than AUCs: a domain is unchanged if .01 would have shown."""


def compare_ranks(
    a: Sequence[Ranks],
    b: Sequence[Ranks],
    *,
    metric: str = METRIC,
    protocol: Protocol = "domain",
    rules: Rules = RULES,
) -> Comparison:
    """The metric of ``a`` minus that of ``b`` in each domain, on the same rows; one entry a seed.

    Differences are means over seeds, seed s of ``a`` paired with seed s of ``b``. Their variance is
    that of the rows' differences, summed by user, plus the variance between seeds / S. Tests are
    two-sided with Student's t; Holm's correction is over the domains that have
    ``rules.min_class`` users and in which either model finds an item. In ``positives`` stand the
    rows whose item training knew.

    Raises:
        MismatchError: rows, items, domains or their names differ.
        DataError: no entry, or different numbers of seeds.
        ConfigError: ``rules`` ask for the bootstrap, or there is no such metric.
    """
    if rules.method != "delong":
        raise ConfigError("the bootstrap is for AUC; ranks are compared with method = 'delong'")
    paired = Paired.of(a, b, metric, protocol)
    found = {d: estimate_or_reason(paired, d, rules) for d in paired.shown}
    tests = {d: e for d, e in found.items() if isinstance(e, Estimate)}
    p_values = {d: p_value(e) for d, e in tests.items()}
    adjusted = dict(zip(tests, holm(list(p_values.values())), strict=True))
    rows = []
    for d, estimate in found.items():
        known = {
            "domain": paired.names[d],
            "rows": int((paired.domain == d).sum()),
            "positives": int((~paired.cold & (paired.domain == d)).sum()),
        }
        if not isinstance(estimate, Estimate):
            rows.append(DomainComparison(**known, verdict=Verdict.not_measurable, reason=estimate))
            continue
        smallest = detectable(estimate, rules.alpha / len(tests))
        verdict, reason = decide(estimate.value, adjusted[d], smallest, rules)
        row = DomainComparison(
            **known,
            difference=difference_interval(estimate),
            p_value=p_values[d],
            p_adjusted=adjusted[d],
            detectable=smallest,
            verdict=verdict,
            reason=reason,
        )
        rows.append(row)
    overall = mean_difference(paired, paired.domain > 0, rules)
    counts = Counter(row.verdict for row in rows)
    return Comparison(
        rows=tuple(rows),
        overall=difference_interval(overall) if overall else None,
        overall_p_value=p_value(overall) if overall else None,
        counts={verdict: counts[verdict] for verdict in Verdict},
        seeds=len(paired.difference),
        alpha=rules.alpha,
        resolution=rules.resolution,
        min_class=rules.min_class,
        cluster=rules.cluster,
        protocol=_protocol(paired, metric, protocol, rules, len(tests)),
        metric=metric,
    )


def compare_rank_means(
    a: Sequence[Ranks], b: Sequence[Ranks], metric: str, *, rules: Rules = RULES
) -> Difference | None:
    """The difference of one mean, such as "ndcg@10" or "macro_ndcg@10"; ``None`` without rows."""
    plain = metric.removeprefix("macro_")
    paired = Paired.of(a, b, plain, "domain")
    known = paired.domain > 0
    estimate = mean_difference(paired, known, rules) if plain == metric else _macro(paired, rules)
    if estimate is None:
        return None
    return Difference(value=difference_interval(estimate), p_value=p_value(estimate))


def arm_intervals(
    arm: Sequence[Ranks], metric: str, rules: Rules = RULES, protocol: Protocol = "domain"
) -> dict[str, Interval]:
    """One model's metric in each domain that has rows, by name, with the noise of rows and seeds."""
    first = arm[0].take(np.argsort(arm[0].row))
    values = _values(first, arm, metric, protocol)
    alone = replace(Paired.of(arm, arm, metric, protocol), difference=values)
    found = {}
    for d in alone.shown:
        estimate = mean_difference(alone, alone.domain == d, rules)
        if estimate is not None:
            kept = min(max(estimate.value, 0.0), 1.0)  # a sum of weights may round to above 1
            found[alone.names[d]] = share_interval(replace(estimate, value=kept))
    return found


@dataclass(frozen=True, slots=True)
class Paired:
    """Differences by seed and row, [S, N], the second model's values, and what the N rows are."""

    names: tuple[str, ...]
    domain: Ints
    user: Ints
    cold: Mask
    either: Mask
    second: Floats
    difference: Floats

    @classmethod
    def of(
        cls, a: Sequence[Ranks], b: Sequence[Ranks], metric: str, protocol: Protocol
    ) -> "Paired":
        if not a or len(a) != len(b):
            raise DataError(
                f"found {len(a)} and {len(b)} tables of ranks to compare; pass one entry a seed, "
                "the same number for both"
            )
        first = a[0].take(np.argsort(a[0].row))
        values = [_values(first, arm, metric, protocol) for arm in (a, b)]
        return cls(
            names=(UNKNOWN, *first.domains),
            domain=first.domain.astype(np.int64),
            user=first.user,
            cold=first.cold,
            either=np.array([*values[0], *values[1]]).max(axis=0) > 0,
            second=values[1],
            difference=values[0] - values[1],
        )

    @property
    def shown(self) -> list[int]:
        """Ids of the domains to report: all named ones, and the unknown one if it has rows."""
        return [d for d in range(len(self.names)) if d or (self.domain == 0).any()]


def _values(first: Ranks, arm: Sequence[Ranks], metric: str, protocol: Protocol) -> Floats:
    """By seed and row, [S, N], in the order of ``first``."""
    return np.array([_same_rows(first, r).values(metric, protocol) for r in arm])


def _same_rows(first: Ranks, other: Ranks) -> Ranks:
    """``other`` in the order of ``first``; it must hold the same events."""
    if other.domains != first.domains:
        raise MismatchError(
            f"ranks over other domains: {len(other.domains)} {other.domains[:3]}..., expected "
            f"{len(first.domains)} {first.domains[:3]}...; compare models of one prepared data set"
        )
    other = other.take(np.argsort(other.row))
    for name in ("row", "domain", "item"):
        found, kept = getattr(other, name), getattr(first, name)
        if len(found) != len(kept) or (found != kept).any():
            raise MismatchError(
                f"the {name} column differs between {len(kept):,} and {len(found):,} rows; rank "
                "both models on the same split of the same prepared data set"
            )
    return other


def estimate_or_reason(paired: Paired, d: int, rules: Rules) -> Estimate | str:
    """The difference in a domain, or why it is not tested."""
    rows = paired.domain == d
    if not rows.any():
        return "no rows in this split"
    users = len(np.unique(paired.user[rows]))
    if users < rules.min_class:
        return f"{users} users among {int(rows.sum()):,} rows, fewer than {rules.min_class}"
    if not (paired.either & rows).any():
        return f"neither model finds any of {int(rows.sum()):,} items"
    estimate = mean_difference(paired, rows, rules)
    assert estimate is not None
    return estimate


def mean_difference(paired: Paired, rows: Mask, rules: Rules) -> Estimate | None:
    """The mean difference over these rows."""
    if not rows.any():
        return None
    return _estimate(paired, rows / rows.sum(), np.zeros(len(rows), np.int64), rules)


def _macro(paired: Paired, rules: Rules) -> Estimate | None:
    """The mean over known domains of their mean differences."""
    size = np.bincount(paired.domain, minlength=len(paired.names))
    size[0] = 0
    if not size.any():
        return None
    weight = np.where(
        paired.domain > 0, 1 / np.maximum(size[paired.domain], 1) / (size > 0).sum(), 0.0
    )
    return _estimate(paired, weight, paired.domain, rules)


def _estimate(paired: Paired, weight: Floats, group: Ints, rules: Rules) -> Estimate:
    """The weighted mean of differences; each row's share is its distance from its group's mean."""
    mean = paired.difference.mean(axis=0)
    total = np.bincount(group, weights=weight)
    centre = np.bincount(group, weights=weight * mean) / np.where(total > 0, total, 1.0)
    used = weight > 0
    share = ((mean - centre[group]) * weight)[used]
    variance, units = clustered_mean(share, paired.user[used] if rules.cluster == "user" else None)
    if math.isnan(variance):
        variance = 0.0
    return over_seeds(paired.difference @ weight, variance, max(units, 1))


def _protocol(paired: Paired, metric: str, protocol: Protocol, rules: Rules, tested: int) -> str:
    where = {
        "domain": "among all items of the item's domain",
        "all": "among all items",
        "sampled": "among 100 items drawn from all domains",
    }[protocol]
    unit = "all rows of a user as one cluster" if rules.cluster == "user" else "each row on its own"
    seeds = len(paired.difference)
    over = (
        "One seed: the noise of training is not included, so training again may change a verdict."
    )
    if seeds > 1:
        over = f"Means over {seeds} seeds, with the variance between seeds added."
    return (
        f"{metric} of A minus that of B, {where}, on the same {len(paired.domain):,} rows of "
        f"{rules.data}, in {len(paired.names) - 1} domains. Intervals are 95 %, {unit}. {over} "
        f"P-values are two-sided, with Holm's correction over the {tested} domains that have at "
        f"least {rules.min_class} users and an item that was found, at alpha {rules.alpha:g}; a "
        f"domain counts as unchanged only if it would have shown a difference of "
        f"{rules.resolution:g}."
    )
