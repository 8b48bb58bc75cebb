"""Clusters of domains by their losses: KL by hand, planted kinds of loss, what users get wrong."""

import json

import numpy as np
import pytest

from isthmus import clustering
from isthmus.clustering import (
    Clusters,
    cluster,
    divergence,
    group,
    histograms,
    read,
    resolved,
    row_losses,
    smoothed,
    summaries,
    symmetric_kl,
)
from isthmus.errors import ConfigError, DataError
from isthmus.evaluation import Predictions


def predictions(domain, label, score, domains):
    n = len(domain)
    return Predictions(
        row=np.arange(n),
        domain=np.asarray(domain),
        user=np.zeros(n, np.int64),
        label=np.asarray(label),
        score=np.asarray(score, dtype=float),
        domains=domains,
    )


def planted(seed, sizes, sure):
    """Domains whose scores are confident (``sure``) or near one half; labels follow the scores."""
    rng = np.random.default_rng(seed)
    domain = np.repeat(np.arange(1, len(sizes) + 1), sizes)
    spread = np.where(np.asarray(sure)[domain - 1], 2.5, 0.4)
    score = 1 / (1 + np.exp(-spread * rng.normal(size=len(domain))))
    label = rng.random(len(domain)) < score
    return predictions(domain, label, score, tuple(f"d{i}" for i in range(len(sizes))))


def test_the_divergence_is_worked_by_hand():
    """p = (1/2, 1/2), q = (1/4, 3/4): (1/4) ln 2 + (-1/4) ln(2/3) = (1/4) ln 3."""
    p, q = np.array([0.5, 0.5]), np.array([0.25, 0.75])
    assert divergence(p, q) == pytest.approx(0.25 * np.log(3))
    kl = sum(a * np.log(a / b) for a, b in zip(p, q, strict=True))
    lk = sum(b * np.log(b / a) for a, b in zip(p, q, strict=True))
    assert divergence(p, q) == pytest.approx(kl + lk)
    expected = 0.25 * np.log(3) * np.array([[0, 1], [1, 0]])
    np.testing.assert_allclose(symmetric_kl(np.stack([p, q])), expected, atol=1e-15)


def test_losses_and_histograms_are_worked_by_hand():
    p = predictions([1, 1, 2, 2], [1, 0, 1, 0], [0.9, 0.2, 0.0, 0.5], ("a", "b"))
    np.testing.assert_allclose(row_losses(p), -np.log([0.9, 0.8, 1e-7, 0.5]))
    # edges of two bins: the median of 1, 2, 3, 4 is 2.5
    counts = histograms(np.array([1.0, 3.0, 2.0, 4.0]), np.array([0, 1, 0, 0]), 2)
    np.testing.assert_array_equal(counts, [[2, 1], [0, 1]])
    shares = smoothed(counts, np.array([0.5, 0.5]), 1.0)
    np.testing.assert_allclose(shares, [[3 / 5, 2 / 5], [1 / 3, 2 / 3]])


def test_equal_losses_share_a_bin_and_no_bin_is_empty():
    counts = histograms(np.array([1.0] * 9 + [2.0]), np.array([0, 1] * 5), 20)
    np.testing.assert_array_equal(counts.sum(0), [9, 1])


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("clusters", [2, "auto"])
def test_planted_kinds_of_loss_are_found(seed, clusters):
    rng = np.random.default_rng(seed + 100)
    sure = rng.permutation([True] * 5 + [False] * 7)
    p = planted(seed, rng.integers(150, 1500, 12), sure)
    found = cluster(p, clusters)
    wanted = {
        frozenset(f"d{i}" for i in np.flatnonzero(kind)) for kind in (sure, np.logical_not(sure))
    }
    assert {frozenset(names) for names in found.clusters} == wanted
    assert found.silhouette is not None
    assert found.silhouette > 0.6
    assert found == cluster(p, clusters), "the same seed gives the same clusters"


