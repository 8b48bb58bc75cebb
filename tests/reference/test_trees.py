"""The reference ranker: it learns what is planted, gives the same bytes twice, is run as models are."""

import csv
import hashlib
import sys

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score as auc
from typer.testing import CliRunner

from isthmus import bench, experiment
from isthmus.batch import Impressions
from isthmus.cli import app
from isthmus.config import checked
from isthmus.data.feed import Feed
from isthmus.data.prepare import prepare
from isthmus.data.prepared import Prepared
from isthmus.data.sources import get
from isthmus.errors import ConfigError, IntegrityError
from isthmus.evaluation import evaluate
from isthmus.experiment import load_model, run
from isthmus.inference import probabilities
from isthmus.reference.trees import Trees, TreesConfig
from isthmus.schema import Feature, Schema
from isthmus.store import Run, Store
from isthmus.testing import toy_impressions, toy_schema

pytest.importorskip("lightgbm")
SMALL = {"trees": 60, "min_rows": 20, "patience": 3}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    made = get("synthetic")(folder / "raw", rows=6000, domains=5, clusters=2, seed=3)
    return prepare(made, folder / "prepared").path


def config(data, **changes):
    values = {"data": str(data), "model": "lightgbm", "settings": SMALL, **changes}
    return checked(values, "test")


def fitted(schema, train, valid, seed=0, **settings):
    feed = Feed(train, batch_size=64, seed=seed, valid=valid)
    label = valid.label.numpy()
    config = TreesConfig.model_validate({**SMALL, **settings})
    return Trees.fit(config, schema, feed, lambda scores: auc(label, scores))


