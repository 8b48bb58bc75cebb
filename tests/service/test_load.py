"""What is packed with a run, and which runs are refused."""

import shutil

import pytest
import torch

from isthmus.config import checked
from isthmus.data.prepare import prepare
from isthmus.errors import ConfigError, DataError, IntegrityError, MismatchError
from isthmus.experiment import run
from isthmus.service import Event, Pipeline, Request, pack
from isthmus.service.bundle import Bundle
from isthmus.store import Run, Store
from isthmus.training.tensors import pack as packed_tensors
from tests.data.events import config as sequence_config
from tests.data.events import events, plain, written
from tests.service.pair import ranking_config


@pytest.fixture
def copy(pair, tmp_path):
    """A copy of a run that may be damaged."""

    def make(name):
        return shutil.copytree(pair[name].path, tmp_path / name)

    return make


def trained(data, model, folder):
    wanted = {"data": str(data), "model": model, "train": {"max_epochs": 1}}
    return run(checked(wanted, "test"), Store(folder))


def test_a_run_is_served_where_its_data_is_not(pair, copy):
    paths = [copy("sasrec"), copy("aread")]
    for path in paths:
        assert not any(str(pair["rows"].path) in f.read_text() for f in path.glob("serving/*.json"))
    here, there = Pipeline.load(paths), Pipeline.load([pair["sasrec"].path, pair["aread"].path])
    assert here.recommend(Request(user="7")) == there.recommend(Request(user="7"))


def test_pasts_are_the_known_events_of_the_data(pair):
    made = Pipeline.load([pair["sasrec"].path])
    truth = plain(events(700), min_count=2)
    known = set(truth["items"])
    for user, own in truth["sequences"].items():
        wanted = [Event(what, shop, at) for at, what, shop, _ in own if what in known]
        assert made.past(user) == wanted
    assert made.past("nobody") == []


def test_packing_again_does_nothing(pair):
    before = Run.open(pair["aread"].path).manifest
    pack(pair["aread"], pair["rows"])
    assert Run.open(pair["aread"].path).manifest == before


def test_items_of_the_same_name_in_several_domains(tmp_path):
    """``items_by_domain``: one item a shop, each with its raw name."""
    table = events(300).set_column(1, "what", [[i % 7 for i in range(300)]])
    file = written(table, tmp_path / "e.parquet")
    data = prepare(sequence_config(file, items_by_domain=True), tmp_path / "data")
    kept = trained(data.path, "markov", tmp_path / "runs")
    pack(kept, data)
    made = Pipeline.load([kept.path])
    reply = made.recommend(Request(user="7", domains=("s0", "s1"), k=100))
    pairs = {(one.item, one.domain) for one in reply.items}
    shops = set(zip(map(str, table["what"].to_pylist()), table["shop"].to_pylist(), strict=True))
    assert pairs <= {pair for pair in shops if pair[1] != "s2"}
    assert len(pairs) == len(reply.items) > 7
    assert made.past("7")[0].item in set("0123456")
    only = made.recommend(Request(user="7", history=(Event("3", "s1"),), domains=("s1",)))
    other = made.recommend(Request(user="7", history=(Event("3", "s0"),), domains=("s1",)))
    assert only.items != other.items


# --- refused


def test_a_run_that_was_never_packed(pair, tmp_path):
    kept = trained(pair["events"].path, "popularity", tmp_path)
    with pytest.raises(DataError, match=r"isthmus pack .* --data DIRECTORY"):
        Pipeline.load([kept.path])


def test_packing_with_other_data(pair, tmp_path):
    kept = trained(pair["events"].path, "popularity", tmp_path)
    with pytest.raises(MismatchError, match="another schema"):
        pack(kept, pair["rows"])
    file = written(events(701), tmp_path / "e.parquet")
    other = prepare(sequence_config(file, min_count=2), tmp_path / "data")
    with pytest.raises(MismatchError):
        pack(kept, other)


