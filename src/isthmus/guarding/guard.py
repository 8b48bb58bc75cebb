"""Deciding which domains are guarded and how, building the artefact, showing what it changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from torch import Tensor

from isthmus.data.prepared import Prepared
from isthmus.errors import ConfigError
from isthmus.evaluation import Comparison, Rules
from isthmus.evaluation.either import Table, compared, rules_of
from isthmus.evaluation.guarding import (
    Decision,
    GuardTable,
    Way,
    changed_rows,
    choose,
    figures,
    guard_table,
    half,
    hurt,
)
from isthmus.experiment import SCORED
from isthmus.guarding.config import DECIDING, GuardConfig, Said, identity_of, name_of
from isthmus.guarding.inputs import refuse_pair
from isthmus.guarding.kinds import Kind, kind_of
from isthmus.models import Model
from isthmus.progress import Reporter, quiet
from isthmus.store import Run, Store
from isthmus.training.state import TrainingState

WAYS: Final[tuple[Way, ...]] = ("part", "own")
"""In the order in which equals are taken: a part of the joint model costs nothing more."""
FILE = "guard.json"
"""The table of what changed, in a guarded run."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """``run`` and ``table`` are ``None`` where nothing is guarded; ``decisions`` say why not.

    ``comparison`` is that of the joint model with the isolated ones on the rows that decided;
    ``None`` where the run was there before.
    """

    run: Run | None
    table: GuardTable | None
    decisions: tuple[Decision, ...] = ()
    comparison: Comparison | None = None


def guard(
    kept: Run,
    isolated: Run,
    prepared: Prepared,
    config: GuardConfig | None = None,
    *,
    reporter: Reporter = quiet,
) -> Outcome:
    """Guard a joint run with its isolated one: a new run in the same store, or none if none is hurt.

    All scores of domains that are not guarded stay what they were to the bit, which is checked on
    every validation and test row. The same call again finds the run done.

    Raises:
        ConfigError: the runs are not of the kinds that this needs, a domain is unknown, or none of
            the ways is open to a domain that was named. MismatchError: they are of other data.
    """
    config = config or GuardConfig()
    refuse_pair(kept, isolated, config.domains)
    store, identity = Store(kept.path.parent), identity_of(kept, isolated, config)
    name = name_of(identity, kept)
    if name in store.names():
        before = store.create(name, identity, kept.schema, kept.data)
        if before.finished:
            reporter.note(f"{name}: finished before, in {before.path}")
            return Outcome(before, stored_table(before))
    kind = kind_of(kept, isolated, prepared)
    scored = _Scored.of(kind, config)
    decisions, tuned = _decide(kind, scored, config, kept.schema.domains, reporter)
    if not any(one.way for one in decisions):
        return Outcome(None, None, decisions, scored.comparison)
    model = _built(kind, tuned, decisions, kept.schema.domains)
    run = store.create(name, identity, kept.schema, kept.data)
    with run.lock():
        said = Said.of(kept, isolated, config, scored.comparison)
        table = _finish(run, kind, model, decisions, said, {config.split: scored.before})
    return Outcome(run, table, decisions, scored.comparison)


def stored_table(kept: Run) -> GuardTable | None:
    """What guarding changed, of a guarded run; ``None`` of any other."""
    if FILE not in kept.manifest.files:
        return None
    return GuardTable.model_validate_json(kept.read(FILE))


@dataclass(frozen=True, slots=True)
class _Scored:
    """What decides: the comparison on the deciding rows, and the metric of both models by domain.

    ``before``: what the joint model makes of the whole split that the deciding rows are of.
    """

    before: Table
    comparison: Comparison
    scores: dict[str, dict[str, float]]

    @classmethod
    def of(cls, kind: Kind, config: GuardConfig) -> "_Scored":
        joint = kind.joint()
        before = kind.table(joint, config.split)
        own = deciding(kind.table(kind.composed(joint, kind.own), config.split), config)
        first = deciding(before, config)
        comparison = compared([first], [own], _rules(first, config))
        scores = {"joint": _values(first), "own": _values(own)}
        return cls(before, comparison, scores)


@dataclass(frozen=True, slots=True)
class _Tuned:
    """The joint model with parts trained further, and the parameters that each domain has a row of."""

    model: Model
    names: dict[int, list[str]]


def deciding(table: Table, config: GuardConfig, *, others: bool = False) -> Table:
    """The rows of a table of ``config.split`` that decide; or the ``others``, of which all else is shown."""
    if config.split == "valid":
        return table
    return table.take(half(table.user) != others)


def _decide(
    kind: Kind,
    scored: _Scored,
    config: GuardConfig,
    domains: Sequence[str],
    reporter: Reporter,
) -> tuple[tuple[Decision, ...], _Tuned]:
    """A decision for every domain that is hurt or named, and the parts that were trained for it."""
    found = {row.domain: row for row in scored.comparison.rows}
    wanted = config.domains or tuple(row.domain for row in hurt(scored.comparison))
    tuned = _tune(kind, [1 + domains.index(name) for name in wanted], config, reporter)
    scores = dict(scored.scores)
    if any(tuned.names.values()):
        scores["part"] = _values(deciding(kind.table(tuned.model, config.split), config))
    decisions, forced = [], bool(config.domains)
    for name in wanted:
        domain = 1 + domains.index(name)
        could = {"part": bool(tuned.names.get(domain)), "own": domain in kind.own}
        ways = [way for way in WAYS if could[way] and config.ways in ("best", way)]
        if forced and not ways:
            raise ConfigError(_closed(name, config.ways))
        own = {w: v[name] for w, v in scores.items() if name in v and could.get(w, True)}
        way = choose(own, ways, forced=forced)
        decisions.append(
            Decision(
                domain=name,
                forced=forced,
                way=way,
                difference=found[name].difference,
                p_adjusted=found[name].p_adjusted,
                scores=own,
                reason="" if way else "nothing better was found on the rows that decide",
            )
        )
    return tuple(decisions), tuned


def _closed(name: str, ways: str) -> str:
    own = "it had no training rows, and so no model of its own"
    part = "the model has no part that is this domain's alone"
    why = {"own": own, "part": part, "best": f"{own}, and {part}"}[ways]
    return f"domain {name!r} cannot be guarded: {why}"


def _tune(kind: Kind, wanted: list[int], config: GuardConfig, reporter: Reporter) -> _Tuned:
    model, names = kind.joint(), {}
    if wanted and config.ways != "own":
        with reporter.task("own parts, trained further: domains", len(wanted)) as advance:
            for domain in wanted:
                names[domain] = kind.tuned(model, domain)
                advance(1)
    return _Tuned(model, names)


def _built(
    kind: Kind, tuned: _Tuned, decisions: Sequence[Decision], domains: Sequence[str]
) -> Model:
    """The joint model, with the rows of parts that are taken, and own models beside it."""
    ways = {1 + domains.index(one.domain): one.way for one in decisions}
    joint = kind.joint().requires_grad_(False)
    for domain in (d for d, way in ways.items() if way == "part"):
        for name in tuned.names[domain]:
            joint.get_parameter(name)[domain] = tuned.model.get_parameter(name)[domain].detach()
    return kind.composed(joint, {d: kind.own[d] for d, way in ways.items() if way == "own"})


def _finish(
    run: Run,
    kind: Kind,
    model: Model,
    decisions: Sequence[Decision],
    said: Said,
    known: Mapping[str, Table],
) -> GuardTable:
    """Score, check, and keep everything; the table of what changed.

    ``known``: what the joint model makes of a split, where it was asked already.
    """
    guarded = [one.domain for one in decisions if one.way]
    tables = {split: kind.table(model, split) for split in SCORED}
    joint = kind.joint()
    before = {split: known.get(split) or kind.table(joint, split) for split in SCORED}
    for split in SCORED:
        moved = changed_rows(before[split], tables[split], guarded)
        if len(moved):
            raise ConfigError(
                f"{len(moved):,} rows of other domains would be scored otherwise, the first is row "
                f"{moved[0]} of split {split!r}: {run.config['model']!r} scores a row by the others "
                "of its batch, or by parts of other domains, and cannot be guarded"
            )
        kind.keep(run, split, tables[split])
    first, then = (deciding(t["test"], said.config, others=True) for t in (before, tables))
    rules = _rules(first, said.config)
    table = guard_table(first, then, decisions, rules, **said.names, protocol=said.protocol)
    with run.artefact(FILE) as path:
        path.write_text(table.model_dump_json(indent=2) + "\n", encoding="utf-8")
    state = _state(model, kind.score(tables["valid"]))
    run.finish(state, {split: kind.metrics(found) for split, found in tables.items()})
    return table


def _state(model: Model, score: float) -> TrainingState:
    weights: dict[str, Tensor] = {n: value.clone() for n, value in model.state_dict().items()}
    return TrainingState(scores=[score], losses=[{}], model=weights, best=weights)


def _rules(table: Table, config: GuardConfig) -> Rules:
    return rules_of(table, alpha=config.alpha, data=DECIDING[config.split])


def _values(table: Table) -> dict[str, float]:
    return {name: interval.value for name, interval in figures(table).items()}
