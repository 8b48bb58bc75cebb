"""For each check a small crafted input on which it fires, and one like it on which it does not.

The docs show what a check says of the first; tests hold it to both.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from isthmus.diagnosis.evidence import Audited, Course, Data, Evidence, Separated
from isthmus.evaluation import Predictions, Ranks, sharing
from isthmus.evaluation.predictions import Floats, Ints
from isthmus.evaluation.ranks import PROTOCOLS

DOMAINS = ("books", "games", "tools")
ROWS = 18_000
"""Rows of crafted scores: 6,000 a domain, enough for every interval to be narrow."""
Noise = Mapping[str, float]
"""How much of a domain's signal is replaced by noise, from 0 to 1."""


def scores(
    noise: Noise | None = None, promise: Mapping[str, float] | None = None, seed: int = 0
) -> Predictions:
    """Clicks with known probabilities; scores are these, but for noise and factors by domain."""
    rng = np.random.default_rng(7)  # the same rows and clicks whatever the model
    domain = np.arange(ROWS) % 3 + 1
    truth = rng.beta(1.5, 4, ROWS)
    label = (rng.random(ROWS) < truth).astype(np.int8)
    drawn = np.random.default_rng(100 + seed).beta(1.5, 4, ROWS)
    share = _by_row(domain, noise or {}, 0.0)
    score = np.where(rng.random(ROWS) < share, drawn, truth) * _by_row(domain, promise or {}, 1.0)
    return Predictions(
        row=np.arange(ROWS),
        domain=domain.astype(np.int32),
        user=np.arange(ROWS) // 4,
        label=label,
        score=np.clip(score, 0, 1),
        domains=DOMAINS,
    )


def _by_row(domain: Ints, values: Mapping[str, float], usual: float) -> Floats:
    table = np.array([usual, *(values.get(name, usual) for name in DOMAINS)])
    return table[domain]


def rescored(change: Callable[[Predictions], Floats]) -> Predictions:
    """The crafted rows with other scores."""
    p = scores()
    return replace(p, score=np.clip(change(p), 0, 1))


def ranks(above: Mapping[str, int] | None = None) -> Ranks:
    """Events whose items stand at places 0 to 39 of 400, in some domains so many places lower."""
    rng, n = np.random.default_rng(3), 1500
    domain = np.arange(n) % 3 + 1
    place = rng.integers(0, 40, n) + _by_row(domain, above or {}, 0).astype(np.int64)
    same = dict.fromkeys(PROTOCOLS, place)
    return Ranks(
        row=np.arange(n),
        domain=domain.astype(np.int32),
        user=np.arange(n) // 2,
        item=np.arange(n) % 399 + 1,
        repeat=np.zeros(n, np.int8),
        above=same,
        tied=dict.fromkeys(PROTOCOLS, np.zeros(n, np.int64)),
        of=dict.fromkeys(PROTOCOLS, np.full(n, 400)),
        domains=DOMAINS,
    )


def counts(*values: int) -> Ints:
    """By domain id, the unknown domain first."""
    return np.array(values, dtype=np.int64)


USUAL = {
    "train": counts(40, 9000, 7000, 2000),
    "valid": counts(5, 900, 700, 200),
    "test": counts(5, 900, 700, 200),
}
"""Rows by split of a healthy data set."""


def data(**changes: object) -> Evidence:
    """A healthy data set, but for the changes."""
    return Evidence(domains=DOMAINS, data=replace(Data(rows=USUAL), **changes))  # type: ignore[arg-type]


def _audited(code: str, *, blocks: bool) -> Evidence:
    message = (
        "feature 'price_paid' gives the label away: alone it ranks the training rows at AUC 0.9990"
    )
    return data(audit=(Audited(code, "price_paid", blocks, message),))


def _unknown(valid: int, test: int) -> Evidence:
    """Unknown items among the 700 held-out rows of games."""
    seen = {
        "train": counts(0, 0, 70, 0),
        "valid": counts(0, 9, valid, 2),
        "test": counts(0, 9, test, 2),
    }
    return data(unknown={"item": seen})


def _ids(*values: str) -> Evidence:
    return data(values={"brand": (*values, *(f"brand {i}" for i in range(40)))})


