"""The figures of a leaderboard, from a benchmark's rows: means over seeds, and who is behind."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np
from scipy import special

Rows = Sequence[Mapping[str, str]]

METRICS: Final = {
    "auc": "AUC",
    "domain_auc": "DomainAUC",
    "major5": "Major5",
    "minor10": "Minor10",
    "minor5": "Minor5",
    "worst_auc": "worst domain",
}
RANKED: Final = {
    "ndcg@10": "NDCG@10",
    "hr@10": "HR@10",
    "mrr": "MRR",
    "macro_ndcg@10": "mean of domains",
    "repeat_ndcg@10": "repeats",
    "new_ndcg@10": "new items",
    "all_ndcg@10": "among all",
    "sampled_ndcg@10": "sampled",
}
"""Of retrievers: NDCG@10 where the title says no other, among the items of the item's domain."""
COSTS: Final = ("parameters", "train_rows_per_cpu_s", "cpu_seconds")
TESTED: Final = ("domain_auc", "minor10")
TESTED_RANKS: Final = ("ndcg@10", "macro_ndcg@10")
ALPHA: Final = 0.05
LEVEL: Final = 0.95


@dataclass(frozen=True, slots=True)
class Spread:
    """A mean over seeds, and half the width of its 95 % interval (Student's t); none for one seed."""

    mean: float
    half: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Self | None:
        if not values:
            return None
        mean, seeds = float(np.mean(values)), len(values)
        if seeds == 1:
            return cls(mean, None)
        quantile = float(special.stdtrit(seeds - 1, (1 + LEVEL) / 2))
        return cls(mean, quantile * float(np.std(values, ddof=1)) / math.sqrt(seeds))


@dataclass(frozen=True, slots=True)
class Behind:
    """An entry's difference from the best by a metric, with its interval and its corrected p."""

    best: str
    difference: float
    low: float
    high: float
    p: float

    @property
    def significant(self) -> bool:
        return self.p < ALPHA and self.difference < 0


@dataclass(frozen=True, slots=True)
class Line:
    """An entry: ``figures`` of the board's metrics and ``COSTS`` (``None``: undefined), tests by metric.

    ``trials`` of its search for settings; ``None`` where the rows do not say.
    """

    label: str
    seeds: int
    figures: dict[str, Spread | None]
    behind: dict[str, Behind]
    trials: int | None

    def mean(self, name: str) -> float | None:
        spread = self.figures.get(name)
        return spread.mean if spread else None


@dataclass(frozen=True, slots=True)
class Board:
    """``lines`` with the highest ``main`` metric first; ``best`` label by metric, of those shown.

    ``metrics``: titles of those that the rows have, of rankers or of retrievers, the main one of
    each among them. ``gains`` by label and domain: AUC (of retrievers NDCG@10; mean over seeds) minus the median of the entries' AUCs
    there. ``domains``: their test rows, the largest first.
    """

    name: str
    lines: tuple[Line, ...]
    best: dict[str, str]
    domains: dict[str, int]
    gains: dict[tuple[str, str], float]
    metrics: dict[str, str] = field(default_factory=lambda: dict(METRICS))

    @property
    def of_items(self) -> bool:
        """Whether it is of retrievers."""
        return "auc" not in self.metrics

    @property
    def main(self) -> str:
        """The metric by which the lines are ordered."""
        return self.metrics_tested[0]

    @property
    def metrics_tested(self) -> tuple[str, str]:
        """The metrics by which differences from the best are tested."""
        return TESTED_RANKS if self.of_items else TESTED

    @classmethod
    def of(cls, rows: Rows, pairs: Rows = (), domains: Rows = ()) -> Self:
        """From the rows of NAME.csv, NAME.pairs.csv and NAME.domains.csv."""
        labels = list(dict.fromkeys(row["label"] for row in rows))
        metrics = RANKED if any("ndcg@10" in row for row in rows) else METRICS
        main = next(iter(metrics)) if metrics is RANKED else TESTED[0]
        lines = [_line(label, rows, pairs, metrics) for label in labels]
        lines.sort(key=lambda line: -(line.mean(main) or 0.0))
        best = {}
        for metric in metrics:
            known = [line for line in lines if line.mean(metric) is not None]
            if known:
                best[metric] = max(known, key=lambda line: line.mean(metric) or 0.0).label
        sizes, gains = _gains([row for row in domains if row["label"] in labels])
        name = rows[0].get("data", "") if rows else ""
        return cls(name, tuple(lines), best, sizes, gains, dict(metrics))

    @property
    def tested(self) -> bool:
        """Whether the differences from the best were tested."""
        return any(line.behind for line in self.lines)


def _line(label: str, rows: Rows, pairs: Rows, metrics: Mapping[str, str]) -> Line:
    own = [row for row in rows if row["label"] == label]
    figures = {name: Spread.of(_numbers(own, name)) for name in (*metrics, *COSTS)}
    behind = {
        row["metric"]: Behind(
            row["best"],
            *(float(row[name]) for name in ("difference", "low", "high", "p_holm")),
        )
        for row in pairs
        if row["label"] == label
    }
    trials = _numbers(own, "trials")
    return Line(label, len(own), figures, behind, int(min(trials)) if trials else None)


def _numbers(rows: Rows, name: str) -> list[float]:
    return [float(row[name]) for row in rows if row.get(name)]


def _gains(rows: Rows) -> tuple[dict[str, int], dict[tuple[str, str], float]]:
    """Test rows by domain, the largest first; gain over the median entry by label and domain."""
    sizes = {row["domain"]: int(row["rows"]) for row in rows}
    order = sorted(sizes, key=lambda domain: (-sizes[domain], domain))
    values: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if value := row.get("auc") or row.get("ndcg@10"):
            values.setdefault((row["label"], row["domain"]), []).append(float(value))
    means = {key: float(np.mean(found)) for key, found in values.items()}
    gains: dict[tuple[str, str], float] = {}
    for domain in order:
        here = {label: mean for (label, name), mean in means.items() if name == domain}
        middle = float(np.median(list(here.values()))) if here else 0.0
        gains |= {(label, domain): mean - middle for label, mean in here.items()}
    shown = {domain for _, domain in gains}
    return {domain: sizes[domain] for domain in order if domain in shown}, gains
