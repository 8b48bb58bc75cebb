"""What is known of a run and its companions, as plain arrays: weights and logs read, nothing judged.

Shape letters: B rows, E experts, D known domains.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from isthmus import models, reference
from isthmus.curves import curves
from isthmus.data.prepared import Prepared
from isthmus.diagnose.groups import Group
from isthmus.diagnosis import Course, Data, Evidence
from isthmus.diagnosis.evidence import Bools, Scored
from isthmus.errors import IsthmusError
from isthmus.evaluation import Ranks, SharingTable, share_ranks, sharing
from isthmus.evaluation.predictions import Floats
from isthmus.experiment import load_model, train_rows
from isthmus.models import Ranker
from isthmus.models.grown import grown
from isthmus.store import Run
from isthmus.training.fit import CHURN

GATE_ROWS = 20_000
"""Validation rows by which gates are averaged: of each domain the first ones, evenly."""
OLDER = "the weights do not fit the model as this version has it; train again to have it looked at"
CAME = "domains came or went since the run was trained, and learned from rows that are not here"
GAP = "running gap"
"""How a retriever's figure of what sharing gains begins."""


def run_evidence(
    group: Group,
    groups: Sequence[Group],
    data: tuple[Prepared, Data] | None,
    root: Path,
    *,
    verdicts: SharingTable | None = None,
) -> Evidence:
    """What checks look at of a group's first run, and of the runs beside it.

    ``verdicts``: its sharing table, where it is made already.
    """
    run, absent = group.first, {}
    if data is None:
        absent["data"] = (
            f"no prepared data {run.data.name!r} of this run in {root}: name its place with --root"
        )
    model = None
    try:
        model = _model(run)
    except RuntimeError:  # torch: weights of another shape than this version's model has
        absent |= dict.fromkeys(("masks", "gates"), OLDER)
    if model is not None and data is None:
        absent["gates"] = "gates are asked with validation rows, and " + absent["data"]
    if run.manifest.lineage:
        absent["own_parameters"] = CAME
    seeds = {one.name: table for one in group.runs if (table := _scored(one, "test")) is not None}
    pairs = _pairs(group, groups)
    return Evidence(
        domains=run.schema.domains,
        data=data[1] if data else None,
        valid=_scored(run, "valid"),
        test=_scored(run, "test"),
        course=_course(run),
        masks=_masks(model),
        gates=_gates(model, data[0]) if model is not None and data else None,
        own_parameters=_own_parameters(run),
        seeds=seeds if len(seeds) > 1 else None,
        pairs=pairs or None,
        sharing=verdicts or _sharing(pairs, data[0] if data else None),
        floors=_floors(group, groups) or None,
        absent=absent,
    )


def _scored(run: Run, split: str) -> Scored | None:
    """The stored table of a split, if there is one."""
    for name, read in (("predictions", run.predictions), ("ranks", run.ranks)):
        if f"{name}/{split}.parquet" in run.manifest.files:
            table: Scored = read(split)
            return table
    return None


def _course(run: Run) -> Course | None:
    """How training went, where it went by epochs."""
    if run.config["scope"] == "isolated" or "max_epochs" not in run.config.get("train", {}):
        return None
    if not any(run.manifest.losses):  # a model that counts has nothing to train
        return None
    found = curves(run)
    gaps = next((told for name, told in found.told.items() if name.startswith(GAP)), {})
    return Course(
        scores=found.score,
        max_epochs=run.config["train"]["max_epochs"],
        losses=run.manifest.losses,
        metric=found.score_name,
        churn=found.told.get(CHURN, {}),
        gaps=gaps,
    )


def _model(run: Run) -> Ranker | None:
    """The model of a ranker that is trained over all domains together."""
    together = run.config["scope"] in ("joint", "mamdr")
    if run.of_items or not together or run.config["model"] in reference.names():
        return None
    return load_model(run)


def _masks(model: Ranker | None) -> tuple[Bools, ...] | None:
    edges = model.expert_masks() if model is not None else []
    return tuple(level[1:].cpu().numpy() for level in edges) or None


@torch.inference_mode()
def _gates(model: Ranker, prepared: Prepared) -> Mapping[str, Floats] | None:
    """What a domain's validation rows take of each expert on average, [D, E]; NaN without rows."""
    rows = prepared.impressions("valid")
    domain = rows.domain.numpy()
    ids = len(prepared.schema.domains) + 1
    order = np.argsort(domain, kind="stable")
    place = np.arange(len(domain)) - np.searchsorted(domain[order], domain[order])
    few = np.sort(order[place < max(1, GATE_ROWS // ids)])
    batch = rows[torch.from_numpy(few)]
    found = {}
    for name, shares_BE in model.gate_shares(batch).items():
        sums = torch.zeros(ids, shares_BE.shape[1], dtype=torch.float64)
        sums.index_add_(0, batch.domain, shares_BE.double())
        count = torch.bincount(batch.domain, minlength=ids)[:, None]
        found[name] = torch.where(count > 0, sums / count, torch.nan)[1:].numpy()
    return found or None


def _own_parameters(run: Run) -> int | None:
    """What one more domain would add to the model; ``None`` where the question has no answer."""
    if run.config["scope"] != "joint" or run.config["model"] in reference.names():
        return None
    if run.manifest.lineage:
        return None
    kind = models.get(run.config["model"])
    settings = kind.Config.model_validate(run.config["settings"])
    try:
        now, then = (grown(kind, settings, run.schema, added) for added in (0, 1))
    except IsthmusError:  # a setting that names domains, such as clusters, knows no further one
        return None
    sizes = [sum(p.numel() for p in model.parameters()) for model in (now, then)]
    return sizes[1] - sizes[0] or None


def _pairs(group: Group, groups: Sequence[Group]) -> list[tuple[Scored, Scored]]:
    """Test tables of a joint run and of an isolated one, of every seed that both have."""
    if group.isolated:
        return []
    for other in groups:
        if other.isolated and group.beside(other):
            both = [(_scored(a, "test"), _scored(b, "test")) for a, b in group.pairs(other)]
            return [(a, b) for a, b in both if a is not None and b is not None]
    return []


def _sharing(
    pairs: Sequence[tuple[Scored, Scored]], prepared: Prepared | None
) -> SharingTable | None:
    if not pairs:
        return None
    rows = train_rows(prepared) if prepared else {}
    joint: Any = [one for one, _ in pairs]
    isolated: Any = [other for _, other in pairs]
    table = share_ranks if isinstance(joint[0], Ranks) else sharing
    return table(joint, isolated, train_rows=rows)


def _floors(group: Group, groups: Sequence[Group]) -> dict[str, Ranks]:
    if group.floor:
        return {}
    beside = [other for other in groups if other.floor and group.beside(other)]
    found = {other.first.config["model"]: _scored(other.first, "test") for other in beside}
    return {name: ranks for name, ranks in found.items() if isinstance(ranks, Ranks)}
