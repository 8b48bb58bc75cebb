"""From a finished run to clusters to a run whose towers are shared: as a user goes, and goes wrong."""

import json

import pytest
import torch
from typer.testing import CliRunner

from isthmus import bench
from isthmus.cli import app
from isthmus.config import checked, read
from isthmus.data.prepare import prepare
from isthmus.data.prepared import Prepared
from isthmus.data.sources import get
from isthmus.errors import ConfigError, DataError, IsthmusError
from isthmus.experiment import load_model, run
from isthmus.inference import probabilities
from isthmus.schema import Schema
from isthmus.store import DataRef, Store

TRAIN = {"batch_size": 256, "max_epochs": 2}
MMOE = {"num_experts": 2, "expert_hidden": [8], "tower_hidden": [4], "embedding_dim": 4}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    made = get("synthetic")(folder / "raw", rows=4000, domains=5, clusters=2, seed=3)
    return prepare(made, folder / "prepared").path


@pytest.fixture(scope="module")
def first(data, tmp_path_factory):
    """A finished run over all domains."""
    settings = {"hidden": [8], "embedding_dim": 4}
    values = {"data": str(data), "model": "mlp", "settings": settings, "train": TRAIN}
    return run(checked(values, "test"), Store(tmp_path_factory.mktemp("first")))


def cluster(*arguments):
    return CliRunner().invoke(app, ["cluster", *map(str, arguments)])


def test_the_command_prints_and_writes_the_clusters(first, tmp_path):
    out = tmp_path / "clusters.json"
    done = cluster(first.path, "--clusters", 2, "--out", out)
    assert done.exit_code == 0, done.output
    found = json.loads(out.read_text(encoding="utf-8"))
    assert set(found) == {"clusters", "run", "data", "split", "silhouette", "without_rows"}
    assert (found["run"], found["split"]) == (first.name, "valid")
    assert -1 <= found["silhouette"] <= 1
    domains = first.predictions("valid").domains
    assert sorted(name for names in found["clusters"] for name in names) == sorted(domains)
    assert len(found["clusters"]) == 2
    for told in (*domains, "mean loss", "silhouette", str(out)):
        assert told in done.output
    auto = cluster(first.path, "--clusters", "auto", "--out", tmp_path / "auto.json")
    assert auto.exit_code == 0, auto.output
    assert 2 <= len(json.loads((tmp_path / "auto.json").read_text())["clusters"]) <= 4


@pytest.mark.parametrize(
    ("number", "told"), [("6", "only 5 domains"), ("0", "from 1 on"), ("many", "or auto")]
)
def test_a_wrong_number_of_clusters_is_refused(first, tmp_path, number, told):
    done = cluster(first.path, "--clusters", number, "--out", tmp_path / "c.json")
    assert isinstance(done.exception, IsthmusError)
    assert told in str(done.exception)
    assert not (tmp_path / "c.json").exists()


def test_a_run_that_is_not_there_or_not_finished_is_refused(tmp_path):
    missing = cluster(tmp_path / "nowhere")
    assert isinstance(missing.exception, DataError)
    assert "run.json" in str(missing.exception)
    schema = Schema(features=(), domains=("a",))
    begun = Store(tmp_path).create("begun", {}, schema, DataRef(name="d", digest="0"))
    done = cluster(begun.path, "--out", tmp_path / "c.json")
    assert isinstance(done.exception, DataError)
    assert "not finished" in str(done.exception)


def test_a_file_of_clusters_is_read_into_the_run(data, tmp_path):
    """Its path counts from the TOML; one in --set from here; the run holds the names themselves."""
    names = Prepared.open(data).schema.domains
    (tmp_path / "c.json").write_text(json.dumps({"clusters": [names[:2], names[2:]]}))
    (tmp_path / "other.json").write_text(json.dumps({"clusters": [names]}))
    (tmp_path / "run.toml").write_text(
        f'data = "{data}"\nmodel = "mmoe"\n'
        '[settings]\ndomains = "clusters"\nclusters = "c.json"\n'
        '[share.isolated]\nmodel = "mmoe"\nsettings = {clusters = "c.json"}\n'
    )
    wanted = read(tmp_path / "run.toml")
    assert wanted.model_settings().clusters == (names[:2], names[2:])
    assert wanted.share.isolated.settings["clusters"] == (names[:2], names[2:])
    assert json.loads(json.dumps(wanted.identity()))["settings"]["clusters"][0] == list(names[:2])
    changed = read(tmp_path / "run.toml", [f"settings.clusters={tmp_path / 'other.json'}"])
    assert changed.model_settings().clusters == (names,)
    (tmp_path / "c.json").unlink()
    with pytest.raises(ConfigError, match=r"c\.json.*isthmus cluster"):
        read(tmp_path / "run.toml")


def test_a_benchmark_reads_a_file_of_clusters(data, tmp_path):
    names = Prepared.open(data).schema.domains
    (tmp_path / "c.json").write_text(json.dumps({"clusters": [names]}))
    (tmp_path / "b.toml").write_text(
        f'name = "b"\ndata = "{data}"\n[[entries]]\nlabel = "x"\nmodel = "mmoe"\n'
        'settings = {domains = "clusters", clusters = "c.json"}\n'
    )
    wanted = bench.read(tmp_path / "b.toml")
    config = wanted.config(wanted.entries[0], 0)
    assert config.model_settings().clusters == (names,)


def test_towers_are_shared_within_a_cluster_and_nowhere_else(data, first, tmp_path):
    out = tmp_path / "clusters.json"
    assert cluster(first.path, "--clusters", 2, "--out", out).exit_code == 0
    lines = [f'data = "{data}"', 'model = "mmoe"', "[train]", "batch_size = 256", "max_epochs = 2"]
    lines += ["[settings]", 'domains = "clusters"', 'clusters = "clusters.json"']
    lines += [f"{key} = {value}" for key, value in MMOE.items()]
    (tmp_path / "run.toml").write_text("\n".join(lines))
    kept = run(read(tmp_path / "run.toml"), Store(tmp_path / "runs"))
    out.unlink()  # the run needs it no more
    model = load_model(kept)
    clusters = kept.config["settings"]["clusters"]
    # a gate I x 2 and a tower 8 x 4 x 1, with biases, for each cluster and for the unknown domain
    parts, width = len(clusters) + 1, model.embed.width
    own = [*model.gate.parameters(), *model.tower.parameters()]
    assert sum(p.numel() for p in own) == parts * (2 * (width + 1) + 4 * 9 + 5)

    rows = Prepared.open(data).impressions("test")
    before = probabilities(model, rows)
    with torch.no_grad():
        for layer in model.tower.layers:
            layer.bias[1] += 1.0  # the first cluster's tower
    moved = torch.from_numpy(before != probabilities(model, rows))
    ids = [kept.schema.domains.index(name) + 1 for name in clusters[0]]
    ours = torch.isin(rows.domain, torch.tensor(ids))
    assert ours.any()
    assert not ours.all()
    assert torch.equal(moved, ours)
