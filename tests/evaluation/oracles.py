"""Slow, obvious versions of what the evaluation computes, and small worlds to try it on."""

import numpy as np

from isthmus.evaluation import Predictions


def win(positive, negative):
    """What one pair counts."""
    return 1.0 if positive > negative else 0.5 if positive == negative else 0.0


def ties_as_wins(positive, negative):
    """Known to be wrong: a constant score would have an AUC of 1. The tests must tell it apart."""
    return 1.0 if positive >= negative else 0.0


def pair_auc(label, score, pair=win):
    """AUC by a loop over all pairs."""
    wins = [pair(p, n) for p in score[label == 1] for n in score[label == 0]]
    return sum(wins) / len(wins)


def pair_components(label, score):
    """DeLong's V10 of the positives and V01 of the negatives, by a loop over all pairs."""
    positives, negatives = score[label == 1], score[label == 0]
    v10 = [sum(win(p, n) for n in negatives) / len(negatives) for p in positives]
    v01 = [sum(win(p, n) for p in positives) / len(positives) for n in negatives]
    return np.array(v10), np.array(v01)


def pair_delong(label, score, other=None):
    """DeLong's variance of an AUC, or of the difference of two on the same rows."""
    v10, v01 = pair_components(label, score)
    if other is not None:
        w10, w01 = pair_components(label, other)
        v10, v01 = v10 - w10, v01 - w01
    return v10.var(ddof=1) / len(v10) + v01.var(ddof=1) / len(v01)


def pair_obuchowski(label, score, user):
    """Variance of a clustered AUC, formula by formula as in Obuchowski (1997), section 3."""
    auc = pair_auc(label, score)
    v10, v01 = pair_components(label, score)
    of_positive, of_negative = user[label == 1], user[label == 0]
    m, n = len(v10), len(v01)
    users = sorted(set(user))
    i10, i01, i = len(set(of_positive)), len(set(of_negative)), len(users)
    s10 = s01 = s11 = 0.0
    for u in users:
        x = sum(v10[of_positive == u]) - sum(of_positive == u) * auc
        y = sum(v01[of_negative == u]) - sum(of_negative == u) * auc
        s10 += i10 / ((i10 - 1) * m) * x * x
        s01 += i01 / ((i01 - 1) * n) * y * y
        s11 += i / (i - 1) * x * y
    return s10 / m + s01 / n + 2 * s11 / (m * n)


def table(label, score, *, domain=None, user=None, domains=("a", "b", "c")):
    """Predictions of these labels and scores; one domain and a user a row unless given."""
    count = len(label)
    return Predictions(
        row=np.arange(count),
        domain=np.ones(count, np.int32) if domain is None else np.asarray(domain),
        user=np.arange(count) if user is None else np.asarray(user),
        label=np.asarray(label),
        score=np.asarray(score, dtype=float),
        domains=tuple(domains),
    )


def squash(logit):
    """Logits to probabilities."""
    return 1 / (1 + np.exp(-np.asarray(logit)))


def households(rng, users, per_user=5, spread=1.0):
    """Rows of users who differ in their taste for saying yes: user [N], label [N], signal [N]."""
    user = np.repeat(np.arange(users), rng.integers(1, 2 * per_user, users))
    signal = spread * rng.normal(size=users)[user] + rng.normal(size=len(user))
    label = (rng.random(len(user)) < squash(signal - 0.5)).astype(np.int8)
    return user, label, signal
