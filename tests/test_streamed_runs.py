"""Settings of streams and of checkpoints within epochs, as a user may get them wrong; whole runs."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from isthmus.config import Rival, RunConfig, checked
from isthmus.data.feed import Feed
from isthmus.data.prepare import prepare
from isthmus.data.prepared import Prepared
from isthmus.data.sources import get
from isthmus.errors import ConfigError, IntegrityError
from isthmus.experiment import rows, run
from isthmus.store import Store
from isthmus.training.fit import TrainConfig
from tests.data.grouped import regrouped

MMOE = {"embedding_dim": 4, "expert_hidden": [4], "num_experts": 2, "tower_hidden": [4]}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Planted clusters of domains in row groups of 200 rows."""
    folder = tmp_path_factory.mktemp("data")
    made = get("synthetic")(folder / "raw", rows=2500, domains=4, clusters=2, seed=3)
    return regrouped(prepare(made, folder / "whole").path, folder / "grouped", 200)


def config(data: Path, **changes: object) -> RunConfig:
    train = {"batch_size": 128, "max_epochs": 2, "stream": True, "stream_window": 600}
    values = {"data": str(data), "model": "mmoe", "settings": MMOE, "train": train}
    return checked({**values, **changes}, "run.toml")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"scope": "isolated"},
            "train.stream is for models of all domains; under scope 'isolated'",
        ),
        ({"scope": "isolated", "train": {"checkpoint_every": 5}}, "train.checkpoint_every is for"),
        ({"scope": "mamdr"}, "scope 'mamdr' takes each row of one domain after another"),
        ({"model": "lightgbm", "settings": {}}, "'lightgbm' grows its trees on all rows at once"),
        ({"model": "sasrec", "settings": {}}, "'sasrec' is a retriever: its events are in memory"),
        ({"train": {"stream": True, "max_rows": 10}}, "train.max_rows draws its rows from all"),
        (
            {"train": {"stream_window": 10}},
            "train.stream_window has no effect without train.stream",
        ),
        ({"train": {"checkpoint_every": 0}}, "train.checkpoint_every: .*greater than 0"),
        ({"train": {"stream": True, "stream_window": 0}}, "train.stream_window: .*greater than 0"),
    ],
)
def test_what_does_not_go_together_is_refused(data, changes, said):
    with pytest.raises(ConfigError, match=said):
        config(data, **changes)


def test_isolated_rivals_of_a_streamed_run_are_trained_in_memory(data):
    train = {"stream": True, "checkpoint_every": 9, "batch_size": 64}
    rival = config(data, train=train).rival(Rival(), "isolated")
    assert (rival.train.stream, rival.train.checkpoint_every) == (False, None)
    assert rival.train.batch_size == 64
    assert config(data, train=train).rival(Rival(), "joint").train.stream


def test_a_run_is_known_by_its_stream_and_not_by_its_checkpoints(data):
    plain = config(data, train={}).identity()
    assert not {"stream", "stream_window", "checkpoint_every"} & set(plain["train"])
    assert config(data, train={"checkpoint_every": 5}).identity() == plain
    streamed = config(data, train={"stream": True}).identity()
    assert streamed["train"]["stream"] is True
    other = config(data, train={"stream": True, "stream_window": 600}).identity()
    assert len({str(plain), str(streamed), str(other)}) == 3


def test_settings_are_checked_where_they_are_made():
    with pytest.raises(ValidationError):
        TrainConfig(checkpoint_every=0)


def test_a_streamed_run_trains_on_all_rows_scores_all_and_is_the_same_twice(data, tmp_path):
    runs = [run(config(data), Store(tmp_path / name)) for name in "ab"]
    scores = [[one.predictions(split).score for split in ("valid", "test")] for one in runs]
    assert all((a == b).all() for a, b in zip(*scores, strict=True))
    whole = Prepared.open(data)
    assert [len(s) for s in scores[0]] == [len(whole.impressions(s)) for s in ("valid", "test")]
    assert runs[0].predictions("valid").row.tolist() == whole.table("valid")["row"].tolist()
    feed = Feed(rows(config(data), whole, "train"), batch_size=128, seed=0)
    assert sum(map(len, feed.epoch(0).shuffled())) == len(whole.impressions("train"))
    held = run(config(data, train={"batch_size": 128, "max_epochs": 2}), Store(tmp_path / "c"))
    aucs = [one.metrics["test"].overall.auc.value for one in (runs[0], held)]
    assert aucs[0] == pytest.approx(aucs[1], abs=0.03), "another order, and as good a model"


def test_a_file_changed_since_it_was_prepared_is_refused_before_training(data, tmp_path):
    broken = regrouped(data, tmp_path / "data", 200)
    file = broken / "train.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"train\.parquet: its bytes were changed"):
        run(config(broken), Store(tmp_path / "runs"))
