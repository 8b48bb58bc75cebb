"""What trackers are told: figures by name, from what a run keeps itself."""

from collections.abc import Mapping
from typing import Any

from isthmus.evaluation import Metrics, RankMetrics
from isthmus.evaluation.types import Interval
from isthmus.trackers.base import Setting
from isthmus.training.state import TrainingState

Figures = Mapping[str, float | Interval | None]
_OF_A_DOMAIN = ("auc", "logloss", "ece", "calibration_ratio")
_OF_ALL = ("domain_auc", "macro_auc", "major5", "minor10", "minor5")


def of_epoch(state: TrainingState, metric: str) -> dict[str, float]:
    """After an epoch: losses, the validation score, and what the model told of its domains."""
    told = {f"{what}/{name}": v for what, of in state.told.items() for name, v in of.items()}
    losses = {f"loss/{name}": value for name, value in state.losses[-1].items()}
    return {**losses, f"valid/{metric}": state.scores[-1], **told}


def of_scores(split: str, metrics: Metrics) -> dict[str, float]:
    """A ranker's metrics on a split, overall and by domain, those that are defined."""
    found = {name: getattr(metrics, name) for name in _OF_ALL}
    found |= {name: getattr(metrics.overall, name) for name in _OF_A_DOMAIN}
    by_domain = {
        f"{name}/{domain}": getattr(one, name)
        for domain, one in metrics.by_domain.items()
        for name in _OF_A_DOMAIN
    }
    return _final(split, found, by_domain)


def of_ranks(split: str, metrics: RankMetrics) -> dict[str, float]:
    """A retriever's metrics on a split, among the items of each target's domain."""
    of = metrics.primary
    macro = {f"macro_{name}": value for name, value in of.macro.items()}
    by_domain = {
        f"{name}/{domain}": value
        for domain, one in of.by_domain.items()
        for name, value in one.values.items()
    }
    return _final(split, {**of.weighted, **macro}, by_domain)


def settings(config: Mapping[str, Any], prefix: str = "") -> dict[str, Setting]:
    """A configuration's values by dotted names; lists as text."""
    found: dict[str, Setting] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= settings(value, f"{prefix}{key}.")
        else:
            plain = value is None or isinstance(value, str | int | float)
            found[f"{prefix}{key}"] = value if plain else str(value)
    return found


def _final(split: str, overall: Figures, by_domain: Figures) -> dict[str, float]:
    """In groups of their own: to a store of files a name cannot be a part of another's path."""
    named = {f"final {split}/{name}": value for name, value in overall.items()}
    named |= {f"final {split} by domain/{name}": value for name, value in by_domain.items()}
    plain = {n: v.value if isinstance(v, Interval) else v for n, v in named.items()}
    return {name: value for name, value in plain.items() if value is not None}
