"""The leak audit: features that know the label, and splits that know the future.

Each check is a function that gives findings. A finding that blocks stops ``prepare`` unless
``accept_leaks`` is set; one that warns is recorded.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt
from typing import Any, Literal

import ibis
import numpy as np
from numpy.typing import ArrayLike, NDArray

from isthmus.data.engine import Engine, Table
from isthmus.errors import LeakError
from isthmus.schema import Frozen

BLOCKING_AUC, WARNING_AUC = 0.99, 0.95
CHANCE = 6.0
"""A separation counts when it lies this many standard errors above what chance gives."""

MOSTLY = 0.9


class Finding(Frozen):
    """What the audit found: a stable code, how grave it is, where, and how to mend it."""

    code: str
    severity: Literal["blocks", "warns"]
    feature: str
    message: str


@dataclass(frozen=True, slots=True)
class Separation:
    """How well a column alone tells the labels apart.

    Attributes:
        auc: of ranking each row by the label mean of the other rows of its value.
        error: the standard error of an AUC at these counts when there is nothing to tell.
        purity: share of rows whose label is their value's more frequent one.
        base: the same without the column.
    """

    auc: float
    error: float
    purity: float
    base: float

    @property
    def beyond_chance(self) -> bool:
        return self.auc - 0.5 > CHANCE * self.error


def separation(n: ArrayLike, positives: ArrayLike, values: ArrayLike) -> Separation | None:
    """Leave-one-out separation from counts alone; None where only one label occurs.

    Args:
        n, positives: rows and rows of label 1 of a value.
        values: how many values have these counts.
    """
    n, p, m = (np.asarray(part, dtype=np.float64) for part in (n, positives, values))
    rows, ones = float((n * m).sum()), float((p * m).sum())
    if not 0 < ones < rows:
        return None
    prior = ones / rows
    # each row's score leaves out its own label; one pseudo-row at the prior serves lone values
    scores = np.concatenate([(p - 1 + prior) / n, (p + prior) / n])
    weight_1 = np.concatenate([p * m, np.zeros_like(p)])
    weight_0 = np.concatenate([np.zeros_like(p), (n - p) * m])
    base = max(prior, 1 - prior)
    return Separation(
        auc=_auc(scores, weight_1, weight_0),
        error=_chance_error(ones, rows - ones),
        purity=float((np.maximum(p, n - p) * m).sum()) / rows,
        base=base,
    )


def _auc(scores: NDArray[Any], ones: NDArray[Any], zeros: NDArray[Any]) -> float:
    """Weighted AUC; ties count one half."""
    _, place = np.unique(scores, return_inverse=True)
    ones, zeros = np.bincount(place, ones), np.bincount(place, zeros)
    below = np.cumsum(zeros) - zeros
    return float((ones * (below + zeros / 2)).sum() / (ones.sum() * zeros.sum()))


def _chance_error(ones: float, zeros: float) -> float:
    """Standard error of the Mann-Whitney AUC of a column without information."""
    return sqrt((ones + zeros + 1) / (12 * ones * zeros))


def by_value(engine: Engine, tally: Table) -> Separation | None:
    """Separation by the values of a tally; values seen once count as one, and so do missing ones."""
    lone = tally.value.isnull() | (tally.n == 1)
    common = tally.filter(~lone)
    pairs = common.group_by(["n", "positives"]).agg(values=common.count().cast("int64"))
    rest = tally.filter(lone).mutate(missing=tally.value.isnull())
    pooled = rest.group_by("missing").agg(n=rest.n.sum(), positives=rest.positives.sum())
    both = pairs.cast(dict.fromkeys(("n", "positives"), "int64")).union(
        pooled.select(
            n=pooled.n.cast("int64"),
            positives=pooled.positives.cast("int64"),
            values=ibis.literal(1, "int64"),
        )
    )
    table = engine.arrow(both)
    return separation(*(table[name].to_numpy() for name in ("n", "positives", "values")))


def by_order(engine: Engine, tally: Table) -> Separation | None:
    """Separation by the order of a number's values, rising or falling; missing ones left out."""
    known = tally.filter(tally.value.notnull())
    known = known.mutate(zeros=known.n - known.positives)
    below = known.zeros.sum().over(ibis.cumulative_window(order_by=known.value)) - known.zeros
    pairs = known.positives.cast("float64") * (below + known.zeros / 2)
    found = engine.one(
        known.mutate(pairs=pairs).agg(
            pairs=ibis._.pairs.sum(), ones=ibis._.positives.sum(), zeros=ibis._.zeros.sum()
        )
    )
    ones, zeros = float(found["ones"] or 0), float(found["zeros"] or 0)
    if not ones or not zeros:
        return None
    auc = float(found["pairs"]) / (ones * zeros)
    base = max(ones, zeros) / (ones + zeros)
    return Separation(max(auc, 1 - auc), _chance_error(ones, zeros), base, base)


