"""What a model costs, from its finished runs: parameters, CPU seconds of training and of scoring."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from isthmus.models.isolated import domains_in
from isthmus.report.data import Cost
from isthmus.store import Run

_WEIGHTS = "model.safetensors"


def cost(runs: Sequence[Run]) -> Cost:
    """Of one model, trained with several seeds; its size is that of the first, times are means."""
    state = runs[0].model_state()
    spent = [_spent(one.entries()) for one in runs]
    return Cost(
        models=_models(runs[0], state),
        parameters=parameters(state),
        stored_bytes=runs[0].manifest.files[_WEIGHTS].bytes,
        training_cpu_s=_mean([training for training, _ in spent]),
        scoring_cpu_us=_mean([scoring for _, scoring in spent]),
    )


def parameters(state: Mapping[str, Tensor]) -> int:
    """How many numbers a model holds: those of its weights, and of its buffers that are no counts."""
    return sum(value.numel() for value in state.values() if value.is_floating_point())


def _models(one: Run, state: Mapping[str, Tensor]) -> int:
    """How many models are kept: one, and one more for each domain that has its own."""
    scope = one.config["scope"]
    own = len(domains_in(state)) if scope in ("isolated", "guarded") else 0
    return max(own + (scope != "isolated"), 1)


def _spent(entries: Sequence[Mapping[str, Any]]) -> tuple[float | None, float | None]:
    """CPU seconds of training, and CPU microseconds a scored row, from the lines of a log.

    What comes after scoring is evaluation, and in neither. A log of before scoring had lines of its
    own tells only the whole.
    """
    training, scoring, rows, measuring = 0.0, 0.0, 0, False
    for entry in entries:
        seconds = float(entry.get("cpu", 0.0))
        if "scored" in entry:
            scoring, rows = scoring + seconds, rows + int(entry["rows"])
        elif not measuring:
            training += seconds
        measuring = "scored" in entry
    return training or None, 1e6 * scoring / rows if rows else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
