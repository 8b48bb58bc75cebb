"""Events that are kept although what is served does not know such ones: it is said."""

from collections.abc import Sequence
from dataclasses import replace

from isthmus.service.events import Verdict
from isthmus.service.pipeline import Pipeline


def warned(
    pipeline: Pipeline, events: Sequence[object], verdicts: Sequence[Verdict]
) -> tuple[Verdict, ...]:
    """The verdicts on these events, with a warning where the pipeline doubts item and domain."""
    return tuple(map(lambda event, verdict: _warned(pipeline, event, verdict), events, verdicts))


def _warned(pipeline: Pipeline, event: object, verdict: Verdict) -> Verdict:
    if verdict.status not in ("accepted", "duplicate") or not isinstance(event, dict):
        return verdict
    code, reason = pipeline.doubt(event["item"], event["domain"])
    return replace(verdict, warning=code, reason=reason) if code else verdict
