"""Realistic figures for reports: names as long and sizes as uneven as in real data."""

import math
import random

from isthmus.evaluation import (
    CalibrationShift,
    DomainMetrics,
    DomainSharing,
    Interval,
    Metrics,
    Rules,
    SharingTable,
    Shift,
    Verdict,
)
from isthmus.evaluation.advice import advise
from isthmus.report.data import Cost, CreatedFrom, Curves, Masks, ReportData, Tuned

NAMES = (
    "SOFT DRINKS", "FRZN MEAT/MEAT DINNERS", "CHEESE", "FROZEN PIZZA", "BAG SNACKS",
    "ICE CREAM/MILK/SHERBTS", "YOGURT", "CRACKERS/MISC BKD FD", "REFRGRATD JUICES/DRNKS",
    "DINNER SAUSAGE", "SALD DRSNG/SNDWCH SPRD", "VEGETABLES - SHELF STABLE",
    "REFRGRATD DOUGH PRODUCTS", "FRZN NOVELTIES/WTR ICE", "SEAFOOD - FROZEN", "BEERS/ALES", "PORK",
    "SOUP", "MEAT - MISC", "MEAT - SHELF STABLE", "DINNER MXS:DRY", "BAKING MIXES", "SALAD MIX",
    "WATER - CARBONATED/FLVRD DRINK", "DRY MIX DESSERTS", "WAREHOUSE SNACKS", "EGGS", "COOKIES",
    "BATH TISSUES", "PNT BTR/JELLY/JAMS", "CANDY - PACKAGED", "MARGARINES",
)  # fmt: skip
MODELS = {"joint": "aread", "shared": "shared_mlp", "isolated": "isolated"}
CONFIG = 'seed = 0\n\n[model]\nname = "aread"\nlevels = [3, 6, 12]\n\n[settings]\nlr = 0.001\n'


def sample(domains: int = 32, *, names: tuple[str, ...] = NAMES) -> ReportData:
    """A whole report of so many domains; the same arguments give the same figures."""
    rng = random.Random(domains)
    titles = tuple(
        names[i] if i < len(names) else f"{names[i % len(names)]} {i // len(names) + 1}"
        for i in range(domains)
    )
    table = sharing(titles, rng)
    return ReportData(
        title="AREAD on Complete Journey",
        created_from=CreatedFrom(
            config=CONFIG,
            data="ci_small_cj_ctr",
            provenance={"split": "by time, 0.8 / 0.1 / 0.1", "seeds": "0, 1, 2"},
        ),
        metrics={MODELS[role]: metrics(table, role, rng) for role in MODELS},
        sharing=table,
        curves={name: curves(rng, name) for name in MODELS.values()},
        masks=masks(titles, rng),
        tuned=tuned(),
        costs=costs(domains),
        notes=("Rows of the unknown domain are not part of any mean.",),
    )


def sharing(titles: tuple[str, ...], rng: random.Random) -> SharingTable:
    rows = tuple(_advised(_row(i, title, rng), random.Random(i)) for i, title in enumerate(titles))
    best_first = sorted(
        rows,
        key=lambda row: (
            row.verdict == Verdict.not_measurable,
            -row.gain.value if row.gain else 9.0,
        ),
    )
    return SharingTable(
        names=MODELS,
        seeds=3,
        alpha=0.05,
        rows=tuple(best_first),
        counts={verdict: sum(row.verdict == verdict for row in rows) for verdict in Verdict},
        protocol=(
            "Difference of AUC on the test split, paired by row, DeLong with users as clusters, "
            "3 seeds, Holm-corrected over domains at 0.05."
        ),
        overall=Interval(value=0.0061, low=0.0021, high=0.0101),
        overall_p_value=0.003,
    )


def _row(i: int, title: str, rng: random.Random) -> DomainSharing:
    tiny = i % 32 == 31
    rows = 9 if tiny else max(30, int(2600 * math.exp(-0.09 * (i % 48)) * rng.uniform(0.8, 1.2)))
    positives = 1 if tiny else max(4, int(rows * rng.uniform(0.09, 0.4)))
    if positives < 4:
        return DomainSharing(
            domain=title, train_rows=8 * rows, rows=rows, positives=positives,
            verdict=Verdict.not_measurable,
            reason=f"{positives} positives in the test rows, at least 10 are needed",
        )  # fmt: skip
    half = 0.7 / math.sqrt(rows) + 0.004
    isolated = rng.uniform(0.62, 0.76)
    gain = rng.gauss(0.016, 0.03)
    sure, small = abs(gain) > half, half > 0.05
    verdict = Verdict.not_measurable if small else Verdict.unchanged
    if sure:
        verdict = Verdict.gains if gain > 0 else Verdict.hurt
    return DomainSharing(
        domain=title,
        train_rows=8 * rows,
        rows=rows,
        positives=positives,
        joint=around(isolated + gain, half * 0.9),
        shared=around(isolated + gain * 0.4, half * 0.9),
        isolated=around(isolated, half),
        gain=around(gain, half, top=None),
        p_value=0.0004 if sure else 0.21,
        p_adjusted=0.0008 if sure else 0.8,
        detectable=half * 1.4,
        verdict=verdict,
        reason="" if not small or sure else "would need a difference of more than 0.05",
    )