def by_hundredths(engine: Engine, tally: Table) -> Separation | None:
    """Separation by a number cut into a hundred parts of equal count."""
    known = tally.filter(tally.value.notnull())
    until = known.n.sum().over(ibis.cumulative_window(order_by=known.value))
    parts = known.mutate(part=((until - 1) * 100 / known.n.sum()).floor().cast("int64"))
    grouped = parts.group_by(value=parts.part).agg(n=parts.n.sum(), positives=parts.positives.sum())
    return by_value(engine, grouped)


def label_in_feature(feature: str, found: Iterable[Separation | None]) -> list[Finding]:
    """A feature that all but tells the label."""
    known = [part for part in found if part is not None and part.beyond_chance]
    best = max(known, key=lambda part: part.auc, default=None)
    if best is None or best.auc <= WARNING_AUC:
        return []
    blocks = best.auc > BLOCKING_AUC
    return [
        Finding(
            code="label-in-feature",
            severity="blocks" if blocks else "warns",
            feature=feature,
            message=(
                f"feature {feature!r} {'gives the label away' if blocks else 'all but tells the label'}"
                f": alone it ranks the training rows at AUC {best.auc:.4f}, each row left out of its "
                f"own estimate (chance: 0.5 ± {best.error:.4f}), and {best.purity:.1%} of the rows "
                f"follow their value's label (without it {best.base:.1%}); drop it, or give its value "
                f"from before the event"
            ),
        )
    ]


def label_in_time(engine: Engine, times: Table) -> list[Finding]:
    """Times that tell the label, by themselves or by their minute, hour or day."""
    found = [by_value(engine, times), by_order(engine, times)]
    for period in (60, 3600, 86_400):
        rest = times.mutate(value=times.value % period)
        grouped = rest.group_by("value").agg(n=rest.n.sum(), positives=rest.positives.sum())
        found.append(by_value(engine, grouped))
    return [
        finding.model_copy(
            update={
                "code": "label-in-time",
                "message": finding.message.replace("feature", "the time column", 1).replace(
                    "drop it, or give its value from before the event",
                    "rows of label 1 and 0 are timed differently: use the time of exposure for both",
                ),
            }
        )
        for finding in label_in_feature("time", found)
    ]


def constant(engine: Engine, feature: str, tally: Table) -> list[Finding]:
    """A feature with at most one value in the training rows."""
    values = engine.one(tally.agg(n=tally.value.count()))["n"]
    if values > 1:
        return []
    what = "one value" if values else "no value"
    return [
        Finding(
            code="constant",
            severity="warns",
            feature=feature,
            message=f"feature {feature!r} has {what} in the training rows: it says nothing; drop it",
        )
    ]


