"""From how many rows on a new domain beats the unknown domain's path: rows a fit, page figures, picture.

Run: python benchmarks/new_domain.py --data prepared/complete_journey_ctr --counts 30 100 300 1000 3000

Some domains are held out of a joint training; what the training did not see of users, items and all
else is unknown (id 0). Each is then added from n of its training rows, in several draws, and scored
on all of its test rows: as the unknown domain, as what was learned, and by a model trained anew with
the most rows of it.
"""

import argparse
import csv
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import torch

from isthmus import models
from isthmus.batch import Impressions
from isthmus.data.feed import Feed, generator, joined, thinned
from isthmus.data.prepared import Prepared
from isthmus.evaluation import Predictions, Rules, compare, evaluate
from isthmus.inference import probabilities
from isthmus.lifecycle.axes import domain_axes
from isthmus.lifecycle.learning import LearnConfig, Learned, OneDomain, Parts, learn
from isthmus.models import Ranker
from isthmus.report.palette import LIGHT
from isthmus.report.picture import Picture, rows_of
from isthmus.report.pictures import save
from isthmus.schema import Schema
from isthmus.training.fit import TrainConfig, fit

HERE = Path(__file__).parent
HELD_OUT = ("CHEESE", "FLUID MILK PRODUCTS", "CHICKEN")
COUNTS = (30, 100, 300, 1000, 3000, 10_000)
DRAWS = 3
TRAIN = TrainConfig(lr=2e-3, batch_size=1024, max_epochs=2, patience=2, max_rows=150_000)
SETTINGS: dict[str, dict[str, Any]] = {
    "aread": {
        "embedding_dim": 8,
        "bottom_experts": 2,
        "bottom_hidden": [32, 16],
        "experts": [2, 4, 8],
        "search": {"first": 60, "every": 120},
    },
    "mmoe": {"embedding_dim": 8, "expert_hidden": [32, 16], "tower_hidden": [16]},
}
FIELDS = (
    "model", "domain", "rows", "draw", "chosen", "start", "seconds",
    "auc_unknown", "auc_added", "auc_trained_anew", "logloss_unknown", "logloss_added",
)  # fmt: skip
GAINS = ("model", "domain", "rows", "gain", "low", "high", "trained_anew", "anew_low", "anew_high")


@dataclass(frozen=True)
class Held:
    """A domain that training does not see: its training rows, its test rows and their users."""

    name: str
    train: Impressions
    test: Impressions
    user: np.ndarray


def main() -> None:
    """Write results/new_domain.csv, results/new_domain.gains.csv and the picture, domain by domain."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=list(SETTINGS))
    parser.add_argument("--counts", nargs="+", type=int, default=list(COUNTS))
    parser.add_argument("--draws", type=int, default=DRAWS)
    asked = parser.parse_args()
    prepared = Prepared.open(asked.data)
    rows: list[dict[str, Any]] = []
    gains: list[dict[str, Any]] = []
    for name in asked.models:
        model, held = without(name, prepared)
        anew = trained_with(name, prepared, max(asked.counts))
        for one in held:
            found = measured(model, one, anew[one.name], asked.counts, asked.draws)
            rows += found[0]
            gains += found[1]
            _write(HERE / "results" / "new_domain.csv", rows, FIELDS)
            _write(HERE / "results" / "new_domain.gains.csv", gains, GAINS)
    save([picture(gains)], HERE.parent / "docs" / "pictures" / "domains")


def measured(
    model: Ranker, one: Held, anew: np.ndarray, counts: Sequence[int], draws: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A row a fit, and the mean gain over draws by number of rows."""
    axes = domain_axes(type(model), model.config, model.schema)
    parts = Parts(type(model), model.config, model.schema, model.state_dict(), axes)
    unknown, again = _predicted(one, _as_unknown(model, one.test)), _predicted(one, anew)
    rows, gains = [], []
    for count in counts:
        same = {"model": model.name, "domain": one.name, "rows": count}
        fits = [_added(parts, one, count, draw) for draw in range(draws)]
        found = [_predicted(one, scores) for _, scores, _ in fits]
        for draw, (learned, _, seconds) in enumerate(fits):
            rows.append(
                {
                    **same,
                    "draw": draw,
                    "chosen": learned.chosen,
                    "start": learned.start,
                    "seconds": round(seconds, 2),
                    "auc_unknown": _auc(unknown),
                    "auc_added": _auc(found[draw]),
                    "auc_trained_anew": _auc(again),
                    "logloss_unknown": _logloss(unknown),
                    "logloss_added": _logloss(found[draw]),
                }
            )
        gain, anew_gain = _gain(found, unknown), _gain([again], unknown)
        row = same | dict(zip(("gain", "low", "high"), gain, strict=True))
        row |= dict(zip(("trained_anew", "anew_low", "anew_high"), anew_gain, strict=True))
        gains.append(row)
        print(row, [learned.chosen for learned, _, _ in fits], flush=True)
    return rows, gains