def _masks(dead: bool = False, empty: bool = False, whole: bool = False) -> Evidence:
    """Three domains of which each uses two experts of three, and two of four above them."""
    low, high = np.zeros((3, 3, 4), bool), np.zeros((3, 4, 2), bool)
    for d in range(3):
        for s, t in ((d, d), ((d + 1) % 3, d), (d, 3)):
            low[d, s, t] = True
        high[d, d, 0] = high[d, 3, 1] = True
    if dead:
        low[:, 2] = False
    if empty:
        low[1] = high[1] = False
    if whole:
        low[1] = high[1] = True
    return Evidence(domains=DOMAINS, masks=(low, high))


def _churning(*by_epoch: float) -> Evidence:
    course = Course(
        scores=(0.6, 0.7, 0.71, 0.72), max_epochs=10, churn=dict.fromkeys(DOMAINS, by_epoch)
    )
    return replace(_masks(), course=course)


def _gates(third: float) -> Evidence:
    share = np.array(
        [[0.5, 0.5 - third, third], [0.3, 0.7 - third, third], [0.6, 0.4 - third, third]]
    )
    return Evidence(domains=DOMAINS, gates={"experts": share})


def _course(*scores: float, loss: tuple[float, ...] = (), **more: object) -> Evidence:
    named = [{"bce": 0.5 - 0.05 * i, "agreement": value} for i, value in enumerate(loss)]
    course = Course(scores=scores, max_epochs=3, losses=named)
    return Evidence(domains=DOMAINS, course=replace(course, **more))  # type: ignore[arg-type]


def _gaps(games: float) -> Evidence:
    gaps = {"books": (0.1, 0.2, 0.2), "games": (0.05, *[games] * 3), "tools": (0.0, 0.01, -0.01)}
    return _course(0.6, 0.7, 0.7, gaps=gaps)


def _few(parameters: int) -> Evidence:
    return replace(data(), own_parameters=parameters)


def _seeds(one: Noise, other: Noise) -> Evidence:
    return Evidence(domains=DOMAINS, seeds={"run-s0": scores(one), "run-s1": scores(other, seed=1)})


def _pairs(first: Noise, second: Noise) -> Evidence:
    """Joint models with this noise, isolated ones with a little everywhere, two seeds."""
    usual = dict.fromkeys(DOMAINS, 0.2)
    isolated = [scores(usual, seed=seed) for seed in (2, 3)]
    joint = [scores({**usual, **noise}, seed=seed) for seed, noise in enumerate((first, second))]
    return Evidence(domains=DOMAINS, pairs=list(zip(joint, isolated, strict=True)))


def _sharing(noise: Noise) -> Evidence:
    table = sharing([scores(noise)], [scores({"books": 0.2}, seed=1)], train_rows={})
    return Evidence(domains=DOMAINS, sharing=table)


def _test(p: Predictions | Ranks) -> Evidence:
    return Evidence(domains=DOMAINS, test=p)


def _both(valid: Predictions | Ranks, test: Predictions | Ranks) -> Evidence:
    return Evidence(domains=DOMAINS, valid=valid, test=test)


def _games(p: Predictions, changed: Floats) -> Floats:
    """Other scores in games alone."""
    return np.where(p.domain == 2, changed, p.score)


def _bold(p: Predictions) -> Floats:
    """Scores right on average that are drawn away from their middle, in games."""
    return _games(p, np.where(p.score > np.median(p.score), p.score * 1.25, p.score * 0.5))


def _small() -> Predictions:
    p = scores()
    return p.take((p.domain != 2) | (p.row < 120))


