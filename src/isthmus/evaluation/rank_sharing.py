"""The sharing table of retrievers: what a joint one gained or lost against one a domain."""

from collections.abc import Mapping, Sequence

from isthmus.errors import DataError, MismatchError
from isthmus.evaluation.advice import advise
from isthmus.evaluation.rank_compare import RULES, arm_intervals, compare_ranks
from isthmus.evaluation.ranks import METRIC, Ranks
from isthmus.evaluation.rules import Rules
from isthmus.evaluation.types import DomainSharing, SharingTable


def share_ranks(
    joint: Sequence[Ranks],
    isolated: Sequence[Ranks],
    shared: Sequence[Ranks] | None = None,
    *,
    train_rows: Mapping[str, int],
    names: Mapping[str, str] | None = None,
    metric: str = METRIC,
    rules: Rules = RULES,
) -> SharingTable:
    """Domain by domain, among the items of the domain: the metric of the models, and the gain.

    One entry a seed each, on the same rows; ``shared`` (a floor, say) is shown for comparison and
    not tested. ``train_rows`` are training events by domain name, ``names`` maps "joint",
    "isolated" and "shared" to the models' names. In ``positives`` stand the rows whose item
    training knew. Rows are sorted by gain, largest first, those without one last.

    Raises as ``compare_ranks`` does, and ``MismatchError`` for ``train_rows`` of unknown domains.
    """
    if not joint or len(joint) != len(isolated):
        raise DataError(
            f"found {len(joint)} joint and {len(isolated)} isolated tables of ranks; pass one entry "
            "a seed, the same number for both"
        )
    if strange := sorted(set(train_rows) - set(joint[0].domains)):
        raise MismatchError(
            f"training rows of unknown domains {strange[:5]}; expected names among the "
            f"{len(joint[0].domains)} domains of the ranks, such as {joint[0].domains[:3]}"
        )
    arms = {"joint": joint, "isolated": isolated, **({"shared": shared} if shared else {})}
    called = {role: (names or {}).get(role, role) for role in arms}
    compared = compare_ranks(joint, isolated, metric=metric, rules=rules)
    values = {role: arm_intervals(arm, metric, rules) for role, arm in arms.items()}
    rows = [
        DomainSharing(
            **row.model_dump(exclude={"difference"}),
            **{role: found.get(row.domain) for role, found in values.items()},
            gain=row.difference,
            train_rows=train_rows.get(row.domain, 0),
        )
        for row in compared.rows
    ]
    advices = [advise(row, rules, metric, seeds=compared.seeds) for row in rows]
    rows = [
        row.model_copy(update={"advice": advice}) for row, advice in zip(rows, advices, strict=True)
    ]
    rows.sort(key=lambda row: -row.gain.value if row.gain else 2.0)
    said = compared.protocol.replace(
        "of A minus that of B", f"of {called['joint']} minus that of {called['isolated']}", 1
    )
    return SharingTable(
        names=called,
        seeds=compared.seeds,
        alpha=compared.alpha,
        rows=tuple(rows),
        counts=compared.counts,
        protocol=said,
        overall=compared.overall,
        overall_p_value=compared.overall_p_value,
        metric=metric,
        resolution=rules.resolution,
        min_class=rules.min_class,
    )