def test_a_domain_without_rows_joins_the_usual_ones():
    """Nearly all rows are of the unsure kind: that is what is expected of a domain never seen."""
    p = planted(1, [1500, 1500, 60, 0, 60, 1500], [False, False, True, True, True, False])
    found = cluster(p, 2)
    assert found.clusters == (("d0", "d1", "d3", "d5"), ("d2", "d4"))
    assert found.without_rows == ("d3",)
    one, other = summaries(p, found)
    assert (one.rows, other.rows) == (4500, 120)
    assert one.loss == pytest.approx(row_losses(p)[p.domain != 3][:3000].mean(), abs=0.02)
    assert other.loss < one.loss


def test_rows_of_the_unknown_domain_are_left_out():
    p = planted(2, [400, 400, 400, 400], [True, True, False, False])
    wild = predictions([0] * 500, [1] * 500, [1e-6] * 500, p.domains)
    both = predictions(
        *(np.concatenate([getattr(p, c), getattr(wild, c)]) for c in ("domain", "label", "score")),
        p.domains,
    )
    assert cluster(both, 2) == cluster(p, 2)


def test_one_cluster_and_as_many_as_domains_have_no_silhouette():
    p = planted(3, [300, 400, 500], [True, False, False])
    assert cluster(p, 1).clusters == (("d0", "d1", "d2"),)
    assert cluster(p, 3).clusters == (("d0",), ("d1",), ("d2",))
    assert cluster(p, 1).silhouette is cluster(p, 3).silhouette is None


def test_a_silhouette_of_zero_is_above_one_below(monkeypatch):
    silhouettes = {2: -0.5, 3: 0.0, 4: -0.1}
    found = {k: (np.arange(5) % k, value) for k, value in silhouettes.items()}
    monkeypatch.setattr(clustering, "_k_means", lambda distance_DD, k, seed: found[k])
    part_D, silhouette = clustering.group(np.arange(25.0).reshape(5, 5), "auto")
    assert (len(set(part_D)), silhouette) == (3, 0.0)


def test_what_cannot_be_clustered_is_refused():
    p = planted(4, [300, 0, 300], [True, True, False])
    with pytest.raises(ConfigError, match="only 2 domains"):
        cluster(p, 3)
    with pytest.raises(ConfigError, match="from 1 on"):
        cluster(p, 0)
    with pytest.raises(ConfigError, match="3 or more"):
        cluster(p, "auto")
    with pytest.raises(ConfigError, match="only 1 different"):
        group(np.zeros((4, 4)), 2)
    with pytest.raises(DataError, match="no row of a known domain"):
        cluster(predictions([0], [1], [0.5], ("a",)), 1)


def test_a_file_is_read_as_it_was_written(tmp_path):
    found = Clusters(clusters=(("a", "b"), ("ç",)), run="r", silhouette=0.5)
    found.write(tmp_path / "clusters.json")
    assert read(tmp_path / "clusters.json") == found
    settings = {"domains": "clusters", "clusters": "clusters.json"}
    assert resolved(settings, tmp_path)["clusters"] == (("a", "b"), ("ç",))
    assert resolved({"clusters": [["a"]]}, tmp_path) == {"clusters": [["a"]]}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "isthmus cluster"),
        (b"{", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b"[]", "Clusters"),
        (b'{"run": "x"}', "clusters"),
        (b'{"clusters": [["a"]], "k": 3}', "'k'"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path, content, told):
    if content is not None:
        (tmp_path / "c.json").write_bytes(content)
    with pytest.raises(ConfigError, match=told) as caught:
        resolved({"clusters": "c.json"}, tmp_path)
    assert "\n" not in str(caught.value)
    assert "c.json" in str(caught.value)


def test_clusters_written_by_hand_need_no_more(tmp_path):
    (tmp_path / "c.json").write_text(json.dumps({"clusters": [["a"], ["b"]]}))
    assert read(tmp_path / "c.json").clusters == (("a",), ("b",))
