"""The release gate over finished runs: may the candidate take the incumbent's place?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from isthmus.errors import ConfigError, DataError, MismatchError
from isthmus.evaluation import Gate, GateRules, gate_ranks
from isthmus.evaluation import gate as gate_scores
from isthmus.evaluation.ranks import METRIC, Protocol
from isthmus.store import Run
from isthmus.toml import read_toml, told


def gate(
    candidate: Sequence[Run | Path],
    incumbent: Sequence[Run | Path],
    rules: GateRules = GateRules(),
    *,
    split: str = "test",
    metric: str | None = None,
    among: Protocol = "domain",
) -> Gate:
    """Test that the candidate is not worse than the incumbent by the margin, in any domain.

    One run a side judges these two trained models; several (one a seed, the same number) judge the
    two ways of training. Of retrievers, ``metric`` (NDCG@10 unless given) among the candidates
    ``among``. The definitions and their guarantees: ``docs/gate.md``.

    Raises ``DataError`` for runs that are not finished, are there twice, or differ in number,
    ``MismatchError`` for runs of different data, or of a ranker and a retriever, ``ConfigError`` for
    rules that name no domain, or a metric that these runs have not.
    """
    ours, theirs = ([_opened(one) for one in side] for side in (candidate, incumbent))
    _check(ours, theirs)
    if not ours[0].of_items and (metric is not None or among != "domain"):
        raise ConfigError("--metric and --among are for retrievers; rankers are gated by AUC")
    rules = rules.model_copy(update={"data": f"the {split} split of {ours[0].data.name}"})
    if not ours[0].of_items:
        scores, known = ([one.comparable(split) for one in side] for side in (ours, theirs))
        return gate_scores(scores, known, rules)
    ranks, before = ([one.ranks(split) for one in side] for side in (ours, theirs))
    return gate_ranks(ranks, before, rules, metric=metric or METRIC, protocol=among)


def read_rules(path: Path | None, given: dict[str, Any]) -> GateRules:
    """Settings from a TOML of margins, under those given otherwise (``None``: not given).

    Raises ``ConfigError`` for a file that is none, an unknown key, or a value that cannot be.
    """
    values = read_toml(path, "margins") if path else {}
    asked = {key: value for key, value in given.items() if value is not None}
    try:
        return GateRules.model_validate({**values, **asked})
    except ValidationError as error:
        where = f"{path}: " if path and error.errors()[0]["loc"][:1] not in _keys(asked) else ""
        raise ConfigError(f"{where}{told(error)}") from None


def _keys(asked: dict[str, Any]) -> set[tuple[str]]:
    return {(key,) for key in asked}


def _opened(run: Run | Path) -> Run:
    return run if isinstance(run, Run) else Run.open(run)


def _check(ours: Sequence[Run], theirs: Sequence[Run]) -> None:
    """Refuse what cannot be compared, before any table is read."""
    if not ours or len(ours) != len(theirs):
        raise DataError(
            f"found {_runs(len(ours), 'candidate')} and {_runs(len(theirs), 'incumbent')}; give the "
            "same number of both, one a seed, with --against before each incumbent"
        )
    runs = [*ours, *theirs]
    places = [one.path.resolve() for one in runs]
    if again := [
        one.name for one, place in zip(runs, places, strict=True) if places.count(place) > 1
    ]:
        raise DataError(f"run {again[0]!r} is there twice; each run stands for one model, once")
    for one in runs:
        if not one.finished:
            raise DataError(
                f"run {one.name!r} is not finished; train it to its end with the same command again"
            )
    first = runs[0]
    for one in runs[1:]:
        if one.of_items != first.of_items:
            retriever, ranker = (one, first) if one.of_items else (first, one)
            raise MismatchError(
                f"run {retriever.name!r} is a retriever's, {ranker.name!r} a ranker's; gate models "
                "of one kind against each other"
            )
        if one.data != first.data:
            raise MismatchError(
                f"run {one.name!r} is of the data {one.data.name!r} ({one.data.digest[:12]}…), "
                f"{first.name!r} of {first.data.name!r} ({first.data.digest[:12]}…); gate runs of "
                "one prepared data set"
            )


def _runs(count: int, side: str) -> str:
    return f"{count} {side}{'' if count == 1 else 's'}"
