"""Planted data: clusters of domains, pairs of domains that harm each other, a known best AUC."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from isthmus.data.config import Columns, FeatureConfig, PrepareConfig
from isthmus.data.sources.base import settings_of, source
from isthmus.schema import Frozen

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
_START = 1_600_000_000  # 2020-09-13, a Sunday
_TASTES = 4  # dimensions of taste
_CONTEXTS = 8  # values of the context feature


class SyntheticConfig(Frozen):
    """What is planted.

    Domains of one cluster share the map from a user's taste to what is liked, those of two clusters
    have unrelated ones; ``deviation`` is how far a domain's own map lies from its cluster's. Each of ``harmful_pairs`` is two domains with opposite maps
    (the second of a pair belongs to no cluster): what helps one hurts the other. Sizes fall
    as exp(-tail * rank). ``strength`` scales taste, and with it the best AUC that can be had.
    """

    rows: PositiveInt = 100_000
    domains: PositiveInt = 12
    clusters: PositiveInt = Field(default=3, le=16)
    harmful_pairs: int = Field(default=2, ge=0)
    users: PositiveInt = 2_000
    items: PositiveInt = 3_000
    tail: float = Field(default=0.3, ge=0)
    strength: PositiveFloat = 1.5
    deviation: float = Field(default=0.2, ge=0, le=1)
    seed: int = 0

    @model_validator(mode="after")
    def _pairs_fit(self) -> "SyntheticConfig":
        if self.domains - self.harmful_pairs < max(self.clusters, self.harmful_pairs):
            raise ValueError(
                f"{self.domains} domains cannot hold {self.clusters} clusters and "
                f"{self.harmful_pairs} harmful pairs"
            )
        return self


class Truth(Frozen):
    """What was planted: written as ``truth.json`` beside the rows.

    ``cluster`` is each domain's cluster, -1 for the second of a harmful pair. The Bayes AUCs come
    from the true logits of the test split (last tenth of time); domains without both labels there
    are left out of ``bayes_domain_auc``, whose weights are test rows.
    """

    config: SyntheticConfig
    domains: tuple[str, ...]
    cluster: tuple[int, ...]
    harmful_pairs: tuple[tuple[str, str], ...]
    rows: tuple[int, ...]
    bayes_auc: float
    bayes_domain_auc: float
    bayes_auc_by_domain: dict[str, float]

    def relation(self, names: Sequence[str]) -> Floats:
        """1 where two of these domains share a taste, -1 where theirs are opposite, else 0: [D, D]."""
        cluster = dict(zip(self.domains, self.cluster, strict=True))
        sign = dict.fromkeys(self.domains, 1)
        for first, second in self.harmful_pairs:
            cluster[second], sign[second] = cluster[first], -sign[first]
        return np.array(
            [[sign[a] * sign[b] * float(cluster[a] == cluster[b]) for b in names] for a in names]
        )


@dataclass(frozen=True)
class _World:
    """Tastes [users, k], item traits [items, k], maps [D, k, k], and the biases."""

    taste: Floats
    trait: Floats
    maps: Floats
    bias: Floats
    context: Floats


@source
def synthetic(
    out: Path, *, config: SyntheticConfig | None = None, **settings: object
) -> PrepareConfig:
    """Draw a data set whose clusters, harmful pairs and Bayes AUC are known.

    label ~ Bernoulli(sigmoid(bias_d + strength * taste' M_d trait / sqrt(k) + context effect)) with
    M_d the domain's map: a rotation of its cluster, or minus its partner's map in a harmful pair.
    Taste shows in the user id alone, and in the last liked items; the true logit is in no column.
    All domains share all items, so that no item embedding can absorb a domain's map.

    ``settings`` are fields of ``SyntheticConfig``. ``read_truth(out)`` gives what was planted.

    Raises:
        ConfigError: a setting is unknown, of the wrong type, or does not fit the others.
    """
    config = config or settings_of(SyntheticConfig, settings, "synthetic")
    rng = np.random.default_rng(config.seed)
    shares, cluster, pairs = _domains(config, rng)
    world = _world(config, cluster, pairs, rng)
    columns, logit = _rows(config, shares, world, rng)
    names = tuple(f"d{d:02d}" for d in range(config.domains))
    truth = _truth(config, names, (cluster, pairs), (columns, logit))
    out.mkdir(parents=True, exist_ok=True)
    (out / "truth.json").write_text(truth.model_dump_json(indent=1), encoding="utf-8")
    table = {name: pa.array(values) for name, values in columns.items()}
    table["domain"] = pa.array(names).take(table["domain"])
    pq.write_table(pa.table(table), out / "interactions.parquet", compression="zstd")
    return _prepare_config(out / "interactions.parquet")


def read_truth(out: Path) -> Truth:
    """What was planted in the data set that ``synthetic`` wrote there."""
    return Truth.model_validate_json((out / "truth.json").read_text(encoding="utf-8"))


def auc(label: NDArray[np.integer], score: Floats) -> float:
    """Area under the ROC curve, ties counted half; NaN without both labels."""
    values, place = np.unique(score, return_inverse=True)
    positives = np.bincount(place, weights=label, minlength=len(values))
    negatives = np.bincount(place, minlength=len(values)) - positives
    below = np.cumsum(negatives) - negatives
    pairs = positives.sum() * negatives.sum()
    return float((positives * (below + negatives / 2)).sum() / pairs) if pairs else float("nan")


def _prepare_config(file: Path) -> PrepareConfig:
    return PrepareConfig(
        name="synthetic",
        files=(str(file),),
        columns=Columns(user="user", item="item", domain="domain", label="label", time="time"),
        features=(
            FeatureConfig(name="user_id", column="user", role="user"),
            FeatureConfig(name="item_id", column="item", role="item"),
            FeatureConfig(name="context"),
            FeatureConfig(name="liked", kind="history", role="user", of="item_id"),
        ),
        source="planted by isthmus.data.sources.synthetic; the truth lies in truth.json",
    )


def _domains(config: SyntheticConfig, rng: np.random.Generator) -> tuple[Floats, Ints, Ints]:
    """Shares [D], cluster [D] (large and small in each), and pairs [P, 2] of domains."""
    shares = np.exp(-config.tail * np.arange(config.domains))
    shares = rng.permutation(shares / shares.sum())
    by_size = np.argsort(-shares)
    cluster = np.empty(config.domains, dtype=np.int64)
    cluster[by_size] = np.arange(config.domains) % config.clusters
    # the second of a pair is taken from the middle of the sizes: large enough to be measured
    middle = (config.domains - config.harmful_pairs) // 2
    second = by_size[middle : middle + config.harmful_pairs]
    first = np.setdiff1d(by_size, second, assume_unique=True)[: config.harmful_pairs]
    cluster[second] = -1
    return shares, cluster, np.stack([first, second], axis=1)


def _world(config: SyntheticConfig, cluster: Ints, pairs: Ints, rng: np.random.Generator) -> _World:
    k = _TASTES
    rotation = np.linalg.qr(rng.normal(size=(k, k)))[0] @ _orthogonal_maps()[: config.clusters]
    own = np.linalg.qr(rng.normal(size=(config.domains, k, k)))[0]
    keep = np.sqrt(1 - config.deviation**2)
    maps = keep * rotation[cluster] + config.deviation * own
    maps[pairs[:, 1]] = -maps[pairs[:, 0]]
    return _World(
        taste=rng.normal(size=(config.users, k)),
        trait=rng.normal(size=(config.items, k)),
        maps=maps * config.strength / np.sqrt(k),
        bias=rng.normal(-0.7, 0.4, config.domains),
        context=rng.normal(0, 0.3, _CONTEXTS),
    )


def _orthogonal_maps() -> Floats:
    """Sixteen rotations, [16, 4, 4], any two unrelated: the trace of one' times another is 0.

    Each is a permutation (exclusive or with i) with the signs of one row of Hadamard's matrix.
    """
    places = np.arange(_TASTES)
    two = np.array([[1, 1], [1, -1]])
    signs = np.kron(two, two)
    return np.array([np.eye(_TASTES)[places ^ i] * row for row in signs for i in places])


def _rows(
    config: SyntheticConfig, shares: Floats, world: _World, rng: np.random.Generator
) -> tuple[dict[str, NDArray[np.integer]], Floats]:
    """Columns of the rows in the order of time, and their true logits."""
    size = config.rows
    domain = rng.choice(config.domains, size, p=shares)
    activity = 1 / (10 + np.arange(config.users))
    user = rng.choice(config.users, size, p=activity / activity.sum())
    item = (rng.random(size) ** 2 * config.items).astype(np.int64)  # the first ones are popular
    context = rng.integers(0, _CONTEXTS, size)
    taste = np.empty((size, world.taste.shape[1]))
    for d in range(config.domains):
        rows = domain == d
        taste[rows] = world.taste[user[rows]] @ world.maps[d]
    logit = (taste * world.trait[item]).sum(1) + world.bias[domain] + world.context[context]
    label = rng.random(size) < 1 / (1 + np.exp(-logit))
    columns = {
        "user": user.astype(np.int32),
        "item": item.astype(np.int32),
        "domain": domain,
        "context": context.astype(np.int8),
        "label": label.astype(np.int8),
        "time": _START + np.arange(size, dtype=np.int64) * 60,
    }
    return columns, logit


def _truth(
    config: SyntheticConfig,
    names: tuple[str, ...],
    planted: tuple[Ints, Ints],
    drawn: tuple[dict[str, NDArray[np.integer]], Floats],
) -> Truth:
    (cluster, pairs), (columns, logit) = planted, drawn
    test = slice(round(config.rows * 0.9), None)
    domain, label, score = columns["domain"][test], columns["label"][test], logit[test]
    by_domain = {n: auc(label[domain == d], score[domain == d]) for d, n in enumerate(names)}
    rows = {n: int((domain == d).sum()) for d, n in enumerate(names)}
    defined = {n: value for n, value in by_domain.items() if not np.isnan(value)}
    weighted = sum(value * rows[n] for n, value in defined.items())
    return Truth(
        config=config,
        domains=names,
        cluster=tuple(cluster.tolist()),
        harmful_pairs=tuple((names[a], names[b]) for a, b in pairs.tolist()),
        rows=tuple(np.bincount(columns["domain"], minlength=len(names)).tolist()),
        bayes_auc=auc(label, score),
        bayes_domain_auc=weighted / max(sum(rows[n] for n in defined), 1),
        bayes_auc_by_domain=defined,
    )
