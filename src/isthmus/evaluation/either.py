"""Rankers or retrievers: what is asked of the results of whichever kind they are."""

from collections.abc import Sequence
from typing import Any, cast

from isthmus.errors import MismatchError
from isthmus.evaluation.compare import compare
from isthmus.evaluation.predictions import Predictions
from isthmus.evaluation.rank_compare import RULES, compare_ranks
from isthmus.evaluation.ranks import METRIC, Ranks
from isthmus.evaluation.rules import Rules
from isthmus.evaluation.types import Comparison

Table = Predictions | Ranks


def rules_of(table: Table, **changes: Any) -> Rules:
    """The usual rules for results of this kind, with these changes."""
    return (RULES if isinstance(table, Ranks) else Rules()).model_copy(update=changes)


def compared(a: Sequence[Table], b: Sequence[Table], rules: Rules) -> Comparison:
    """``a`` minus ``b`` domain by domain, one entry a seed: of AUC, of retrievers of ``METRIC``.

    Raises ``MismatchError`` for results of both kinds, and as ``compare`` and ``compare_ranks`` do.
    """
    kinds = {type(one) for one in (*a, *b)}
    if len(kinds) > 1:
        raise MismatchError("found scores and ranks of items; compare rankers, or retrievers")
    one, other = cast(Any, a), cast(Any, b)
    if kinds == {Ranks}:
        return compare_ranks(one, other, metric=METRIC, rules=rules)
    return compare(one, other, rules=rules)