def test_it_learns_what_is_planted():
    schema = toy_schema()
    train, valid, new = (toy_impressions(schema, n, s) for s, n in enumerate((6000, 1500, 1500)))
    model, state = fitted(schema, train, valid, pairs=[["item", "domain"]])
    assert auc(new.label.numpy(), probabilities(model, new)) > 0.8  # .82 is the best that can be
    assert state.scores[state.best_epoch] == max(state.scores)
    assert probabilities(model, new).mean() == pytest.approx(new.label.mean().item(), abs=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_it_learns_nothing_from_labels_at_random(seed):
    """Ids with few rows each, labels at random; what it believes of fresh rows is worth nothing."""
    schema = Schema(features=(Feature(name="user", size=2001, role="user"),), domains=("a", "b"))
    g = torch.Generator().manual_seed(seed)

    def rows(n):
        ids = torch.randint(1, 2001, (n, 1), generator=g)
        domain, label = (torch.randint(0, 2, (n,), generator=g) for _ in range(2))
        return Impressions(ids, domain + 1, label.float())

    train, valid, new = rows(6000), rows(2000), rows(6000)
    model, _ = fitted(schema, train, valid, seed=seed)
    assert auc(new.label.numpy(), probabilities(model, new)) == pytest.approx(0.5, abs=0.03)
    # the trees have not learnt the labels of their own rows by heart either
    own = model.booster.predict(model.encoding.training(train, seed))
    assert auc(train.label.numpy(), own) < 0.75


def test_growing_ends_without_gain_and_the_best_trees_are_kept():
    schema = toy_schema()
    train, valid = toy_impressions(schema, 3000), toy_impressions(schema, 500, 1)
    feed, scores = Feed(train, batch_size=64, seed=0, valid=valid), iter([0.5, 0.7, 0.6, 0.6])
    settings = TreesConfig(trees=100, every=4, patience=2, min_rows=20)
    model, state = Trees.fit(settings, schema, feed, lambda _: next(scores))
    assert state.scores == [0.5, 0.7, 0.6, 0.6]
    assert model.booster.num_trees() == 8
    full, state = Trees.fit(
        TreesConfig(trees=10, every=4, patience=9), schema, feed, lambda s: -float(s.std())
    )
    assert state.epochs == 3, "4, 4 and 2 trees"
    assert full.leaves.numel() == sum(
        tree["num_leaves"] for tree in full.booster.dump_model()["tree_info"]
    )


def test_scores_while_growing_are_those_of_the_kept_trees():
    schema = toy_schema()
    train, valid = toy_impressions(schema, 3000), toy_impressions(schema, 500, 1)
    seen = []
    feed = Feed(train, batch_size=64, seed=0, valid=valid)
    model, _ = Trees.fit(
        TreesConfig(trees=30, min_rows=20),
        schema,
        feed,
        lambda scores: seen.append(scores) or float(len(seen)),
    )
    np.testing.assert_allclose(probabilities(model, valid), seen[-1], rtol=1e-12)


def contents(kept):
    files = (path for path in kept.path.rglob("*") if path.is_file())
    return {
        str(path.relative_to(kept.path)): path.read_bytes()
        for path in files
        if path.name not in {"log.jsonl", ".lock"}
    }


def test_the_same_seed_gives_the_same_bytes(data, tmp_path):
    one, two = (run(config(data), Store(tmp_path / name)) for name in "ab")
    assert contents(one) == contents(two)
    other = run(config(data, seed=1), Store(tmp_path / "c"))
    assert contents(other)["lightgbm.txt"] != contents(one)["lightgbm.txt"]


def test_an_interrupted_run_begins_again_and_ends_the_same(data, tmp_path, monkeypatch):
    whole, calls = run(config(data), Store(tmp_path / "whole")), []

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return evaluate(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(experiment, "evaluate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(config(data), Store(tmp_path / "again"))
    again = run(config(data), Store(tmp_path / "again"))
    assert len(calls) == 2
    assert contents(again) == contents(whole)


def test_a_run_is_kept_as_any_other(data, tmp_path):
    kept = run(config(data, train={"max_rows": 3000}), Store(tmp_path))
    text = (kept.path / "lightgbm.txt").read_bytes()
    assert kept.manifest.files["lightgbm.txt"].sha256 == hashlib.sha256(text).hexdigest()
    assert kept.config["train"] == {"metric": "domain_auc", "max_rows": 3000}
    assert kept.finished
    assert kept.metrics["test"].overall.auc.value == pytest.approx(
        auc(kept.predictions("test").label, kept.predictions("test").score)
    )
    model, prepared = load_model(Run.open(kept.path)), Prepared.open(data)
    for split in ("valid", "test"):
        scores = probabilities(model, prepared.impressions(split))
        np.testing.assert_array_equal(scores, kept.predictions(split).score)
    assert int(model.get_buffer("rows_0")) == 3000
    done = CliRunner().invoke(app, ["report", str(kept.path)])
    assert done.exit_code == 0, done.output


def test_rows_of_an_unknown_domain_and_no_rows_are_scored(data, tmp_path):
    model = load_model(run(config(data), Store(tmp_path)))
    rows = Prepared.open(data).impressions("test")
    hidden = Impressions(rows.features, torch.zeros_like(rows.domain), rows.label)
    scores = probabilities(model, hidden)
    assert ((scores > 0) & (scores < 1)).all()
    assert len(np.unique(scores)) > 50
    assert probabilities(model, rows[:0]).shape == (0,)


def test_damaged_trees_are_a_named_error(data, tmp_path):
    kept = run(config(data), Store(tmp_path))
    file = kept.path / "lightgbm.txt"
    file.write_text(file.read_text().replace("leaf_value=0.", "leaf_value=1.", 1))
    with pytest.raises(IntegrityError, match=r"lightgbm\.txt"):
        Run.open(kept.path)
    with pytest.raises(IntegrityError, match=r"lightgbm\.txt"):
        load_model(kept)


def test_it_stands_in_a_benchmark(data, tmp_path):
    (tmp_path / "b.toml").write_text(
        f'name = "b"\ndata = "{data}"\nseeds = [0]\nworkers = 1\n'
        "[train]\nmax_epochs = 1\nbatch_size = 512\n"
        '[[entries]]\nlabel = "LightGBM"\nmodel = "lightgbm"\nsettings = {trees = 40}\n'
        '[[entries]]\nlabel = "MLP"\nmodel = "mlp"\n'
        "settings = {hidden = [8], embedding_dim = 4}\n"
    )
    bench.bench(bench.read(tmp_path / "b.toml"), Store(tmp_path / "r"), tmp_path / "b.csv")
    with (tmp_path / "b.csv").open(newline="", encoding="utf-8") as file:
        row = next(row for row in csv.DictReader(file) if row["label"] == "LightGBM")
    kept = Store(tmp_path / "r").run(row["run"])
    assert float(row["auc"]) == pytest.approx(kept.metrics["test"].overall.auc.value, abs=1e-6)
    assert int(row["parameters"]) == len(kept.model_state()["leaves"]) > 10
    assert row["epochs"] == "4"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"scope": "isolated"}, "scope 'joint' alone"),
        ({"settings": {"leafs": 3}}, "'leafs'"),
        ({"settings": {"folds": 1}}, "folds"),
        ({"settings": {"row_share": 1.5}}, "row_share"),
    ],
)
def test_a_wrong_setting_is_refused(data, changes, told):
    with pytest.raises(ConfigError, match=told):
        config(data, **changes)


def test_without_the_library_the_extra_is_named(data, tmp_path, monkeypatch):
    kept = run(config(data), Store(tmp_path))
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(ConfigError, match=r"isthmus\[bench\]"):
        config(data)
    with pytest.raises(ConfigError, match=r"isthmus\[bench\]"):
        load_model(kept)


def test_the_command_line_knows_it():
    out = CliRunner().invoke(app, ["models"]).output
    assert "lightgbm" in out
    assert "settings.smoothing" in CliRunner().invoke(app, ["models", "lightgbm"]).output
