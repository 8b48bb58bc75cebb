"""Checks that need several runs: what changes with the seed alone, and what sharing costs."""

from itertools import combinations

from isthmus.diagnosis.chance import ALPHA, compared, named, of
from isthmus.diagnosis.evidence import Evidence
from isthmus.diagnosis.registry import NotApplicable, Observed, check
from isthmus.diagnosis.types import Severity
from isthmus.evaluation import Comparison, Verdict

SWING = 0.02
"""Difference between two seeds that matters: less is what a rerun is expected to move."""


@check(
    "ISTH401",
    Severity.warning,
    "Seeds trade domains against each other",
    looks_at="test metrics of runs that differ in their seed alone, on the same rows: in the same "
    f"pair of seeds one domain is better by {SWING} and another worse by as much, both beyond "
    "what their rows explain (paired test, Holm over domains, Bonferroni over pairs of seeds)",
    remedy="judge these domains by several seeds only, serve the mean of several seeds' scores, "
    "or steady the training (lower rate, larger batches, more weight on small domains)",
    needs="seeds",
)
def seesaw(e: Evidence) -> Observed:
    assert e.seeds is not None
    pairs = list(combinations(e.seeds, 2))
    for one, other in pairs:
        table = compared([e.seeds[one]], [e.seeds[other]], ALPHA / len(pairs))
        up, down = _moved(table, Verdict.gains), _moved(table, Verdict.hurt)
        if up and down:
            parts = [f"{name} {value:+.3f}" for name, value in (*up.items(), *down.items())]
            yield (
                f"{one} against {other}, {len(table.rows)} domains: {len(up)} up, {len(down)} down: "
                f"{named(parts)}",
                (*up, *down),
            )


def _moved(table: Comparison, verdict: Verdict) -> dict[str, float]:
    """Domains with this verdict and a difference that matters, the largest first."""
    found = {
        row.domain: row.difference.value
        for row in table.rows
        if row.difference and row.verdict is verdict and abs(row.difference.value) >= SWING
    }
    return dict(sorted(found.items(), key=lambda one: -abs(one[1])))


@check(
    "ISTH402",
    Severity.warning,
    "Whether sharing helps a domain depends on the seed",
    looks_at="gain over isolated models seed by seed: beyond chance above zero in one seed and "
    "below zero in another (paired test, Holm over domains, Bonferroni over seeds)",
    remedy="no verdict on these domains is worth acting upon: more seeds, or serve them their own "
    "model",
    needs="pairs",
)
def flipping_gains(e: Evidence) -> Observed:
    assert e.pairs is not None
    if len(e.pairs) < 2:
        raise NotApplicable("needs isolated runs of two seeds or more")
    alpha = ALPHA / len(e.pairs)
    tables = [compared([joint], [isolated], alpha) for joint, isolated in e.pairs]
    signs: dict[str, set[Verdict]] = {}
    for table in tables:
        for row in table.rows:
            signs.setdefault(row.domain, set()).add(row.verdict)
    both = tuple(name for name, seen in signs.items() if {Verdict.gains, Verdict.hurt} <= seen)
    if both:
        yield (
            f"{of(len(both), len(signs))} gain in one seed and lose in another: {named(both)}",
            both,
        )


@check(
    "ISTH701",
    Severity.warning,
    "Sharing hurts a domain",
    looks_at="the verdicts of the sharing report: joint against isolated models on the same test "
    "rows, over all seeds given, Holm-corrected over the domains",
    remedy="serve these domains their own model, or retrain the part that their mask selects; "
    "`isthmus share` has the whole table",
    needs="sharing",
)
def hurt(e: Evidence) -> Observed:
    assert e.sharing is not None
    rows = [row for row in e.sharing.rows if row.verdict is Verdict.hurt and row.gain]
    if rows:
        rows.sort(key=lambda row: row.gain.value if row.gain else 0.0)
        parts = [f"{row.domain} {row.gain.value:+.3f}" for row in rows if row.gain]
        yield (
            f"{of(len(rows), len(e.sharing.rows))}, {e.sharing.title} against isolated models: {named(parts)}",
            tuple(row.domain for row in rows),
        )
