"""Is an entry significantly behind the best? Paired over rows within seeds, Holm over entries."""

from collections.abc import Mapping, Sequence

import numpy as np

from isthmus.bench.config import BenchConfig
from isthmus.bench.rows import Row, of_items
from isthmus.data.prepared import Prepared
from isthmus.evaluation import (
    Difference,
    Predictions,
    Ranks,
    compare_means,
    compare_rank_means,
)
from isthmus.evaluation.panel import Arm, Panel
from isthmus.evaluation.rules import holm
from isthmus.experiment import train_rows
from isthmus.progress import Reporter, quiet
from isthmus.store import Store

TESTED = ("domain_auc", "minor10")
TESTED_RANKS = ("ndcg@10", "macro_ndcg@10")
"""What is tested: of rankers, and of retrievers."""


def pairs(
    config: BenchConfig,
    store: Store,
    entries: Mapping[str, Sequence[Row]],
    *,
    reporter: Reporter = quiet,
) -> list[Row]:
    """One row for each metric that is tested and each entry but the best by it (of those with most seeds).

    The difference is the entry's minus the best's, over the seeds that both have. That the best is
    chosen on these very rows makes the tests a little too eager; they are not corrected for it.

    Raises:
        IsthmusError: a row's run is not in ``store``.
    """
    sizes = train_rows(Prepared.open(config.data, verify=False))
    ranked = of_items([row for rows in entries.values() for row in rows])
    tested = TESTED_RANKS if ranked else TESTED
    most = max(len(rows) for rows in entries.values())
    found: list[Row] = []
    with reporter.task(f"{config.name}: tests", len(tested) * len(entries)) as advance:
        for metric in tested:
            scored = {label: _mean(rows, metric) for label, rows in entries.items()}
            full = [k for k in scored if len(entries[k]) == most and not np.isnan(scored[k])]
            if not full:
                continue
            best = max(full, key=lambda label: scored[label])
            rivals = _rivals(store, entries, best, None if ranked else sizes)
            tests = {}
            for label in entries:
                if label != best and (test := rivals.test(label, metric)):
                    tests[label] = test
                advance(1)
            found += _rows(config.name, metric, best, tests)
    return found


def _rivals(
    store: Store,
    entries: Mapping[str, Sequence[Row]],
    best: str,
    sizes: Mapping[str, int] | None,
) -> "_Rivals | _RankedRivals":
    if sizes is None:
        return _RankedRivals(store, entries, best)
    return _Rivals(store, entries, best, sizes)


class _RankedRivals:
    """The retrievers of a benchmark against the best of them, on the same test rows."""

    def __init__(self, store: Store, entries: Mapping[str, Sequence[Row]], best: str) -> None:
        self.store, self.entries = store, entries
        self.best = self._ranks(best)

    def test(self, label: str, metric: str) -> tuple[int, Difference] | None:
        """Over how many seeds, and what was found; ``None`` where it is undefined."""
        own = self._ranks(label)
        seeds = sorted(set(own) & set(self.best))
        if not seeds:
            return None
        a, b = ([of[seed] for seed in seeds] for of in (own, self.best))
        found = compare_rank_means(a, b, metric)
        return (len(seeds), found) if found else None

    def _ranks(self, label: str) -> dict[int, Ranks]:
        return {
            int(row["seed"]): self.store.run(row["run"], check=False).ranks("test")
            for row in self.entries[label]
        }


class _Rivals:
    """The entries of a benchmark against the best of them, on the same test rows."""

    def __init__(
        self,
        store: Store,
        entries: Mapping[str, Sequence[Row]],
        best: str,
        sizes: Mapping[str, int],
    ) -> None:
        self.store, self.entries, self.sizes = store, entries, sizes
        self.best = self._predictions(best)
        self.panel = Panel.of(next(iter(self.best.values())))
        self.arms: dict[tuple[int, ...], Arm] = {}

    def test(self, label: str, metric: str) -> tuple[int, Difference] | None:
        """Over how many seeds, and what was found; ``None`` where it is undefined."""
        own = self._predictions(label)
        seeds = tuple(sorted(set(own) & set(self.best)))
        if not seeds:
            return None
        if seeds not in self.arms:
            self.arms[seeds] = Arm.of(self.panel, [self.best[seed] for seed in seeds])
        arm = Arm.of(self.panel, [own[seed] for seed in seeds])
        tests = compare_means(self.panel, arm, self.arms[seeds], sizes=self.sizes)
        return (len(seeds), tests[metric]) if metric in tests else None

    def _predictions(self, label: str) -> dict[int, Predictions]:
        return {
            int(row["seed"]): self.store.run(row["run"], check=False).predictions("test")
            for row in self.entries[label]
        }


def _rows(
    data: str, metric: str, best: str, tests: Mapping[str, tuple[int, Difference]]
) -> list[Row]:
    adjusted = holm([test.p_value for _, test in tests.values()])
    return [
        {
            "data": data,
            "metric": metric,
            "label": label,
            "best": best,
            "seeds": str(seeds),
            "difference": f"{test.value.value:.6f}",
            "low": f"{test.value.low:.6f}",
            "high": f"{test.value.high:.6f}",
            "p": f"{test.p_value:.4g}",
            "p_holm": f"{p:.4g}",
        }
        for (label, (seeds, test)), p in zip(tests.items(), adjusted, strict=True)
    ]


def _mean(rows: Sequence[Row], metric: str) -> float:
    values = [float(row[metric]) for row in rows if row[metric]]
    return float(np.mean(values)) if len(values) == len(rows) else float("nan")
