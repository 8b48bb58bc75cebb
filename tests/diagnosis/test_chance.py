"""False alarms on healthy data are rare, and the errors that decide are right."""

from statistics import NormalDist

import numpy as np
import pytest

from isthmus.diagnosis import CHECKS, Evidence, NotApplicable
from isthmus.diagnosis.calibration import _by_chance, log_ratios
from isthmus.diagnosis.chance import ALPHA, error, limit
from isthmus.diagnosis.experts import _random_churn
from isthmus.diagnosis.scores import _no_better
from isthmus.evaluation import Predictions, Ranks
from isthmus.evaluation.metrics import calibration_error
from isthmus.evaluation.ranking import Ranked
from isthmus.evaluation.ranks import PROTOCOLS

DOMAINS = tuple(f"d{i:02d}" for i in range(40))
STATISTICAL = ("ISTH301", "ISTH302", "ISTH303", "ISTH304", "ISTH306", "ISTH307")


def healthy(rng, rows=24_000):
    """40 domains of very unequal size; calibrated scores; a user's rows are alike."""
    user = rng.integers(0, rows // 6, rows)
    likes = rng.normal(0, 0.7, rows // 6)  # known to the model
    domain = np.minimum(rng.geometric(0.1, rows), 40)
    truth = 1 / (1 + np.exp(-(likes[user] + rng.normal(-1.2, 0.8, rows))))
    return Predictions(
        row=np.arange(rows),
        domain=domain.astype(np.int32),
        user=user,
        label=(rng.random(rows) < truth).astype(np.int8),
        score=truth,
        domains=DOMAINS,
    )


def test_healthy_models_hardly_ever_have_a_finding():
    """30 runs of 40 domains: six checks at 1 % each would have 1.8 findings if nothing were to matter."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(30):
        evidence = Evidence(domains=DOMAINS, valid=healthy(rng), test=healthy(rng))
        for code in STATISTICAL:
            found += CHECKS[code].run(evidence)
    assert len(found) <= 2, [f.message for f in found]


def test_the_error_of_a_calibration_ratio_is_that_of_drawing_users_again():
    rng = np.random.default_rng(1)
    users, each = 150, 4
    user = np.repeat(np.arange(users), each)
    rate = rng.beta(2, 4, users)[user]  # unknown to the model: rows of a user miss together
    label = (rng.random(len(user)) < rate).astype(np.int8)
    score = np.full(len(user), 0.4)
    p = Predictions(
        np.arange(len(user)), np.ones(len(user), np.int32), user, label, score, ("only",)
    )
    by_user = label.reshape(users, each).sum(1)
    drawn = rng.integers(0, users, (4000, users))
    ratios = np.log(0.4 * each * users / by_user[drawn].sum(1))
    assert error(log_ratios(p)[1]) == pytest.approx(ratios.std(), rel=0.05)


def test_calibration_error_by_chance_is_seldom_passed():
    """Of 400 calibrated samples the bound at 2 standard errors is passed by a few in a hundred."""
    rng, passed = np.random.default_rng(2), 0
    for _ in range(400):
        score = rng.beta(1.5, 4, 1000)
        label = (rng.random(1000) < score).astype(np.int8)
        ece = calibration_error(Ranked.of(label, score))
        passed += ece > _by_chance(score, score - label, np.arange(1000), 2.0)
    assert 1 <= passed <= 32


def test_the_limit_is_bonferronis():
    for tests in (1, 61, 2000):
        tail = 2 * tests * (1 - NormalDist().cdf(limit(tests)))
        assert tail == pytest.approx(ALPHA, rel=1e-6)


def test_random_masks_change_as_much_as_said():
    rng = np.random.default_rng(3)
    masks = [np.zeros((1, 6, 12), bool), np.zeros((1, 12, 4), bool)]
    for level, kept in zip(masks, (40, 12), strict=True):
        level.reshape(-1)[rng.permutation(level.size)[:kept]] = True
    drawn = []
    for _ in range(500):
        again = [rng.permutation(level.reshape(-1)) for level in masks]
        both = sum((a & level.reshape(-1)).sum() for a, level in zip(again, masks, strict=True))
        either = sum((a | level.reshape(-1)).sum() for a, level in zip(again, masks, strict=True))
        drawn.append(1 - both / either)
    assert _random_churn(masks) == [pytest.approx(np.mean(drawn), abs=0.01)]


@pytest.mark.parametrize(("shift", "worse"), [(0, False), (6, True)])
def test_dice_are_beaten_or_not(shift, worse):
    """Items at a random place of 30 candidates, and those that never come among the first six."""
    rng, n = np.random.default_rng(4), 3000
    place = np.minimum(rng.integers(0, 30, n) + shift, 29) if shift else rng.integers(0, 15, n)
    r = Ranks(
        np.arange(n), np.ones(n), np.arange(n), np.ones(n), np.zeros(n),
        dict.fromkeys(PROTOCOLS, place), dict.fromkeys(PROTOCOLS, np.zeros(n)),
        dict.fromkeys(PROTOCOLS, np.full(n, 30)), ("only",),
    )  # fmt: skip
    gain = np.array([1 / np.log2(2 + i) if i < 10 else 0.0 for i in range(30)])
    assert (gain[place].mean() <= gain.mean()) == worse
    assert _no_better(r) == worse


def test_retrievers_promise_no_click_rate():
    r = Ranks(*[np.zeros(0)] * 5, *[dict.fromkeys(PROTOCOLS, np.zeros(0))] * 3, ("only",))
    with pytest.raises(NotApplicable, match="retriever"):
        CHECKS["ISTH301"].run(Evidence(domains=("only",), test=r))
