"""Overlap of related domains' masks: against plain loops, whole enumerations and planted masks."""

import itertools
import json
from math import comb
from statistics import mean
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from benchmarks.studies import masks

from isthmus.config import checked
from isthmus.data.prepare import prepare
from isthmus.data.sources import get
from isthmus.errors import DataError
from isthmus.experiment import run
from isthmus.store import Store
from tests.oracles.plain_masks import jaccard

GROUPS = [0, 0, 1, 1, -1, -1]
SHAPES = [(2, 4), (4, 3)]


def random_levels(seed, domains=6, share=0.6):
    rng = np.random.default_rng(seed)
    return [rng.random((domains, *shape)) < share for shape in SHAPES]


def planted(same):
    """Six domains; those of a group have the same edges (or none in common with the rest)."""
    levels = [np.zeros((6, *shape), bool) for shape in SHAPES]
    for domain, place in enumerate([0, 0, 1, 1, 2, 3]):
        for level in levels:
            flat = level[domain].reshape(-1)
            flat[:] = True if same else np.arange(flat.size) % 4 == place
    return levels


def plain(levels, groups, pairs):
    """Mean overlap of the chosen pairs, edge by edge."""
    found = []
    for a, b in itertools.combinations(range(len(groups)), 2):
        related = groups[a] == groups[b] and groups[a] != -1
        if related == (pairs == "related"):
            of = [[torch.from_numpy(level[d]) for level in levels] for d in (a, b)]
            found.append(jaccard(*of))
    return mean(found), len(found)


@pytest.mark.parametrize("seed", range(3))
def test_overlaps_are_those_of_a_plain_loop(seed):
    levels = random_levels(seed)
    for row in masks.analysed(levels, GROUPS, repeats=5):
        overlap, count = plain(levels, GROUPS, row["pairs"])
        assert float(row["overlap"]) == pytest.approx(overlap, abs=1e-6)
        assert int(row["count"]) == count


def test_planted_disjoint_clusters_overlap_within_alone():
    related, unrelated = masks.analysed(planted(same=False), GROUPS, repeats=200)
    assert float(related["overlap"]) == 1
    assert float(unrelated["overlap"]) == 0
    assert float(unrelated["high"]) > 0
    assert float(related["high"]) < 1


def test_equal_masks_tell_no_clusters():
    related, unrelated = masks.analysed(planted(same=True), GROUPS, repeats=50)
    assert float(related["overlap"]) == float(unrelated["overlap"]) == 1
    assert float(related["p"]) == 1


@pytest.mark.parametrize(("seed", "repeats"), [(0, 4000), (5, 4000)])
def test_p_is_that_of_all_permutations(seed, repeats):
    levels = random_levels(seed)
    difference = {
        order: plain(levels, order, "related")[0] - plain(levels, order, "unrelated")[0]
        for order in set(itertools.permutations(GROUPS))
    }
    exact = mean(d >= difference[tuple(GROUPS)] - 1e-12 for d in difference.values())
    (row, _) = masks.analysed(levels, GROUPS, repeats=repeats)
    error = (exact * (1 - exact) / repeats) ** 0.5
    assert float(row["p"]) == pytest.approx(exact, abs=4 * error + 1 / repeats)


def test_random_masks_have_the_expected_overlap():
    """Of k edges out of n kept at random in both domains, i are shared with hypergeometric chance."""
    n, k = 24, 14
    level = np.zeros((6, n), bool)
    level[:, :k] = True
    expected = sum(
        comb(k, i) * comb(n - k, k - i) / comb(n, k) * i / (2 * k - i) for i in range(k + 1)
    )
    for row in masks.analysed([level.reshape(6, 4, 6)], GROUPS, repeats=2000):
        assert float(row["random"]) == pytest.approx(expected, abs=0.005)
        assert float(row["low"]) < expected < float(row["high"])
        assert float(row["density"]) == pytest.approx(k / n, abs=1e-6)


