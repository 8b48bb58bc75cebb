"""How a comparison was made, in words: it stands under every table of verdicts."""

from isthmus.evaluation.panel import Panel
from isthmus.evaluation.rules import Rules


def protocol(
    panel: Panel, rules: Rules, seeds: int, tested: int, models: tuple[str, str] = ("A", "B")
) -> str:
    """Data, clustering, seeds, correction and level of a comparison, in a few sentences."""
    rows, domains = len(panel.row), len(panel.names) - 1
    sentences = (
        f"AUC of {models[0]} minus AUC of {models[1]} on the same {rows:,} rows of {rules.data}, "
        f"in {domains} domains.",
        f"Intervals are 95 %, {_variance(rules)}.",
        _seeds(seeds),
        f"P-values are two-sided, with Holm's correction over the {tested} domains that have at "
        f"least {rules.min_class} rows of both labels, at alpha {rules.alpha:g}; a domain counts "
        f"as unchanged only if it would have shown a difference of {rules.resolution:g}.",
    )
    return " ".join(sentences)


def _variance(rules: Rules) -> str:
    unit = "all rows of a user as one cluster" if rules.cluster == "user" else "each row on its own"
    if rules.method == "bootstrap":
        return f"from {rules.replicates:,} bootstrap samples (seed {rules.seed}), {unit}"
    return f"from DeLong's variance, {unit}"


def _seeds(seeds: int) -> str:
    if seeds == 1:
        return (
            "One seed: the noise of training is not included, so training again may change a "
            "verdict."
        )
    return f"Means over {seeds} seeds, with the variance between seeds added."