def own_item(engine: Engine, rows: Table, feature: str, lists: str) -> list[Finding]:
    """A ready-made history that holds the row's own item, which is known only afterwards.

    Args:
        rows: ``item`` and the list column ``lists`` of canonical texts, and ``label``.
    """
    held = rows.select(label=rows.label, own=rows[lists].contains(rows.item).fill_null(False))
    counts = {
        row["label"]: row
        for row in engine.arrow(
            held.group_by("label").agg(n=held.count(), own=held.own.cast("int64").sum())
        ).to_pylist()
    }
    ones = counts.get(1)
    if ones is None or ones["n"] < 20 or ones["own"] < MOSTLY * ones["n"]:
        return []
    zeros = counts.get(0, {"n": 0, "own": 0})
    return [
        Finding(
            code="own-item-in-history",
            severity="blocks",
            feature=feature,
            message=(
                f"history {feature!r} holds the row's own item in {ones['own'] / ones['n']:.1%} of "
                f"the {ones['n']:,} training rows of label 1 (label 0: "
                f"{zeros['own'] / max(zeros['n'], 1):.1%}): the event seems to be in its own history; "
                f"take only what came before it (a history with `of` does)"
            ),
        )
    ]


def split_order(engine: Engine, rows: Table, collects: bool) -> list[Finding]:
    """Valid or test rows that are earlier than training rows."""
    ends = engine.one(rows.filter(rows.split == 0).agg(last=rows.time.max()))
    later = rows.filter(rows.split > 0)
    early = later.filter(later.time < ends["last"])
    n, early_n = (engine.one(part.agg(n=part.count()))["n"] for part in (later, early))
    if not early_n or ends["last"] is None:
        return []
    extra = (
        "; collected histories of training rows would hold such rows, so this stops"
        if collects
        else ""
    )
    return [
        Finding(
            code="future-in-training",
            severity="blocks" if collects else "warns",
            feature="split",
            message=(
                f"{early_n:,} of {n:,} valid and test rows are earlier than the last training row"
                f"{extra}; split by time, or say that this is meant"
            ),
        )
    ]


def split_twins(engine: Engine, rows: Table) -> list[Finding]:
    """Rows of the same user, item and time in training and in valid or test."""
    keys = rows.group_by(["user", "item", "time"]).agg(
        train=(rows.split == 0).cast("int64").sum(), later=(rows.split > 0).cast("int64").sum()
    )
    twins = keys.filter((keys.train > 0) & (keys.later > 0))
    found = engine.one(twins.agg(n=twins.later.sum()))["n"] or 0
    later = engine.one(rows.agg(n=(rows.split > 0).cast("int64").sum()))["n"] or 0
    if not found:
        return []
    return [
        Finding(
            code="split-twins",
            severity="blocks" if found > 0.01 * later else "warns",
            feature="split",
            message=(
                f"{found:,} of {later:,} valid and test rows have a twin in training with the same "
                f"user, item and time; remove the twins, or split by time"
            ),
        )
    ]


def unseen(shares: dict[str, dict[str, float]]) -> list[Finding]:
    """Features whose valid or test values were mostly never seen in training."""
    return [
        Finding(
            code="unseen-values",
            severity="warns",
            feature=feature,
            message=(
                f"feature {feature!r} is unknown in {share[split]:.0%} of the {split} rows and in "
                f"{share['train']:.0%} of the training rows: its values do not last, and it helps little"
            ),
        )
        for feature, share in shares.items()
        for split in ("test",)
        if split in share and share[split] > 0.5 + share.get("train", 0.0) / 2
    ]


def judge(findings: Iterable[Finding], accept: bool) -> None:
    """Stop for findings that block.

    Raises:
        LeakError: naming all of them, unless accepted.
    """
    blocking = [finding for finding in findings if finding.severity == "blocks"]
    if blocking and not accept:
        texts = "; ".join(f"[{finding.code}] {finding.message}" for finding in blocking)
        raise LeakError(f"{texts} (or record and go on with accept_leaks = true)")