def test_rows_that_do_not_say_their_item(pair, tmp_path):
    config = ranking_config(pair["rows"].manifest.config.files[0])
    kept = [f for f in config.features if f.name in ("who", "colour")]
    data = prepare(config.model_copy(update={"features": tuple(kept)}), tmp_path / "data")
    with pytest.raises(DataError, match="no id feature holds the column 'what'"):
        pack(trained(data.path, "mlp", tmp_path / "runs"), data)


def test_rows_that_do_not_say_their_user(pair, tmp_path):
    """Every user is a stranger to such a ranker, and it ranks."""
    config = ranking_config(pair["rows"].manifest.config.files[0])
    kept = [f for f in config.features if f.name in ("what", "colour")]
    data = prepare(config.model_copy(update={"features": tuple(kept)}), tmp_path / "data")
    ranker = trained(data.path, "mlp", tmp_path / "runs")
    pack(ranker, data)
    reply = Pipeline.load([ranker.path]).recommend(Request(user="7", domains=("s1",)))
    assert len(reply.items) == 10
    assert reply.flags.unknown_user


@pytest.mark.parametrize("file", ["model.safetensors", "serving/items.arrow", "run.json"])
def test_damaged_files(copy, file):
    path = copy("aread")
    content = bytearray((path / file).read_bytes())
    content[len(content) // 2] ^= 1
    (path / file).write_bytes(content)
    with pytest.raises(IntegrityError, match=file.split("/")[-1].split(".")[0]):
        Pipeline.load([path])
    (path / file).unlink()
    with pytest.raises((IntegrityError, DataError)):
        Pipeline.load([path])


def test_weights_that_are_no_numbers(copy):
    kept = Run.open(copy("aread"))
    state = kept.model_state()
    state["bias"] = torch.tensor([float("nan")])
    with kept.artefact("model.safetensors") as path:
        path.write_bytes(packed_tensors(state))
    with pytest.raises(IntegrityError, match="weights that are no numbers, such as in bias"):
        Pipeline.load([kept.path])


def test_the_wrong_number_or_kind_of_runs(pair, tmp_path):
    for names in ([], ["sasrec", "markov"], ["aread", "mlp"], ["sasrec", "aread", "mlp"]):
        with pytest.raises(ConfigError, match="expected a retriever's run, a ranker's, or one of"):
            Pipeline.load([pair[name].path for name in names])
    with pytest.raises(DataError, match="is no run"):
        Pipeline.load([tmp_path])


def test_runs_without_a_common_item(pair, tmp_path):
    table = events(200)
    table = table.set_column(1, "what", [[f"x{i % 9}" for i in range(200)]])
    table = table.set_column(2, "shop", [[f"s{i % 9 % 3}" for i in range(200)]])
    file = written(table, tmp_path / "e.parquet")
    data = prepare(sequence_config(file), tmp_path / "data")
    kept = trained(data.path, "popularity", tmp_path / "runs")
    pack(kept, data)
    with pytest.raises(MismatchError, match=r"no item in common: such as 'x\d' of the one and"):
        Pipeline.load([kept.path, pair["aread"].path])


def test_an_isolated_ranker_says_why_not(pair, tmp_path):
    wanted = {
        "data": str(pair["rows"].path),
        "model": "mlp",
        "scope": "isolated",
        "settings": {"embedding_dim": 4, "hidden": [4]},
        "train": {"max_epochs": 1},
        "share": {"workers": 1},
    }
    kept = run(checked(wanted, "test"), Store(tmp_path))
    pack(kept, pair["rows"])
    with pytest.raises(ConfigError, match="serve a joint run"):
        Pipeline.load([kept.path])


def test_the_files_of_a_bundle_are_mapped_and_as_they_were(pair):
    found = Bundle.open(Run.open(pair["aread"].path))
    assert found.facts.item == "what"
    assert found.facts.user == "who"
    assert found.texts("items", "value") == pair["rows"].values("what").to_pylist()
    bounds, features = found.lists("items", "features")
    assert len(bounds) == len(found.texts("items", "value")) + 1
    assert len(features) == 3 * len(found.texts("items", "value"))  # colour, what, price