def without(name: str, prepared: Prepared) -> tuple[Ranker, list[Held]]:
    """A model trained without the held-out domains, and these as it would meet them."""
    kept = [d for d in prepared.schema.domains if d not in HELD_OUT]
    ids = _renumbered(prepared.schema, kept)
    schema = prepared.schema.model_copy(update={"domains": tuple(kept)})
    train, valid, test = (prepared.impressions(s) for s in ("train", "valid", "test"))
    own = thinned(_of(train, ids, keep=True), TRAIN.max_rows, 0)
    model = _fitted(name, schema, own, _of(valid, ids, keep=True))
    met = _met(own, schema)
    users, held = prepared.table("test")["user"], []
    for domain in HELD_OUT:
        place = prepared.schema.domains.index(domain) + 1
        chosen = (test.domain == place).nonzero().squeeze(1)
        mine = train[(train.domain == place).nonzero().squeeze(1)]
        parts = (_unmet_hidden(rows, schema, met) for rows in (mine, test[chosen]))
        held.append(Held(domain, *parts, users[chosen.numpy()]))
    return model, held


def trained_with(name: str, prepared: Prepared, most: int) -> dict[str, np.ndarray]:
    """Test scores of the held-out domains by a model trained on the same rows and ``most`` of theirs."""
    train, valid, test = (prepared.impressions(s) for s in ("train", "valid", "test"))
    places = [prepared.schema.domains.index(domain) + 1 for domain in HELD_OUT]
    apart = torch.isin(train.domain, torch.tensor(places))
    own = thinned(train[(~apart).nonzero().squeeze(1)], TRAIN.max_rows, 0)
    for place in places:
        mine = train[(train.domain == place).nonzero().squeeze(1)]
        own = joined(own, thinned(mine, most, 0))
    model = _fitted(name, prepared.schema, own, valid)
    return {
        domain: probabilities(model, test[(test.domain == place).nonzero().squeeze(1)])
        for domain, place in zip(HELD_OUT, places, strict=True)
    }