EXAMPLES: dict[str, Callable[[], tuple[Evidence, Evidence]]] = {
    "ISTH101": lambda: (
        _audited("label-in-feature", blocks=True),
        _audited("label-in-feature", blocks=False),
    ),
    "ISTH102": lambda: (_audited("label-in-feature", blocks=False), data()),
    "ISTH103": lambda: (data(early=counts(0, 0, 37, 0)), data(early=counts(0, 0, 0, 0))),
    "ISTH104": lambda: (
        data(
            separated=(
                Separated("coupon", "games", 0.981, 0.01),
                Separated("coupon", "books", 0.6, 0.01),
            )
        ),
        data(
            separated=(
                Separated("coupon", "games", 0.981, 0.1),
                Separated("coupon", "books", 0.9, 0.01),
            )
        ),
    ),
    "ISTH105": lambda: (
        data(target="clicked", sources={"item": "sku", "was_clicked": "clicked"}),
        data(target="clicked", sources={"item": "sku"}),
    ),
    "ISTH106": lambda: (data(rows={**USUAL, "train": counts(0, 9000, 7000, 3)}), data()),
    "ISTH201": lambda: (_ids("Acme", "ACME ", "7", "007"), _ids("Acme", "Acme 2", "7", "70")),
    "ISTH202": lambda: (
        data(spread=np.array([0, *[1] * 400, 2, 2, 3])),
        data(spread=np.array([0, *[1] * 300, *[2] * 200])),
    ),
    "ISTH203": lambda: (_unknown(420, 420), _unknown(120, 140)),
    "ISTH204": lambda: (_unknown(70, 350), _unknown(70, 130)),
    "ISTH205": lambda: (data(rows={**USUAL, "test": counts(300, 900, 700, 200)}), data()),
    "ISTH301": lambda: (
        _test(scores(promise={"games": 1.7})),
        _test(scores(promise={"games": 1.1})),
    ),
    "ISTH302": lambda: (_test(rescored(_bold)), _test(scores(promise={"games": 1.2}))),
    "ISTH303": lambda: (
        _both(scores(), scores(promise={"games": 1.6})),
        _both(scores(promise={"games": 1.6}), scores(promise={"games": 1.6})),
    ),
    "ISTH304": lambda: (
        _test(rescored(lambda p: _games(p, np.full(len(p), 0.3)))),
        _test(rescored(lambda p: _games(p, np.round(p.score, 1)))),
    ),
    "ISTH305": lambda: (_test(_small()), _test(scores())),
    "ISTH306": lambda: (
        _both(scores(), scores({"games": 0.6})),
        _both(scores(), scores({"games": 0.1})),
    ),
    "ISTH307": lambda: (
        _test(rescored(lambda p: _games(p, 1 - p.score))),
        _test(scores({"games": 1.0})),
    ),
    "ISTH308": lambda: (
        replace(_test(ranks({"games": 15})), floors={"popularity": ranks()}),
        replace(_test(ranks()), floors={"popularity": ranks({"games": 15})}),
    ),
    "ISTH401": lambda: (
        _seeds({"games": 0.3}, {"tools": 0.3}),
        _seeds({"games": 0.3, "tools": 0.3}, {"games": 0.3, "tools": 0.3}),
    ),
    "ISTH402": lambda: (
        _pairs({"games": 0.6}, {"games": 0.0}),
        _pairs({"games": 0.0}, {"games": 0.0}),
    ),
    "ISTH501": lambda: (_masks(dead=True), _masks()),
    "ISTH502": lambda: (_masks(empty=True), _masks()),
    "ISTH503": lambda: (_masks(whole=True), _masks()),
    "ISTH504": lambda: (_churning(0.9, 0.8, 0.85, 0.8), _churning(0.9, 0.8, 0.3, 0.1)),
    "ISTH505": lambda: (_gates(0.01), _gates(0.1)),
    "ISTH601": lambda: (_course(0.61, 0.65, 0.68), _course(0.61, 0.68, 0.6801)),
    "ISTH602": lambda: (_course(0.7, 0.69, 0.66), _course(0.6, 0.69, 0.66)),
    "ISTH603": lambda: (
        _course(0.6, 0.7, 0.7, loss=(4.15888, 4.15887, 4.15888)),
        _course(0.6, 0.7, 0.7, loss=(4.15, 4.02, 3.97)),
    ),
    "ISTH604": lambda: (_gaps(-0.11), _gaps(0.04)),
    "ISTH605": lambda: (_few(500_000), _few(8_000)),
    "ISTH701": lambda: (_sharing({"games": 0.5}), _sharing({"books": 0.2})),
}
"""By code: an input on which the check fires, and one on which it does not."""
