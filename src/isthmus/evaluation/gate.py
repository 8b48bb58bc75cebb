"""The release gate: is a candidate not worse than the incumbent, in each domain, by a margin?"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from isthmus.errors import ConfigError, DataError
from isthmus.evaluation.gate_bounds import factor_needed, one_sided, p_worse
from isthmus.evaluation.gate_tables import Measured, RankTable, ScoreTable, Table
from isthmus.evaluation.gate_types import OVERALL, Gate, GateRow, GateRules, Kind, Outcome
from isthmus.evaluation.panel import Arm, Panel
from isthmus.evaluation.predictions import Predictions
from isthmus.evaluation.rank_compare import Paired
from isthmus.evaluation.ranks import METRIC, Protocol, Ranks
from isthmus.evaluation.rules import Rules, holm

MARGIN = 0.02
"""Of AUC, if none is asked for."""
RANK_MARGIN = 0.01
"""Of NDCG and its kin."""


def gate(
    candidate: Sequence[Predictions],
    incumbent: Sequence[Predictions],
    rules: GateRules = GateRules(),
) -> Gate:
    """Test, domain by domain, that the candidate's AUC is not lower by the margin or more.

    One entry a seed, on the same rows. In each domain with margin M and true difference delta
    (candidate minus incumbent):

    * *passes*: the lower bound of ``one_sided`` at level 1 - alpha is above -M: delta <= -M is
      refuted. Not corrected for the number of domains: all must pass, and a candidate that is worse
      by M in any of them does so with a chance of at most alpha (an intersection-union test;
      Berger, Technometrics 24, 1982).
    * *worse*: it does not pass, and Holm's adjusted one-sided p-value of "delta >= 0" is below
      alpha: the chance of calling any domain worse where none is, is at most alpha.
    * *cannot tell*: neither.

    Raises ``MismatchError`` where rows, labels or domains differ, ``DataError`` for no entry or
    different numbers of seeds, ``ConfigError`` for rules that name a domain that is not there.
    """
    _same_number(candidate, incumbent)
    plain = _plain(rules)
    panel = Panel.of(incumbent[0], plain.cluster)
    arms = Arm.of(panel, candidate), Arm.of(panel, incumbent)
    return judge(ScoreTable.of(panel, *arms, plain), rules)


def gate_ranks(
    candidate: Sequence[Ranks],
    incumbent: Sequence[Ranks],
    rules: GateRules = GateRules(),
    *,
    metric: str = METRIC,
    protocol: Protocol = "domain",
) -> Gate:
    """``gate`` of retrievers, by a metric that each row has."""
    _same_number(candidate, incumbent)
    paired = Paired.of(candidate, incumbent, metric, protocol)
    return judge(RankTable(paired, _plain(rules)), rules, metric=metric)


@dataclass(frozen=True, slots=True)
class _Part:
    """What is judged as one: a domain, the small ones together, or the mean."""

    name: str
    kind: Kind
    domains: tuple[int, ...]
    margin: float
    excluded: bool = False


def judge(table: Table, rules: GateRules, *, metric: str = "AUC") -> Gate:
    """``gate`` for tables that are already paired."""
    _refuse_strangers(table, rules)
    margin = rules.margin or (MARGIN if metric == "AUC" else RANK_MARGIN)
    measured = {part: _measure(table, part) for part in _parts(table, rules, margin)}
    raw = {
        part: p_worse(found.estimate)
        for part, found in measured.items()
        if found.estimate is not None and not part.excluded
    }
    adjusted = dict(zip(raw, holm(list(raw.values())), strict=True))
    rows = tuple(
        _row(part, found, (raw.get(part), adjusted.get(part)), rules)
        for part, found in measured.items()
    )
    return Gate(
        rows=rows,
        metric=metric,
        seeds=table.seeds,
        rules=rules.model_copy(update={"margin": margin}),
        protocol=_protocol(table, rules, metric, len(raw)),
    )


def _parts(table: Table, rules: GateRules, margin: float) -> list[_Part]:
    """Single domains in their order, the small ones together, the mean."""
    names, sizes = table.names, table.sizes
    shown = [d for d in range(len(names)) if d or sizes[0]]
    out = {d for d in shown if names[d] in rules.exclude}
    small = [d for d in shown if sizes[d] < rules.small and d not in out]
    parts = [
        _Part(names[d], "domain", (d,), rules.domains.get(names[d], margin), d in out)
        for d in shown
        if d not in small
    ]
    if small:
        name = f"({len(small)} small domains)" if len(small) > 1 else "(1 small domain)"
        parts.append(_Part(name, "small", tuple(small), margin))
    known = tuple(d for d in shown if d and d not in out)
    return [*parts, _Part(OVERALL, "overall", known, rules.overall or margin)]


def _measure(table: Table, part: _Part) -> Measured:
    return table.domain(part.domains[0]) if part.kind == "domain" else table.mean(part.domains)


def _row(
    part: _Part, found: Measured, p: tuple[float | None, float | None], rules: GateRules
) -> GateRow:
    known = {
        "name": part.name,
        "kind": part.kind,
        "rows": found.rows,
        "positives": found.positives,
        "margin": part.margin,
    }
    estimate = found.estimate
    if estimate is None:
        outcome = Outcome.excluded if part.excluded else Outcome.cannot_tell
        return GateRow(**known, outcome=outcome, reason=found.reason)
    difference = one_sided(estimate, rules.alpha, shape=found.shape, loss=found.loss)
    outcome, needed = Outcome.cannot_tell, None
    if part.excluded:
        outcome = Outcome.excluded
    elif difference.low > -part.margin:
        outcome = Outcome.passes
    elif p[1] is not None and p[1] < rules.alpha:
        outcome = Outcome.worse
    else:
        needed = ceil(
            found.rows
            * factor_needed(estimate, rules.alpha, part.margin, shape=found.shape, loss=found.loss)
        )
    return GateRow(
        **known,
        difference=difference,
        p_worse=p[0],
        p_adjusted=p[1],
        needed=needed,
        outcome=outcome,
    )


def _plain(rules: GateRules) -> Rules:
    """The settings that a comparison knows as well."""
    return Rules(alpha=rules.alpha, min_class=rules.min_class, cluster=rules.cluster)


def _same_number(candidate: Sequence[object], incumbent: Sequence[object]) -> None:
    if not candidate or len(candidate) != len(incumbent):
        raise DataError(
            f"found {len(candidate)} candidates and {len(incumbent)} incumbents; pass one entry a "
            "seed, the same number for both"
        )


def _refuse_strangers(table: Table, rules: GateRules) -> None:
    if strange := sorted({*rules.domains, *rules.exclude} - set(table.names)):
        raise ConfigError(
            f"no domain is called {', '.join(map(repr, strange[:5]))}; expected names among the "
            f"{len(table.names) - 1} domains, such as {', '.join(map(repr, table.names[1:4]))}"
        )


def _protocol(table: Table, rules: GateRules, metric: str, tested: int) -> str:
    unit = "all rows of a user as one cluster" if rules.cluster == "user" else "each row on its own"
    over = "one seed: this trained model, not the way it was trained"
    if table.seeds > 1:
        over = f"means over {table.seeds} seeds, with the variance between seeds added"
    share = f"{100 * rules.alpha:g} %"
    return (
        f"{metric} of the candidate minus that of the incumbent on the same "
        f"{int(table.sizes.sum()):,} rows of {rules.data}, in {len(table.names) - 1} domains; {unit}; "
        f"{over}. A row passes if its lower bound, one-sided at {share}, is above minus its margin. "
        f"It is worse if it does not pass and Holm's one-sided p over the {tested} tested rows is "
        f"below {share}."
    )
