"""How a run's training went, epoch by epoch, from its manifest and its log."""

from isthmus.report.data import Curves
from isthmus.store import Run


def curves(one: Run) -> Curves:
    """Validation score, losses, and what the model told of domains, by epoch."""
    scores, losses = one.manifest.scores, one.manifest.losses
    names = list(dict.fromkeys(name for epoch in losses for name in epoch))
    return Curves(
        score=scores,
        losses={name: tuple(epoch.get(name) for epoch in losses) for name in names},
        told=_told(one),
        best_epoch=max(range(len(scores)), key=scores.__getitem__),
        score_name=str(one.config["train"]["metric"]),
    )


def _told(one: Run) -> dict[str, dict[str, tuple[float | None, ...]]]:
    """From the log; of an epoch that was logged twice, as after a kill, both lines are the same."""
    epochs = len(one.manifest.scores)
    by_epoch = {
        entry["epoch"]: entry.get("told", {}) for entry in one.entries() if "epoch" in entry
    }
    lines = [by_epoch.get(number + 1, {}) for number in range(epochs)]
    figures = dict.fromkeys(what for line in lines for what in line)
    return {
        what: {
            domain: tuple(line.get(what, {}).get(domain) for line in lines)
            for domain in one.schema.domains
            if any(domain in line.get(what, {}) for line in lines)
        }
        for what in figures
    }
