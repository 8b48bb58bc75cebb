"""The whole way from a run to its map: on planted domains, for rankers and retrievers alike."""

import numpy as np
import pytest
from benchmarks import transfer_recovery as recovery
from typer.testing import CliRunner

from isthmus.cli import app
from isthmus.config import checked
from isthmus.data.prepare import prepare
from isthmus.data.sources import get
from isthmus.errors import ConfigError
from isthmus.report.data import ReportData
from isthmus.store import Store
from isthmus.transfer import read, transfer_map
from tests.data.events import config as sequence_config
from tests.data.events import events, written

SMALL = {"hidden": [8], "embedding_dim": 4, "dropout": 0.0}
AREAD = {
    "bottom_hidden": [16, 8],
    "bottom_experts": 2,
    "experts": [2, 3, 4],
    "expert_hidden": [[8], [8], [8]],
    "embedding_dim": 8,
    "search": {"warmup_steps": 5, "every": 7, "batch_size": 64, "candidates": 3, "updates": 2},
}
TRAIN = {"batch_size": 256, "max_epochs": 2, "patience": 9}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    made = get("synthetic")(folder / "raw", rows=3000, domains=5, clusters=2, harmful_pairs=1)
    return prepare(made, folder / "prepared").path


def config(data, model="deepfm", settings=SMALL, **changes):
    values = {"data": str(data), "model": model, "settings": settings, "train": TRAIN}
    return checked({**values, **changes}, "test")


def test_all_three_ways_of_a_model_with_masks(data, tmp_path):
    store = Store(tmp_path)
    run = config(data, "aread", AREAD, train={**TRAIN, "max_epochs": 1})
    found = transfer_map(run, store, budget=7, groups=3)
    assert list(found.ways) == ["left_out", "gradients", "masks"]
    assert sorted(name for names in found.groups.values() for name in names) == sorted(
        f"d{d:02d}" for d in range(5)
    )
    for one in found.ways.values():
        off = ~np.eye(3, dtype=bool)
        assert np.isfinite(one.values()[off]).all()
        assert np.isnan(np.diag(one.values())).all()
    assert found.runs == 7
    assert {agreement.ways for agreement in found.agreement} == {
        ("left_out", "gradients"), ("left_out", "masks"), ("gradients", "masks"),
    }  # fmt: skip
    runs = sorted(path.name for path in tmp_path.iterdir() if path.is_dir())
    assert len(runs) == 7
    again = transfer_map(run, store, budget=7, groups=3)
    assert again == found, "the same from stored runs and a second look at the gradients"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == runs


def test_what_a_model_lacks_is_said(data, tmp_path):
    found = transfer_map(config(data), Store(tmp_path), ways=("gradients", "masks"))
    assert list(found.ways) == ["gradients"]
    assert found.absent == {"masks": "deepfm has no masks that differ between domains"}
    assert len(found.groups) == 5, "nothing is left out, so nothing limits the groups"
    with pytest.raises(ConfigError, match="isolated"):
        transfer_map(config(data, scope="isolated"), Store(tmp_path))


def test_masks_that_were_never_searched_say_nothing(data, tmp_path):
    settings = {**AREAD, "search": {"enabled": False}}
    found = transfer_map(config(data, "aread", settings), Store(tmp_path), ways=("masks",))
    assert found.ways == {}
    assert found.absent == {"masks": "aread has no masks that differ between domains"}


def test_a_retriever_has_a_map_too(tmp_path):
    file = written(events(900, users=60), tmp_path / "e.parquet")
    data = prepare(sequence_config(file, min_count=3), tmp_path / "prepared").path
    settings = {"embedding_dim": 4, "layers": 1}
    run = config(data, "sasrec", settings, train={"batch_size": 64, "max_epochs": 1})
    found = transfer_map(run, Store(tmp_path / "runs"), budget=7)
    assert found.metric == "NDCG@10"
    assert set(found.ways) == {"left_out", "gradients"}
    assert np.isfinite(found.ways["gradients"].values()).any()


def test_a_map_from_the_command_line_goes_into_other_reports(data, tmp_path):
    toml = tmp_path / "run.toml"
    toml.write_text(
        f'data = "{data}"\nmodel = "deepfm"\n[settings]\nhidden = [8]\nembedding_dim = 4\n'
        "[train]\nmax_epochs = 1\n",
        encoding="utf-8",
    )
    runs = tmp_path / "runs"
    common = [str(toml), "--runs", str(runs), "--budget", "7", "--groups", "3"]
    done = CliRunner().invoke(app, ["transfer", *common], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "ordered pairs of 3 groups" in done.output
    page = (runs / "transfer.html").read_text(encoding="utf-8")
    assert "Who helps whom" in page
    assert "## Transfer" in (runs / "transfer.md").read_text(encoding="utf-8")
    made = read(runs / "transfer.json")
    assert made.runs == 7
    bare = tmp_path / "bare.json"
    bare.write_text(ReportData(title="t").model_dump_json(), encoding="utf-8")
    with pytest.raises(ConfigError, match="no transfer map"):
        read(bare)
    with pytest.raises(ConfigError, match="No such file"):
        read(tmp_path / "nowhere.json")


def of_planted(folder, seed, **asked):
    """How well one way recovers domains of one taste, of unrelated ones, of opposite ones."""
    run = recovery.config(recovery.planted(folder, seed), "deepfm", seed)
    made = transfer_map(run, Store(folder / "runs"), **asked)
    (found,) = recovery.recovered(made, folder).values()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_leaving_out_recovers_helpful_and_harmful_pairs(tmp_path, seed):
    """With planted 1, 0 and -1 the highest possible is about .87."""
    assert of_planted(tmp_path, seed, budget=recovery.RUNS, ways=("left_out",)) > 0.6


@pytest.mark.parametrize("seed", range(3))
def test_gradients_recover_helpful_and_harmful_pairs(tmp_path, seed):
    """The settings were chosen on other seeds."""
    assert of_planted(tmp_path, seed, ways=("gradients",)) > 0.6
