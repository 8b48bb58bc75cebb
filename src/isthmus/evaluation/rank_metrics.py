"""All metrics of one retriever on one split, from the places of its rows' items."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from isthmus.evaluation.predictions import Floats
from isthmus.evaluation.ranks import METRICS, PROTOCOLS, Protocol, Ranks
from isthmus.evaluation.types import UNKNOWN, Cluster, Interval
from isthmus.evaluation.variance import Estimate, clustered_mean, share_interval
from isthmus.schema import Frozen

Mask = npt.NDArray[np.bool_]


class RankFigures(Frozen):
    """Metrics of some rows. ``cold`` rows' items were unknown to training: misses, and counted.

    ``candidates``: how many items a row's own stood among, on average. Without rows ``values`` is
    empty, and ``reason`` says so.
    """

    rows: int
    cold: int
    candidates: float | None = None
    values: dict[str, Interval] = {}
    reason: str = ""


class ProtocolMetrics(Frozen):
    """Metrics under one protocol.

    ``weighted`` is the mean over the rows of known domains, ``macro`` the mean over the
    ``macro_domains`` known domains that have rows, each alike. ``repeats`` are the rows whose item
    the user had before, ``new`` all others.
    """

    overall: RankFigures
    by_domain: dict[str, RankFigures]
    weighted: dict[str, Interval] = {}
    macro: dict[str, Interval] = {}
    macro_domains: int = 0
    repeats: RankFigures
    new: RankFigures


class RankMetrics(Frozen):
    """One retriever on one split, by protocol: ``domain`` is the primary one."""

    protocols: dict[Protocol, ProtocolMetrics]
    cluster: Cluster = "user"

    @property
    def primary(self) -> ProtocolMetrics:
        return self.protocols["domain"]


def evaluate_ranks(
    r: Ranks, *, metrics: Sequence[str] = METRICS, cluster: Cluster = "user"
) -> RankMetrics:
    """Metrics by protocol: overall, by domain, and as means over domains, with intervals over users."""
    found = {protocol: _one(r, protocol, metrics, cluster) for protocol in PROTOCOLS}
    return RankMetrics(protocols=found, cluster=cluster)


def metric_of_ranks(r: Ranks, name: str) -> float | None:
    """One figure of the primary protocol, such as "ndcg@10" or "macro_ndcg@10"; ``None``: undefined."""
    metric = name.removeprefix("macro_")
    known = r.domain > 0
    if not known.any():
        return None
    values, domain = r.values(metric)[known], r.domain[known]
    if metric == name:
        return float(values.mean())
    rows = np.bincount(domain)
    sums = np.bincount(domain, weights=values)
    return float((sums[rows > 0] / rows[rows > 0]).mean())


def _one(r: Ranks, protocol: Protocol, metrics: Sequence[str], cluster: Cluster) -> ProtocolMetrics:
    values = {name: r.values(name, protocol) for name in metrics}
    user = r.user if cluster == "user" else None

    def figures(rows: Mask) -> RankFigures:
        count = int(rows.sum())
        if not count:
            return RankFigures(rows=0, cold=0, reason="no rows in this split")
        weight = rows / count
        return RankFigures(
            rows=count,
            cold=int((r.cold & rows).sum()),
            candidates=float(r.of[protocol][rows].mean()),
            values={name: _mean(v, weight, user) for name, v in values.items()},
        )

    by_domain = {
        name: figures(r.domain == d)
        for d, name in enumerate((UNKNOWN, *r.domains))
        if d or (r.domain == 0).any()
    }
    known = np.bincount(r.domain, minlength=len(r.domains) + 1)
    known[0] = 0
    present = int((known > 0).sum())
    weighted = {}
    macro = {}
    if present:
        even = np.where(r.domain > 0, 1 / known.sum(), 0.0)
        alike = np.where(r.domain > 0, 1 / (np.maximum(known[r.domain], 1) * present), 0.0)
        for name, v in values.items():
            weighted[name] = _mean(v, even, user)
            macro[name] = _mean_over_domains(v, alike, r.domain, user)
    return ProtocolMetrics(
        overall=figures(np.ones(len(r), bool)),
        by_domain=by_domain,
        weighted=weighted,
        macro=macro,
        macro_domains=present,
        repeats=figures(r.repeat == 1),
        new=figures(r.repeat == 0),
    )


def _mean(values: Floats, weight: Floats, user: npt.NDArray[np.int64] | None) -> Interval:
    """The weighted mean (weights sum to 1), with its interval."""
    mean = float(values @ weight)
    return _interval(mean, (values - mean) * weight, weight, user)


def _mean_over_domains(
    values: Floats,
    weight: Floats,
    domain: npt.NDArray[np.int32],
    user: npt.NDArray[np.int64] | None,
) -> Interval:
    """A mean of domains' means: each row's share is its distance from its own domain's mean."""
    total = np.bincount(domain, weights=weight)
    means = np.bincount(domain, weights=values * weight) / np.where(total > 0, total, 1.0)
    return _interval(float(values @ weight), (values - means[domain]) * weight, weight, user)


def _interval(
    mean: float, share: Floats, weight: Floats, user: npt.NDArray[np.int64] | None
) -> Interval:
    counted = weight > 0
    cluster = None if user is None else user[counted]
    variance, units = clustered_mean(share[counted], cluster)
    mean = min(max(mean, 0.0), 1.0)  # a sum of weights may round to above 1
    return share_interval(Estimate(mean, variance, max(units - 1, 1), units))