def test_random_masks_keep_each_levels_density():
    levels = random_levels(1)
    shuffled = masks.shuffled(levels, np.random.default_rng(0))
    size = levels[0][0].size
    for part, level in ((shuffled[:, :size], levels[0]), (shuffled[:, size:], levels[1])):
        assert part.sum(1).tolist() == level.reshape(6, -1).sum(1).tolist()
    assert not np.array_equal(shuffled[:, :size], levels[0].reshape(6, -1))


@pytest.mark.parametrize("groups", [[0] * 6, [-1] * 6])
def test_all_related_or_none_is_refused(groups):
    with pytest.raises(DataError, match="nothing to compare"):
        masks.analysed(random_levels(0), groups, repeats=1)


def test_clusters_are_read_by_name(tmp_path):
    kept = SimpleNamespace(schema=SimpleNamespace(domains=("b", "a", "c")), data=SimpleNamespace(name="d"))  # fmt: skip
    truth, found = tmp_path / "truth.json", tmp_path / "clusters.json"
    truth.write_text(json.dumps({"domains": ["a", "b", "c", "z"], "cluster": [4, 2, -1, 0]}))
    assert masks.groups_of(str(truth), kept) == ("planted cluster", [2, 4, -1])
    found.write_text(json.dumps({"clusters": [["c"], ["b", "a"]]}))
    assert masks.groups_of(str(found), kept) == ("cluster of losses", [1, 1, 0])
    found.write_text(json.dumps({"clusters": [["c"], ["b"]]}))
    with pytest.raises(DataError, match="no cluster for a"):
        masks.groups_of(str(found), kept)


def trained(folder, **changes):
    """A tiny AREAD after one epoch."""
    data = folder / "data"
    search = {
        "warmup_steps": 1,
        "every": 3,
        "batch_size": 32,
        "candidates": 3,
        "updates": 2,
        **changes,
    }
    small = {"embedding_dim": 4, "bottom_hidden": [8], "bottom_experts": 2, "search": search}
    values = {
        "data": str(data),
        "model": "aread",
        "settings": small,
        "train": {"max_epochs": 1, "batch_size": 256},
    }
    return run(checked(values, "masks"), Store(folder / "runs"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An AREAD on planted data, its masks searched, and the folder of both."""
    folder = tmp_path_factory.mktemp("masks")
    raw = get("synthetic")(folder / "raw", rows=3000, domains=8, clusters=2, seed=3)
    prepare(raw, folder / "data")
    return trained(folder), folder


def test_rows_of_a_finished_run(finished):
    kept, folder = finished
    related, unrelated = masks.rows_of(kept, str(folder / "raw" / "truth.json"))
    cluster = json.loads((folder / "raw" / "truth.json").read_text())["cluster"]
    assert int(related["count"]) == sum(a == b != -1 for a, b in itertools.combinations(cluster, 2))
    assert 0.3 < float(related["density"]) < 0.8
    assert related["run"] == unrelated["run"] == kept.name
    assert set(related) == set(masks.COLUMNS)


def test_masks_that_were_never_searched_are_refused(finished):
    _, folder = finished
    with pytest.raises(DataError, match="no search came"):
        masks.rows_of(trained(folder, every=10**6), str(folder / "raw" / "truth.json"))


def test_a_features_commonest_value_relates_domains(finished, monkeypatch):
    kept, folder = finished
    feature = kept.schema.features[0].name
    kind, groups = masks.groups_of(feature, kept, folder / "data")
    assert kind == f"same {feature}"
    rows = masks.Prepared.open(folder / "data").impressions("train")
    for domain, found in enumerate(groups, start=1):
        own = rows.features[rows.domain == domain, 0].tolist()
        assert own.count(found) == max(own.count(value) for value in own)
    with pytest.raises(DataError, match="no feature 'department'"):
        masks.groups_of("department", kept, folder / "data")
    monkeypatch.setattr(masks, "HERE", folder)
    monkeypatch.setattr("sys.argv", ["masks.py", "m", "--by", str(folder / "raw" / "truth.json"), str(kept.path)])  # fmt: skip
    for _ in range(2):  # the second time replaces the rows
        masks.main()
        assert len(masks.read_rows(folder / "results" / "m.csv")) == 2
