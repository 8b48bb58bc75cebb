"""The sharing table: what a joint model gained or lost against one model a domain."""

from collections.abc import Mapping, Sequence

import numpy as np

from isthmus.errors import DataError, MismatchError
from isthmus.evaluation.advice import advise
from isthmus.evaluation.calibration import calibration_shifts
from isthmus.evaluation.compare import compare_arms
from isthmus.evaluation.panel import Arm, Panel
from isthmus.evaluation.predictions import Predictions
from isthmus.evaluation.protocol import protocol
from isthmus.evaluation.rules import Rules
from isthmus.evaluation.types import DomainSharing, Interval, SharingTable
from isthmus.evaluation.variance import auc_interval, clustered, over_seeds


def sharing(
    joint: Sequence[Predictions],
    isolated: Sequence[Predictions],
    shared: Sequence[Predictions] | None = None,
    *,
    train_rows: Mapping[str, int],
    names: Mapping[str, str] | None = None,
    rules: Rules = Rules(),
) -> SharingTable:
    """Domain by domain: AUC of the three models, and whether joint training gained over isolated.

    One entry a seed each, on the same rows; ``shared`` (one model that does not know the domain)
    is shown for comparison and not tested. ``train_rows`` are training rows by domain name (a
    domain left out had none); ``names`` maps "joint", "isolated" and "shared" to the models'
    names. Rows are sorted by gain, largest first, those without one last; each has the shift of
    its calibration, and what to do with it.

    Raises as ``compare`` does, and ``MismatchError`` for ``train_rows`` of unknown domains.
    """
    if not joint or len(joint) != len(isolated):
        raise DataError(
            f"found {len(joint)} joint and {len(isolated)} isolated predictions; pass one entry a "
            "seed, the same number for both"
        )
    panel = Panel.of(joint[0], rules.cluster)
    _check_names(panel, train_rows)
    arms = {"joint": Arm.of(panel, joint), "isolated": Arm.of(panel, isolated)}
    if shared:
        arms["shared"] = Arm.of(panel, shared)
    compared = compare_arms(panel, arms["joint"], arms["isolated"], rules)
    shifts = calibration_shifts(panel, joint, isolated, rules)
    rows = []
    for d, found in zip(panel.shown(), compared.rows, strict=True):
        values = {name: _interval(panel, arm, d) for name, arm in arms.items()}
        known = found.model_dump(exclude={"difference"})
        trained = train_rows.get(found.domain, 0)
        row = DomainSharing(
            **known,
            **values,
            gain=found.difference,
            train_rows=trained,
            calibration=shifts[found.domain],
        )
        rows.append(row.model_copy(update={"advice": advise(row, rules, seeds=compared.seeds)}))
    rows.sort(key=lambda row: -row.gain.value if row.gain else 2.0)
    called = {name: (names or {}).get(name, name) for name in arms}
    tested = sum(row.p_value is not None for row in compared.rows)
    models = (called["joint"], called["isolated"])
    return SharingTable(
        names=called,
        seeds=compared.seeds,
        alpha=compared.alpha,
        rows=tuple(rows),
        counts=compared.counts,
        protocol=protocol(panel, rules, compared.seeds, tested, models),
        overall=compared.overall,
        overall_p_value=compared.overall_p_value,
        resolution=rules.resolution,
        min_class=rules.min_class,
    )


def _interval(panel: Panel, arm: Arm, domain: int) -> Interval | None:
    rows = panel.rows(domain)
    values = arm.auc[:, domain]
    if np.isnan(values[0]):
        return None
    variance = clustered(arm.influence[rows], panel.label[rows], panel.users(rows))
    return auc_interval(over_seeds(values, *variance))


def _check_names(panel: Panel, train_rows: Mapping[str, int]) -> None:
    strange = sorted(set(train_rows) - set(panel.names))
    if strange:
        raise MismatchError(
            f"training rows of unknown domains {strange[:5]}; expected names among the "
            f"{len(panel.names) - 1} domains of the predictions, such as {panel.names[1:4]}"
        )