def _fitted(name: str, schema: Schema, train: Impressions, valid: Impressions) -> Ranker:
    kind = models.get(name)
    torch.manual_seed(0)
    model = kind(kind.Config.model_validate(SETTINGS[name]), schema)
    feed = Feed(
        train, batch_size=TRAIN.batch_size, seed=0, valid=valid, unknown_share=TRAIN.unknown_share
    )
    some = valid[:: max(1, len(valid) // 20_000)]

    def score(one: Any) -> float:
        p = np.clip(probabilities(one, some), 1e-9, 1 - 1e-9)
        return float(np.where(some.label.numpy() > 0.5, np.log(p), np.log1p(-p)).mean())

    fit(model, feed, score, TRAIN)
    return model


def _renumbered(schema: Schema, kept: Sequence[str]) -> torch.Tensor:
    """The new id of each old one; -1 of those that are held out."""
    return torch.tensor([0, *(kept.index(d) + 1 if d in kept else -1 for d in schema.domains)])


def _of(rows: Impressions, ids: torch.Tensor, *, keep: bool) -> Impressions:
    domain = ids[rows.domain]
    chosen = ((domain >= 0) == keep).nonzero().squeeze(1)
    found = rows[chosen]
    return Impressions(found.features, domain[chosen], found.label)


def _met(rows: Impressions, schema: Schema) -> dict[str, torch.Tensor]:
    """By table, whether training met each id."""
    met = {table: torch.zeros(size, dtype=torch.bool) for table, size in schema.tables.items()}
    for feature in schema.features:
        met[feature.table][rows.features[:, schema.columns[feature.name]].flatten()] = True
    return met


def _unmet_hidden(rows: Impressions, schema: Schema, met: dict[str, torch.Tensor]) -> Impressions:
    features = rows.features.clone()
    for feature in schema.features:
        columns = schema.columns[feature.name]
        features[:, columns] *= met[feature.table][features[:, columns]]
    return Impressions(features, rows.domain, rows.label)


def _added(parts: Parts, one: Held, count: int, draw: int) -> tuple[Learned, np.ndarray, float]:
    """What is learned from ``count`` rows, its test scores, and the seconds of CPU that it took."""
    began, config = time.process_time(), LearnConfig()
    chosen = torch.randperm(len(one.train), generator=generator(draw, count))[:count]
    rows = one.train[chosen.sort().values]
    at = len(rows) - round(len(rows) * config.valid_share)
    starts = {d: parts.of(n) for n, d in enumerate(parts.schema.domains, 1)}
    learned = learn(parts, rows[:at], rows[at:], parts.of(0), starts, config)
    seconds = time.process_time() - began
    model = OneDomain(parts)
    model.put(learned.rows)
    test = Impressions(one.test.features, torch.ones_like(one.test.domain), one.test.label)
    return learned, probabilities(model, test), seconds


def _as_unknown(model: Ranker, rows: Impressions) -> np.ndarray:
    return probabilities(
        model, Impressions(rows.features, torch.zeros_like(rows.domain), rows.label)
    )


def _predicted(one: Held, scores: np.ndarray) -> Predictions:
    number = len(scores)
    return Predictions(
        row=np.arange(number),
        domain=np.ones(number),
        user=one.user,
        label=one.test.label.numpy(),
        score=scores,
        domains=(one.name,),
    )


def _gain(found: Sequence[Predictions], unknown: Predictions) -> tuple[float, float, float]:
    """Mean gain of AUC over the draws, with its 95 % interval over users and draws."""
    row = compare(found, [unknown] * len(found), rules=Rules()).rows[0]
    assert row.difference is not None
    values = row.difference.value, row.difference.low, row.difference.high
    return tuple(round(value, 5) for value in values)


def _auc(p: Predictions) -> float:
    auc = evaluate(p).overall.auc
    assert auc is not None
    return round(auc.value, 5)


def _logloss(p: Predictions) -> float:
    found = evaluate(p).overall.logloss
    assert found is not None
    return round(found, 5)


def picture(gains: Sequence[dict[str, Any]]) -> Picture:
    """A panel a domain: gain over the unknown domain's path by rows, and where training anew ends."""
    values, counts = list(gains), sorted({row["rows"] for row in gains})
    hues = alt.Color(
        "model:N",
        scale=alt.Scale(domain=list(SETTINGS), range=[LIGHT.joint, LIGHT.shared]),
        title="model",
    )
    base = alt.Chart().encode(
        x=alt.X("rows:Q", scale=alt.Scale(type="log"), title="rows of the new domain",
                axis=alt.Axis(values=counts, format="~s")),
        color=hues,
    )  # fmt: skip
    zero = alt.Chart().mark_rule(color=LIGHT.ink, strokeDash=[4, 3]).encode(y=alt.datum(0))
    layers = alt.layer(
        zero,
        base.mark_errorband(opacity=0.15).encode(
            y=alt.Y("low:Q", title="AUC over the unknown path"), y2="high:Q"
        ),
        base.mark_line(point=True).encode(y="gain:Q"),
        alt.Chart().mark_rule(strokeDash=[2, 2], strokeWidth=1.5).encode(y="mean(trained_anew):Q", color=hues),
        data=rows_of(values),
    ).properties(width=230, height=170)  # fmt: skip
    chart = layers.facet(facet=alt.Facet("domain:N", title=None), columns=2)
    caption = (
        "Mean of three draws with its 95 % interval over users and draws; dashed in the model's "
        f"colour: trained anew with {counts[-1]:,} rows of the domain."
    )
    return Picture("new_domain", "What the first rows of a new domain bring", caption, chart)


def _write(path: Path, rows: Iterable[dict[str, Any]], fields: Sequence[str]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fields, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