def _advised(row: DomainSharing, rng: random.Random) -> DomainSharing:
    """With its calibration, and what to do with it."""
    if row.gain is None:
        found = CalibrationShift(verdict=Shift.not_measurable, reason=row.reason)
    else:
        shift, half = math.exp(rng.gauss(0.02, 0.12)), 1.2 / math.sqrt(row.rows)
        joint, own = math.exp(rng.gauss(0, 0.15)), 1.0
        verdict = Shift.none
        if abs(math.log(shift)) > half:
            verdict = rng.choice([Shift.nearer, Shift.moved, Shift.farther])
        found = CalibrationShift(
            joint=ratio(joint, 0.1), isolated=ratio(own, 0.1), shift=ratio(shift, half),
            p_value=0.01, p_adjusted=0.3 if verdict == Shift.none else 0.01, verdict=verdict,
        )  # fmt: skip
    row = row.model_copy(update={"calibration": found})
    return row.model_copy(update={"advice": advise(row, Rules())})


def ratio(value: float, half: float) -> Interval:
    return Interval(value=value, low=value * math.exp(-half), high=value * math.exp(half))


def tuned() -> tuple[Tuned, ...]:
    own, found = {"lr": 0.001, "batch_size": 1024}, {"lr": 0.0003, "batch_size": 512}
    common = {"metric": "domain_auc", "trials": 8, "own": own, "own_score": 0.701}
    return (
        Tuned(part="joint", model="aread", found=found, score=0.708, **common),
        Tuned(part="isolated", model="mlp", found=own, score=0.701, diverged=1, **common),
        Tuned(part="shared", model="lightgbm", metric="domain_auc"),
    )


def costs(domains: int) -> dict[str, Cost]:
    return {
        "aread": Cost(models=1, parameters=4_100_000, stored_bytes=16_500_000,
                      training_cpu_s=412.0, scoring_cpu_us=21.3),
        "shared_mlp": Cost(models=1, parameters=3_900_000, stored_bytes=15_700_000,
                           training_cpu_s=96.5, scoring_cpu_us=4.1),
        "isolated": Cost(models=domains, parameters=210_000 * domains,
                         stored_bytes=850_000 * domains, training_cpu_s=7.5 * domains),
    }  # fmt: skip


def around(value: float, half: float, *, top: float | None = 1.0) -> Interval:
    high = value + half
    return Interval(value=value, low=value - half, high=high if top is None else min(top, high))


def metrics(table: SharingTable, role: str, rng: random.Random) -> Metrics:
    by_domain = {}
    for row in table.rows:
        auc = getattr(row, role)
        by_domain[row.domain] = DomainMetrics(
            rows=row.rows,
            positives=row.positives,
            auc=auc,
            logloss=rng.uniform(0.3, 0.5),
            ece=rng.uniform(0.01, 0.06),
            calibration_ratio=math.exp(rng.gauss(0, 1.6 / math.sqrt(row.rows) + 0.04)),
            reason="" if auc else row.reason,
        )
    known = [(row.rows, getattr(row, role)) for row in table.rows if getattr(row, role)]
    worst = min(((r.domain, getattr(r, role).value) for r in table.rows if getattr(r, role)),
                key=lambda pair: pair[1])  # fmt: skip
    total = sum(weight for weight, _ in known)
    value = sum(weight * auc.value for weight, auc in known) / total
    return Metrics(
        overall=DomainMetrics(
            rows=sum(row.rows for row in table.rows),
            positives=sum(row.positives for row in table.rows),
            auc=around(value + 0.02, 0.006),
            logloss=0.412,
            ece=0.013,
            calibration_ratio=1.04,
        ),
        by_domain=by_domain,
        domain_auc=value,
        domain_auc_interval=around(value, 0.007),
        macro_auc=value - 0.01,
        macro_domains=len(known),
        major5=value + 0.01,
        minor10=value - 0.02,
        minor5=None,
        worst_domain=worst,
        undefined={"minor5": "2 of the 5 smallest domains have no positives"},
    )


def curves(rng: random.Random, name: str) -> Curves:
    epochs = 9
    score = tuple(
        0.7 - 0.12 * math.exp(-0.7 * e) - 0.004 * max(0, e - 5) + rng.gauss(0, 0.002)
        for e in range(epochs)
    )
    losses: dict[str, tuple[float | None, ...]] = {
        "bce": tuple(0.4 + 0.2 * math.exp(-0.5 * e) for e in range(epochs))
    }
    if name == "aread":
        losses["bagging"] = tuple(0.42 + 0.15 * math.exp(-0.4 * e) for e in range(epochs))
        losses["augmented"] = (None, None, *(0.1 + 0.05 * math.exp(-e / 3) for e in range(7)))
    return Curves(score=score, losses=losses, best_epoch=max(range(epochs), key=score.__getitem__))


def masks(titles: tuple[str, ...], rng: random.Random) -> Masks:
    """Three planted groups of domains, in no order."""
    levels = (3, 6, 12)
    group = [rng.randrange(3) for _ in titles]
    favoured = {(g, level): {e for e in range(n) if rng.random() < 0.5 or e % 3 == g}
                for g in range(3) for level, n in enumerate(levels)}  # fmt: skip
    active = tuple(
        tuple(
            tuple(
                round(rng.uniform(0.3, 1), 2)
                if (e in favoured[group[d], level]) != (rng.random() < 0.1)
                else 0.0
                for e in range(experts)
            )
            for d in range(len(titles))
        )
        for level, experts in enumerate(levels)
    )
    overlap = [[1.0] * len(titles) for _ in titles]
    for a in range(len(titles)):
        for b in range(a):
            same = 0.72 if group[a] == group[b] else 0.38
            overlap[a][b] = overlap[b][a] = round(min(1, max(0, rng.gauss(same, 0.07))), 3)
    return Masks(
        domains=titles,
        levels=levels,
        active=active,
        edges=tuple(round(rng.uniform(0.35, 0.65), 3) for _ in titles),
        overlap=tuple(tuple(row) for row in overlap),
    )
