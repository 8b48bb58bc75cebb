"""One row a model, the figures of ``isthmus evaluate``, as text."""

from collections.abc import Mapping
from typing import Final

from isthmus.evaluation import Metrics
from isthmus.report import words

COLUMNS: Final = (
    "AUC",
    "DomainAUC",
    "macro",
    "Major5",
    "Minor10",
    "Minor5",
    "worst domain",
    "logloss",
    "ECE",
)
EXPLAINED: Final = {
    "AUC": "over all rows at once",
    "DomainAUC": "mean of the domains' AUC, weighted by their rows",
    "macro": "mean of the domains' AUC, each counting alike",
    "Major5": "the five largest domains",
    "Minor10": "the ten smallest domains",
    "Minor5": "the five smallest domains",
    "worst domain": "lowest AUC of any domain, and which",
    "logloss": "nats a row, lower is better",
    "ECE": "expected calibration error, lower is better",
}


def leaderboard(metrics: Mapping[str, Metrics]) -> list[dict[str, str]]:
    """A dictionary a model: "model" and every name of ``COLUMNS``; a dash where undefined."""
    return [{"model": name, **_figures(found)} for name, found in metrics.items()]


def _figures(found: Metrics) -> dict[str, str]:
    overall, worst = found.overall, found.worst_domain
    return {
        "AUC": words.number(overall.auc.value if overall.auc else None, 4),
        "DomainAUC": words.number(found.domain_auc, 4),
        "macro": words.number(found.macro_auc, 4),
        "Major5": words.number(found.major5, 4),
        "Minor10": words.number(found.minor10, 4),
        "Minor5": words.number(found.minor5, 4),
        "worst domain": f"{words.number(worst[1])} {worst[0]}" if worst else words.NONE,
        "logloss": words.number(overall.logloss, 4),
        "ECE": words.number(overall.ece, 4),
    }


def undefined(metrics: Mapping[str, Metrics]) -> list[str]:
    """One line a figure that a model lacks, with the reason; domains are counted, not listed."""
    lines = []
    for model, found in metrics.items():
        missing = {what: why for what, why in found.undefined.items() if what in found.by_domain}
        lines += [
            f"{model}: {what} is undefined: {reason}"
            for what, reason in found.undefined.items()
            if what not in missing
        ]
        if missing:
            first = next(iter(missing))
            lines.append(
                f"{model}: {words.plural(len(missing), 'domain')} not measured in full, such as "
                f"{first}: {missing[first]}"
            )
    return lines
