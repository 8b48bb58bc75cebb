"""What trackers are told: figures by name, from what a run keeps itself."""

from collections.abc import Mapping
from typing import Any

from isthmus.evaluation import Metrics, RankMetrics
from isthmus.evaluation.types import Interval
from isthmus.trackers.base import Setting
from isthmus.training.state import TrainingState

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
    for where, one in {"": metrics.overall, **metrics.by_domain}.items():
        found |= {_named(name, where): getattr(one, name) for name in _OF_A_DOMAIN}
    return _numbers(split, found)


def of_ranks(split: str, metrics: RankMetrics) -> dict[str, float]:
    """A retriever's metrics on a split, among the items of each target's domain."""
    primary = metrics.primary
    found: dict[str, Any] = {f"macro_{name}": value for name, value in primary.macro.items()}
    found |= primary.weighted
    for where, one in primary.by_domain.items():
        found |= {_named(name, where): value for name, value in one.values.items()}
    return _numbers(split, found)


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


def _named(metric: str, domain: str) -> str:
    return f"{metric}/{domain}" if domain else metric


def _numbers(split: str, found: Mapping[str, float | Interval | None]) -> dict[str, float]:
    plain = {n: v.value if isinstance(v, Interval) else v for n, v in found.items()}
    return {f"final/{split}/{name}": value for name, value in plain.items() if value is not None}
