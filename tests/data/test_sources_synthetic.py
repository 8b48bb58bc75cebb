"""Planted data: what was planted is there, is known, and is hidden from the features."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from isthmus.data.sources import SOURCES
from isthmus.data.sources import synthetic as module
from isthmus.data.sources.synthetic import SyntheticConfig, Truth, auc, read_truth, synthetic
from isthmus.errors import ConfigError, DataError


def redraw(config: SyntheticConfig):
    """The planted world, rows and logits, drawn again from the seed."""
    rng = np.random.default_rng(config.seed)
    shares, cluster, pairs = module._domains(config, rng)
    world = module._world(config, cluster, pairs, rng)
    columns, logit = module._rows(config, shares, world, rng)
    return world, columns, logit


def test_maps_of_clusters_are_rotations_and_unrelated():
    maps = module._orthogonal_maps()
    flat = maps.reshape(16, 16)
    assert flat @ flat.T == pytest.approx(4 * np.eye(16))
    assert np.einsum("cij,ckj->cik", maps, maps) == pytest.approx(np.tile(np.eye(4), (16, 1, 1)))


@pytest.mark.parametrize("ties", [False, True])
def test_auc_is_that_of_scikit_learn(ties):
    rng = np.random.default_rng(0)
    label, score = rng.integers(0, 2, 500), rng.normal(size=500)
    score = np.round(score) if ties else score
    assert auc(label, score) == pytest.approx(roc_auc_score(label, score), abs=1e-12)
    assert np.isnan(auc(np.ones(3), np.arange(3.0)))


def test_bayes_auc_is_that_of_the_true_logits_on_the_last_tenth(tmp_path):
    synthetic(tmp_path, rows=30_000, seed=4)
    truth = read_truth(tmp_path)
    rows = pq.read_table(tmp_path / "interactions.parquet").slice(27_000).to_pydict()
    _, _, logit = redraw(truth.config)
    label, domain = np.array(rows["label"]), np.array(rows["domain"])
    assert truth.bayes_auc == pytest.approx(roc_auc_score(label, logit[27_000:]))
    total = 0.0
    for name in truth.domains:
        mine = domain == name
        value = roc_auc_score(label[mine], logit[27_000:][mine])
        assert truth.bayes_auc_by_domain[name] == pytest.approx(value)
        total += value * mine.mean()
    assert truth.bayes_domain_auc == pytest.approx(total)
    assert 0.7 < truth.bayes_domain_auc < 0.95


def test_labels_are_drawn_from_the_logits():
    _, columns, logit = redraw(SyntheticConfig(rows=60_000))
    probability = 1 / (1 + np.exp(-logit))
    for low in np.arange(0, 1, 0.1):
        mine = (probability >= low) & (probability < low + 0.1)
        wrong = columns["label"][mine].mean() - probability[mine].mean()
        assert abs(wrong) < 4 * 0.5 / np.sqrt(mine.sum())


def test_domains_of_a_cluster_are_alike_and_harmful_pairs_opposite(tmp_path):
    synthetic(tmp_path, rows=1_000, domains=20, clusters=4, harmful_pairs=3, seed=2)
    truth = read_truth(tmp_path)
    world, _, _ = redraw(truth.config)
    flat = world.maps.reshape(20, -1)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    alike = flat @ flat.T
    cluster = np.array(truth.cluster)
    within = np.zeros((20, 20), dtype=bool)
    for c in range(4):
        within |= np.outer(cluster == c, cluster == c)
    across = np.outer(cluster >= 0, cluster >= 0) & ~within
    assert alike[within].min() > 0.85
    assert np.abs(alike[across]).max() < 0.5
    for a, b in truth.harmful_pairs:
        i, j = truth.domains.index(a), truth.domains.index(b)
        assert alike[i, j] == pytest.approx(-1)
        assert (cluster[i] >= 0, cluster[j]) == (True, -1)
    assert len({d for pair in truth.harmful_pairs for d in pair}) == 6


def test_a_partner_s_preferences_mislead():
    config = SyntheticConfig(rows=40_000, deviation=0.2, seed=1)
    world, columns, _ = redraw(config)
    _, _, pairs = module._domains(config, np.random.default_rng(config.seed))
    for a, b in pairs:
        mine = columns["domain"] == b
        taste, trait = world.taste[columns["user"][mine]], world.trait[columns["item"][mine]]
        borrowed = ((taste @ world.maps[a]) * trait).sum(1)
        assert roc_auc_score(columns["label"][mine], borrowed) < 0.35


def test_sizes_have_the_asked_tail(tmp_path):
    synthetic(tmp_path / "long", rows=50_000, domains=10, tail=0.4)
    synthetic(tmp_path / "even", rows=50_000, domains=10, tail=0.0)
    long = sorted(read_truth(tmp_path / "long").rows, reverse=True)
    even = read_truth(tmp_path / "even").rows
    slope = np.polyfit(np.arange(10), np.log(long), 1)[0]
    assert slope == pytest.approx(-0.4, abs=0.02)
    assert max(even) / min(even) < 1.1
    assert sum(long) == sum(even) == 50_000


def test_strength_moves_the_best_auc(tmp_path):
    for strength in (0.5, 3.0):
        synthetic(tmp_path / str(strength), rows=20_000, strength=strength)
    weak, strong = (read_truth(tmp_path / s).bayes_auc for s in ("0.5", "3.0"))
    assert strong > weak + 0.1


def test_same_seed_same_bytes(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        synthetic(tmp_path / name, rows=2_000, seed=seed)
    a, b, c = ((tmp_path / n / "interactions.parquet").read_bytes() for n in "abc")
    assert a == b
    assert a != c
    truths = [(tmp_path / n / "truth.json").read_text() for n in "ab"]
    assert truths[0] == truths[1]
    assert Truth.model_validate_json(truths[0]).config.seed == 0


def test_the_truth_is_no_column(tmp_path):
    config = synthetic(tmp_path, rows=1_000)
    names = {"user", "item", "domain", "context", "label", "time"}
    assert set(pq.read_schema(config.files[0]).names) == names
    used = {f.source for f in config.features if f.of is None}
    assert used == {"user", "item", "context"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"domain": 3}, "unknown key 'domain'"),
        ({"domains": 4, "clusters": 5}, "4 domains cannot hold 5 clusters"),
        ({"rows": 0}, "rows: "),
        ({"clusters": 17, "domains": 40}, "clusters: "),
    ],
)
def test_wrong_settings_are_named(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        synthetic(tmp_path, **settings)


def test_synth_ctr_leaves_the_true_logit_out_and_pads_off(tmp_path):
    names = (
        "userid", "itemid", "cate", "brand", "city", "price", "hour", "weekday", "domain",
        "label", "timestamp", "train_tag",
    )  # fmt: skip
    columns = {name: pa.array([1, 2, 0], pa.int32()) for name in names}
    columns["true_logit"] = pa.array([0.1, 0.2, 0.3])
    flat = pa.array([7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5], pa.int32())
    columns["item_seq"] = pa.FixedSizeListArray.from_arrays(flat, 5)
    pq.write_table(pa.table(columns), tmp_path / "data.parquet")
    config = SOURCES["synth_ctr"](tmp_path / "out", table=tmp_path / "data.parquet")
    rows = pq.read_table(config.files[0]).sort_by("timestamp").to_pydict()
    assert "true_logit" not in rows
    assert rows["item_seq"] == [[1, 2, 3, 4, 5], [7, 8], []]
    assert rows["domain"] == ["0", "1", "2"]
    assert (config.split.column, config.split.values) == ("train_tag", ("0", "1", "2"))
    pq.write_table(pa.table({"userid": [1]}), tmp_path / "bad.parquet")
    with pytest.raises(DataError, match="no column 'city'"):
        SOURCES["synth_ctr"](tmp_path / "out", table=tmp_path / "bad.parquet")
