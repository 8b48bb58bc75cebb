"""Domains put into clusters by how a model's losses are distributed in each.

The pre-clustering of AREAD (arXiv 2412.11905): one model trained over all domains (the paper's is
DCN), the distribution of its losses in each domain, KL distances between those, K-Means. Here the
losses are of validation rows; the paper takes test rows, by which every model that uses the
clusters would be chosen on the rows it is judged by.

Shape letters: N rows, D domains that have rows, K bins.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from isthmus.errors import ConfigError, DataError
from isthmus.evaluation.predictions import Floats, Ints, Predictions
from isthmus.files import write_atomically
from isthmus.schema import Frozen
from isthmus.store import Run
from isthmus.toml import told

CLIP = 1e-7
"""Scores are held to [CLIP, 1 - CLIP], as they are for the log loss of evaluation."""
MOST = 10
"""The most clusters that "auto" tries."""
Count = int | Literal["auto"]


class Clusters(Frozen):
    """What a file of clusters holds; one written by hand needs ``clusters`` alone.

    ``silhouette`` is the mean silhouette (from -1 to 1) of the domains with rows, ``None`` where it
    is undefined: one cluster, or as many as domains. ``without_rows`` are domains that no loss
    speaks of.
    """

    clusters: tuple[tuple[str, ...], ...]
    run: str | None = None
    data: str | None = None
    split: str = "valid"
    silhouette: float | None = None
    without_rows: tuple[str, ...] = ()

    def write(self, path: Path) -> None:
        """Write them as JSON."""
        text = json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False)
        write_atomically(path, f"{text}\n".encode())


@dataclass(frozen=True, slots=True)
class Summary:
    """One cluster: its domains, their rows, and the mean log loss of those in nats (NaN without)."""

    domains: tuple[str, ...]
    rows: int
    loss: float


def cluster(
    p: Predictions, clusters: Count = 3, *, bins: int = 20, smoothing: float = 1.0, seed: int = 0
) -> Clusters:
    """Put the domains of ``p`` into clusters; rows of the unknown domain are left out.

    Loss distributions are histograms over ``bins`` shared bins, each of which holds an equal share
    of all rows; ``smoothing`` (> 0) rows a bin, distributed as all rows are, are added to each domain's.
    "auto" takes the number from 2 to 10 with the highest silhouette. A domain without rows joins
    the cluster whose losses are most like those of all rows: nothing else is known of it, and a
    cluster of its own would be a part that nothing else trains.

    Raises:
        ConfigError: more clusters than domains with rows (or than different distributions), fewer
            than one, or "auto" with fewer than three such domains.
        DataError: no row has a known domain.
    """
    known = p.take(p.domain > 0)
    if not len(known):
        raise DataError("no row of a known domain to cluster by; give a split that has some")
    present_D = np.unique(known.domain)
    counts_DK = histograms(row_losses(known), np.searchsorted(present_D, known.domain), bins)
    pooled_K = counts_DK.sum(0) / counts_DK.sum()
    distance_DD = symmetric_kl(smoothed(counts_DK, pooled_K, smoothing))
    part_D, silhouette = group(distance_DD, clusters, seed=seed)
    totals = np.stack([counts_DK[part_D == part].sum(0) for part in range(part_D.max() + 1)])
    usual = int(divergence(smoothed(totals, pooled_K, smoothing), pooled_K).argmin())
    names = dict(zip((p.domains[domain - 1] for domain in present_D), part_D, strict=True))
    part = [int(names.get(name, usual)) for name in p.domains]
    return Clusters(
        clusters=_named(p.domains, part),
        silhouette=silhouette,
        without_rows=tuple(name for name in p.domains if name not in names),
    )


def cluster_run(kept: Run, clusters: Count = 3, *, seed: int = 0) -> tuple[Clusters, list[Summary]]:
    """Clusters of a run's domains by its validation rows' losses, and what each consists of.

    Raises:
        DataError: the run is not finished.
        ConfigError: as ``cluster`` says.
    """
    if not kept.finished:
        raise DataError(
            f"the run {kept.path} is not finished, and has no predictions to cluster by; "
            "the same `isthmus train` goes on from its last epoch"
        )
    p = kept.predictions("valid")
    found = cluster(p, clusters, seed=seed)
    return found.model_copy(update={"run": kept.name, "data": kept.data.name}), summaries(p, found)


def row_losses(p: Predictions) -> Floats:
    """-log P(label) of every row, in nats: [N]."""
    of_label = np.where(p.label > 0, p.score, 1 - p.score)
    losses: Floats = -np.log(np.clip(of_label, CLIP, 1 - CLIP))
    return losses


def histograms(loss_N: Floats, domain_N: npt.NDArray[Any], bins: int) -> Floats:
    """Rows of each domain (ids 0, 1, .. without gaps) in each bin: [D, K], K at most ``bins``.

    The edges are quantiles of all rows' losses, so no bin is empty of all; where many rows have
    one loss, equal edges are one.
    """
    inner = np.unique(np.quantile(loss_N, np.arange(1, bins) / bins))
    bin_N = np.searchsorted(inner, loss_N, side="right")
    domains, places = int(domain_N.max()) + 1, len(inner) + 1
    flat = np.bincount(domain_N * places + bin_N, minlength=domains * places)
    counts_DK = flat.reshape(domains, places).astype(np.float64)
    return counts_DK[:, counts_DK.any(0)]


def smoothed(counts_DK: Floats, pooled_K: Floats, smoothing: float) -> Floats:
    """Distributions [D, K] that sum to 1: the fewer rows, the closer to that of all rows."""
    extra = smoothing * len(pooled_K)
    shares: Floats = (counts_DK + extra * pooled_K) / (counts_DK.sum(1, keepdims=True) + extra)
    return shares


def divergence(p_DK: Floats, q_DK: Floats) -> Floats:
    """KL(p, q) + KL(q, p) in nats, over the last axis; neither may hold a zero."""
    terms = (p_DK - q_DK) * np.log(p_DK / q_DK)
    total: Floats = terms.sum(-1)
    return total


def symmetric_kl(p_DK: Floats) -> Floats:
    """``divergence`` of every pair: [D, D], symmetric, 0 on the diagonal."""
    return divergence(p_DK[:, None], p_DK[None])


def group(distance_DD: Floats, clusters: Count, *, seed: int = 0) -> tuple[Ints, float | None]:
    """K-Means over the rows of a distance matrix: the cluster of each domain [D], and silhouette.

    Two domains are alike where they lie at the same distances from all others.
    """
    different = len(np.unique(distance_DD.round(12), axis=0))
    domains = len(distance_DD)
    if clusters != "auto":
        _check(clusters, domains, different)
        return _k_means(distance_DD, clusters, seed)
    if min(domains - 1, different) < 2:
        raise ConfigError(
            f"--clusters auto: found {domains} domains with rows, {different} of them different; "
            "expected 3 or more, of which 2 differ; give a number of clusters"
        )
    tried = [
        _k_means(distance_DD, k, seed) for k in range(2, min(domains - 1, different, MOST) + 1)
    ]
    return max(tried, key=_silhouette)  # the first, smallest, of equals


def _silhouette(found: tuple[Ints, float | None]) -> float:
    return -1.0 if found[1] is None else found[1]


def _check(clusters: int, domains: int, different: int) -> None:
    if clusters < 1:
        raise ConfigError(f"--clusters {clusters}: expected a number from 1 on, or auto")
    if clusters > domains:
        raise ConfigError(
            f"--clusters {clusters}: only {domains} domains have rows to be told apart by; "
            "expected at most as many clusters"
        )
    if clusters > different:
        raise ConfigError(
            f"--clusters {clusters}: the domains have only {different} different distributions of "
            "losses; expected at most as many clusters"
        )


def _k_means(distance_DD: Floats, clusters: int, seed: int) -> tuple[Ints, float | None]:
    from sklearn.cluster import KMeans  # a second to load: not for those who only read a file
    from sklearn.metrics import silhouette_score

    found = KMeans(clusters, n_init=10, random_state=seed).fit_predict(distance_DD)
    part_D = found.astype(np.int64)
    if not 1 < clusters < len(distance_DD):
        return part_D, None
    return part_D, float(silhouette_score(distance_DD, part_D))


def _named(domains: Sequence[str], part: Sequence[int]) -> tuple[tuple[str, ...], ...]:
    """Names by cluster, in the order of the domains."""
    members: dict[int, list[str]] = {}
    for name, number in zip(domains, part, strict=True):
        members.setdefault(number, []).append(name)
    return tuple(map(tuple, members.values()))


def summaries(p: Predictions, clusters: Clusters) -> list[Summary]:
    """What each cluster consists of."""
    losses, ids = row_losses(p), {name: number for number, name in enumerate(p.domains, 1)}
    found = []
    for names in clusters.clusters:
        own = losses[np.isin(p.domain, [ids[name] for name in names])]
        found.append(Summary(names, len(own), float(own.mean()) if len(own) else float("nan")))
    return found


def read(path: Path) -> Clusters:
    """Read a file of clusters.

    Raises:
        ConfigError: there is none, or it is no JSON of clusters.
    """
    try:
        return Clusters.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(
            f"settings.clusters: {path}: {error.strerror}; `isthmus cluster RUN --out FILE` makes one"
        ) from None
    except ValidationError as error:
        raise ConfigError(f"settings.clusters: {path}: {told(error)}") from None
    except ValueError as error:  # no JSON, or no UTF-8
        raise ConfigError(f"settings.clusters: {path}: not valid JSON ({error})") from None


def resolved(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Settings in which a file of clusters, its path counted from ``folder``, is what it holds."""
    if not isinstance(settings.get("clusters"), str):
        return dict(settings)
    return {**settings, "clusters": read(folder / settings["clusters"]).clusters}
