"""Checks of the prepared data: leaks, and what a split claims."""

import numpy as np

from isthmus.diagnosis.chance import named, of
from isthmus.diagnosis.evidence import Audited, Data, Evidence
from isthmus.diagnosis.registry import NotApplicable, Observed, check
from isthmus.diagnosis.types import Severity

SUSPICIOUS_AUC = 0.95
"""What ``prepare`` warns of over all rows (``data.leaks.WARNING_AUC``), here domain by domain."""
CHANCE = 6.0
"""Standard errors above what chance gives, as in ``data.leaks``: enough for every feature in each
of hundreds of domains."""
LEAST = 20
"""Training rows below which a domain's own weights are as they were drawn: 20 rows move a bias by
about one standard error of a click rate, and nothing else."""
IN_TIME = "future-in-training"
"""The audit's code for what ISTH103 says with its domains."""


def data_of(e: Evidence) -> Data:
    assert e.data is not None
    return e.data


@check(
    "ISTH101",
    Severity.error,
    "The data was prepared in spite of a leak",
    looks_at="what the audit of `isthmus prepare` found and `accept_leaks = true` let pass: "
    "features that give the label away, histories that hold the row's own event, twins of a row "
    "in training and test",
    remedy="drop the feature or give its value from before the event, prepare again without "
    "accept_leaks, and train again: figures made with a leak say nothing of tomorrow",
    needs="data",
)
def accepted_leaks(e: Evidence) -> Observed:
    for found in _audited(e, blocks=True):
        yield f"[{found.code}] {found.message}", ()


@check(
    "ISTH102",
    Severity.warning,
    "The audit of the data had doubts",
    looks_at="what the audit of `isthmus prepare` warned of: features that all but tell the label, "
    "say nothing, or whose values do not last into the test rows",
    remedy="do what the message says, or know why it does not matter here",
    needs="data",
)
def audit_warnings(e: Evidence) -> Observed:
    for found in _audited(e, blocks=False):
        yield f"[{found.code}] {found.message}", ()


def _audited(e: Evidence, *, blocks: bool) -> list[Audited]:
    return [a for a in data_of(e).audit if a.blocks == blocks and a.code != IN_TIME]


@check(
    "ISTH103",
    Severity.warning,
    "Training knows the future of held-out rows",
    looks_at="validation and test rows that are earlier than the last training row; of events "
    "split by each user's last ones, earlier than a training event of the same user. Not asked "
    "where rows are split by user, which claims no order",
    remedy="split by time, or take the figures as they are: those of a model that knew the future",
    needs="data",
)
def overlap_in_time(e: Evidence) -> Observed:
    data = data_of(e)
    if data.early is None:
        raise NotApplicable("the split claims no order in time")
    held = np.sum([data.rows[s] for s in ("valid", "test") if s in data.rows], axis=0)
    late = [d for d in range(1, len(e.domains) + 1) if data.early[d]]
    if late:
        parts = [f"{e.name(d)} {data.early[d]:,} of {held[d]:,}" for d in late]
        yield (
            f"{int(data.early.sum()):,} of {int(held.sum()):,} held-out rows are earlier than "
            f"training rows, in {of(len(late), len(e.domains))}: {named(parts)}",
            tuple(map(e.name, late)),
        )


@check(
    "ISTH104",
    Severity.warning,
    "A feature foretells the label in one domain",
    looks_at="each feature alone, in each domain's training rows, every row left out of its own "
    f"estimate: an AUC above {SUSPICIOUS_AUC}, and {CHANCE:g} standard errors above what chance "
    "gives. Over all rows `isthmus prepare` looks by itself",
    remedy="find out how this domain fills the feature: often a flag that is set only after the "
    "click; drop it there, or give its value from before the event",
    needs="data",
)
def foretold(e: Evidence) -> Observed:
    data = data_of(e)
    known = {a.feature for a in data.audit if a.code == "label-in-feature"}
    telling: dict[str, list[tuple[float, str]]] = {}
    for s in data.separated:
        beyond = s.auc - 0.5 > CHANCE * s.error
        if beyond and s.auc > SUSPICIOUS_AUC and s.feature not in known:
            telling.setdefault(s.feature, []).append((s.auc, s.domain))
    for feature, where in telling.items():
        where.sort(reverse=True)
        parts = [f"{domain} AUC {auc:.3f}" for auc, domain in where]
        yield (
            f"feature {feature!r} alone ranks the training rows of "
            f"{of(len(where), len(e.domains))}: {named(parts)}",
            tuple(domain for _, domain in where),
        )


@check(
    "ISTH105",
    Severity.error,
    "The label is a feature",
    looks_at="features that are read from the label's own column, or collect it",
    remedy="remove the feature and prepare again",
    needs="data",
)
def label_as_feature(e: Evidence) -> Observed:
    data = data_of(e)
    if not data.target:
        raise NotApplicable("events have no label")
    same = [name for name, column in data.sources.items() if column == data.target]
    if same:
        yield f"read from the label's column {data.target!r}: {', '.join(map(repr, same))}", ()


@check(
    "ISTH106",
    Severity.warning,
    "A domain is served that training hardly saw",
    looks_at=f"known domains with test rows and fewer than {LEAST} training rows",
    remedy="raise min_domain_rows, so that such rows take the path of the unknown domain, which is "
    "trained for it; or prepare the data anew once there are rows",
    needs="data",
)
def untrained(e: Evidence) -> Observed:
    rows = data_of(e).rows
    if "test" not in rows:
        raise NotApplicable("the data has no test rows")
    few = [d for d in range(1, len(e.domains) + 1) if rows["test"][d] and rows["train"][d] < LEAST]
    if few:
        parts = [f"{e.name(d)} {rows['train'][d]:,} training rows" for d in few]
        yield f"{of(len(few), len(e.domains))}: {named(parts)}", tuple(map(e.name, few))
