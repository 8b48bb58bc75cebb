"""AREAD's popularity-based counterfactual augmentation: extra positives for small domains.

A positive with an unpopular item in a major domain says more about the user's taste than about the
crowd's, so the same user would probably have liked the item in another domain too. Such rows are
drawn with replacement, the more often the less popular the item, and moved to minor domains, the
smallest first (AREAD, AAAI'25, arXiv 2412.11905, its section on augmentation).

The caller passes training rows only: popularity, domain sizes and the number of drawn rows all come
from what is passed (the published code counts validation and test labels too).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from isthmus.errors import DataError
from isthmus.schema import Frozen

Ids = NDArray[np.int64]
_LEAST_WANT = 100.0  # published: no minor domain wants fewer rows than this
_WANT_QUANTILE = 0.3  # published: the softmax's temperature is this quantile of the wants


class AugmentConfig(Frozen):
    """How many rows to draw, from which items and domains, to which.

    ``popularity``: ``count`` is an item's number of rows, ``rate`` its smoothed share of positives,
    (positives + 1) / (rows + 2). ``cold``: an item is cold with count <= ``cold``, or rate <
    ``cold`` (the paper: 4 and .05 or .2, chosen anew for each data set). Without it the items at or
    below the ``cold_quantile`` of popularity are cold. That is the default, as absolute thresholds
    do not travel: where the paper has 4, half of the items of its 3-core have 3 or 4 rows, whereas
    25 of the 3,549 items of the bundled data do, whose 30 positives would be drawn 550 times each.

    ``labels``: ``positive`` moves positives alone, as published; ``all`` moves rows of either label.
    As training data positives alone teach that a cold item is a liked one, everywhere.

    A domain with at most ``minor_share`` of the rows is minor, one with more than ``major_factor``
    times that is major, and one between is neither.
    """

    ratio: float = Field(default=0.1, ge=0, le=1)
    labels: Literal["positive", "all"] = "positive"
    popularity: Literal["count", "rate"] = "count"
    cold: float | None = Field(default=None, gt=0)
    cold_quantile: float = Field(default=0.5, gt=0, le=1)
    minor_share: float = Field(default=0.02, gt=0, lt=1)
    major_factor: float = Field(default=1.5, ge=1)


@dataclass(frozen=True)
class Counterfactual:
    """Drawn rows and where they go; everything else of a drawn row stays as it is.

    Shapes:
        rows: [A] int64, positions in the arrays that were passed; positives unless ``labels`` is ``all``.
        domain: [A] int64, the new domain ids, all of minor domains.

    ``reason`` is empty, or says why nothing was drawn. ``minor`` and ``major`` are domain ids.
    """

    rows: Ids
    domain: Ids
    minor: tuple[int, ...]
    major: tuple[int, ...]
    reason: str = ""


def counterfactual(
    item: Ids,
    domain: Ids,
    label: Ids,
    *,
    num_domains: int,
    config: AugmentConfig,
    rng: np.random.Generator,
) -> Counterfactual:
    """Draw ``round(ratio * rows)`` counterfactual rows (by default positives) from training rows.

    Domain 0 (unknown) is neither a source nor a target, nor is a domain without rows a target: it
    would learn from positives alone. Item 0 (unknown) stands for many items, has no popularity of
    its own, and is no source.

    Shapes:
        item, domain, label: [N] integers; domains 0 .. num_domains, labels 0 or 1.

    Raises:
        DataError: arrays of different lengths, a domain id out of range, or a label not 0 or 1.
    """
    item, domain, label = (np.asarray(column, dtype=np.int64) for column in (item, domain, label))
    _check(item, domain, label, num_domains)
    sizes = np.bincount(domain, minlength=num_domains + 1)
    sizes[0] = 0
    minor, major = _minor_and_major(sizes, len(domain), config)
    popularity = item_popularity(item, label, config.popularity)
    is_source = np.isin(domain, major) & (item != 0)
    if config.labels == "positive":
        is_source &= label == 1
    is_source &= _is_cold(popularity, config)[item]
    sources = np.flatnonzero(is_source)
    drawn = round(len(domain) * config.ratio)
    reason = _why_none(minor, major, sources, drawn)
    if reason:
        sources, targets = sources[:0], sources[:0]
    else:
        weight = 1.0 / popularity[item[sources]]
        sources = rng.choice(sources, drawn, p=weight / weight.sum())
        targets = rng.choice(minor, drawn, p=target_probabilities(sizes[minor], drawn))
    return Counterfactual(sources, targets, tuple(minor.tolist()), tuple(major.tolist()), reason)


def item_popularity(item: Ids, label: Ids, kind: Literal["count", "rate"]) -> NDArray[np.float64]:
    """Popularity of each item id, [max(item) + 1] float64; 0 for ids without rows and for id 0."""
    rows = np.bincount(item).astype(np.float64)
    if kind == "count":
        popularity = rows
    else:
        positives = np.bincount(item, weights=(label == 1).astype(np.float64))
        popularity = np.where(rows > 0, (positives + 1) / (rows + 2), 0.0)
    popularity[:1] = 0.0
    return popularity


def target_probabilities(sizes: Ids, drawn: int) -> NDArray[np.float64]:
    """Probability of each minor domain, [M] float64: nearly "fill the smallest first".

    A domain wants ``w = max(100, (sum(sizes) + drawn) / M - size)`` rows; the probabilities are the
    softmax of ``w`` over its 30 % quantile. The largest exponent is subtracted first: as published
    the exponential overflows when one domain is far below the others.
    """
    want = np.maximum(_LEAST_WANT, (sizes.sum() + drawn) / len(sizes) - sizes)
    logits = want / np.quantile(want, _WANT_QUANTILE)
    weights = np.exp(logits - logits.max())
    return np.asarray(weights / weights.sum())


def _minor_and_major(sizes: Ids, rows: int, config: AugmentConfig) -> tuple[Ids, Ids]:
    limit = config.minor_share * rows
    minor = np.flatnonzero((sizes > 0) & (sizes <= limit))
    major = np.flatnonzero(sizes > config.major_factor * limit)
    return minor, major


def _is_cold(popularity: NDArray[np.float64], config: AugmentConfig) -> NDArray[np.bool_]:
    seen = popularity > 0
    if config.cold is not None and config.popularity == "rate":
        return seen & (popularity < config.cold)
    limit = config.cold
    if limit is None and seen.any():
        limit = float(np.quantile(popularity[seen], config.cold_quantile, method="lower"))
    return seen & (popularity <= (limit or 0.0))


def _why_none(minor: Ids, major: Ids, sources: Ids, drawn: int) -> str:
    if not drawn:
        return "the ratio asks for no row"
    if not len(minor):
        return "no domain is minor"
    if not len(major):
        return "no domain is major"
    if not len(sources):
        return "no positive with a cold item lies in a major domain"
    return ""


def _check(item: Ids, domain: Ids, label: Ids, num_domains: int) -> None:
    if not len(item) == len(domain) == len(label):
        raise DataError(
            f"augmentation: {len(item)} items, {len(domain)} domains and {len(label)} labels; "
            f"expected one of each for every training row"
        )
    if len(domain) and not 0 <= domain.min() <= domain.max() <= num_domains:
        raise DataError(
            f"augmentation: domain ids {domain.min()} .. {domain.max()}, expected 0 .. {num_domains}"
        )
    if len(item) and item.min() < 0:
        raise DataError(f"augmentation: item id {item.min()}, expected 0 or more")
    if not np.isin(label, (0, 1)).all():
        raise DataError("augmentation: a label is neither 0 nor 1")
