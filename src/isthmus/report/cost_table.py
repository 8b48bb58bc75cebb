"""What each model costs, and how its settings were found, as text: for the page and for Markdown."""

from collections.abc import Mapping, Sequence
from typing import Final

from isthmus.report import words
from isthmus.report.data import Cost, Tuned

COSTS: Final = (
    "Model",
    "Models kept",
    "Parameters",
    "Stored",
    "Training, CPU-s",
    "Scoring, CPU-µs a row",
)
COST_NOTE: Final = (
    "Means over seeds, on the machine that trained them; what else it did then is in the CPU times, "
    "as are starting the processes of isolated models and reading the rows. × is by the isolated models."
)
TUNED: Final = ("Part", "Model", "Trials", "Own settings", "Chosen", "Own score", "Best score")


def cost_rows(costs: Mapping[str, Cost], against: str | None) -> list[list[str]]:
    """A row a model in the order of ``COSTS``; ``against`` names the isolated models, if there are."""
    return [
        [
            name,
            f"{one.models:,}",
            *_figures(one, None if name == against else costs.get(against or "")),
        ]
        for name, one in costs.items()
    ]


def _figures(one: Cost, other: Cost | None) -> list[str]:
    texts = {
        "parameters": f"{one.parameters:,}",
        "stored_bytes": f"{one.stored_bytes / 1e6:,.1f} MB",
        "training_cpu_s": _figure(one.training_cpu_s),
        "scoring_cpu_us": _figure(one.scoring_cpu_us),
    }
    return [
        _by(text, getattr(one, name), getattr(other, name, None)) for name, text in texts.items()
    ]


def _by(text: str, value: float | None, other: float | None) -> str:
    """The figure, and how many times the other's it is."""
    if not value or not other:
        return text
    times = value / other
    return f"{text} (×{times:,.0f})" if times >= 10 else f"{text} (×{times:.2g})"


def _figure(value: float | None) -> str:
    if value is None:
        return words.NONE
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def tuned_rows(tuned: Sequence[Tuned]) -> list[list[str]]:
    """A row a part of the comparison, in the order of ``TUNED``."""
    return [
        [
            one.part,
            one.model,
            _trials(one),
            _settings(one.own),
            _settings(one.found),
            words.number(one.own_score, 4),
            words.number(one.score, 4),
        ]
        for one in tuned
    ]


def tuned_note(tuned: Sequence[Tuned]) -> str:
    """What the search was; says so where there was none."""
    searched = [one for one in tuned if one.trials]
    if not searched:
        return (
            "Settings of training were taken as they are written: nothing was searched. A table "
            "[share.tune] gives every part the same number of trials."
        )
    metric = searched[0].metric
    return (
        f"{searched[0].trials} trials each, compared by {metric} on the validation rows; the test "
        "rows were not looked at. The first trial has the own settings."
    )


def _trials(one: Tuned) -> str:
    if not one.trials:
        return "nothing to tune"
    return f"{one.trials}" + (f" ({one.diverged} diverged)" if one.diverged else "")


def _settings(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items()) or words.NONE
