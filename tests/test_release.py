"""The gate over stored runs, as a user calls it and as a pipeline does."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner

import isthmus as im
from isthmus.cli import app
from isthmus.errors import ConfigError, DataError, MismatchError
from isthmus.release import read_rules
from isthmus.schema import Schema
from isthmus.store import Store
from isthmus.store.manifest import DataRef
from tests.evaluation.test_gate import scores
from tests.evaluation.test_ranks import ranks

DATA = DataRef(name="shop", digest="0" * 64)
SCHEMA = Schema(features=(), domains=("a", "b", "c"), items=10)


@pytest.fixture
def made(tmp_path):
    """Makes a finished run of these scores or ranks."""
    store = Store(tmp_path / "runs")

    def make(name, table, data=DATA, finished=True):
        run = store.create(name, {"model": name}, SCHEMA, data)
        if isinstance(table, im.Predictions):
            run.save_predictions("test", table)
        else:
            run.save_ranks("test", table)
        if finished:
            run._record(status="finished")
        return run

    return make


def called(*arguments):
    return CliRunner().invoke(app, ["gate", *map(str, arguments)])


def places(seed):
    above = np.random.default_rng(seed).integers(0, 30, 600)
    domain = np.tile([1, 2, 3], 200)
    return ranks(above, np.zeros(600, int), domain=domain, domains=("a", "b", "c"))


def test_the_gate_of_runs_is_that_of_their_tables(made):
    candidate, incumbent = scores([0, -1.0, 0], rows=3000)
    new, old = made("new", candidate), made("old", incumbent)
    rules = im.GateRules(margin=0.05)
    found = im.gate([new], [old.path], rules)
    assert found.rows == im.evaluation.gate([candidate], [incumbent], rules).rows
    assert "the test split of shop" in found.protocol


def test_a_pipeline_gets_its_files_and_the_exit_code(made, tmp_path):
    candidate, incumbent = scores([0, -1.0, 0], rows=6000)
    new, old = made("new", candidate), made("old", incumbent)
    files = {kind: tmp_path / f"out/gate.{kind}" for kind in ("junit", "markdown", "json")}
    asked = [part for kind, path in files.items() for part in (f"--{kind}", path)]
    done = called(new.path, "--against", old.path, "--margin", "0.05", *asked)
    assert done.exit_code == 1
    assert "worse: b: " in done.output
    assert ElementTree.parse(files["junit"]).getroot().attrib["failures"] == "2"
    assert files["markdown"].read_text(encoding="utf-8").startswith("# new against old")
    assert json.loads(files["json"].read_text(encoding="utf-8"))["exit_code"] == 1
    assert called(old.path, "--against", new.path, "--margin", "0.05").exit_code == 0
    thin = called(new.path, "--against", old.path, "--margin", "0.0001")
    assert thin.exit_code in (1, 2)


def test_margins_of_a_file_and_options_over_them(made, tmp_path):
    candidate, incumbent = scores([0, -1.0, 0], rows=6000)
    new, old = made("new", candidate), made("old", incumbent)
    path = tmp_path / "margins.toml"
    path.write_text("margin = 0.05\noverall = 0.3\n[domains]\nb = 0.5\n", encoding="utf-8")
    assert called(new.path, "--against", old.path, "--margins", path).exit_code == 0
    assert read_rules(path, {"margin": 0.1, "small": None}).margin == 0.1
    path.write_text('margin = 0.05\nexclude = ["b"]\n', encoding="utf-8")
    assert called(new.path, "--against", old.path, "--margins", path).exit_code == 0
    path.write_text("margn = 0.05\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"margins.toml: unknown key 'margn'"):
        read_rules(path, {})
    with pytest.raises(ConfigError, match=r"^margin: .*greater than 0, found -0.1"):
        read_rules(None, {"margin": -0.1})


def test_several_seeds_a_side(made):
    pairs = [scores([0, 0, 0], rows=3000)] * 2
    new = [made(f"new-{seed}", candidate) for seed, (candidate, _) in enumerate(pairs)]
    old = [made(f"old-{seed}", incumbent) for seed, (_, incumbent) in enumerate(pairs)]
    assert im.gate(new, old).seeds == 2
    with pytest.raises(DataError, match=r"2 candidates and 1 incumbent; .*--against before each"):
        im.gate(new, old[:1])


def test_retrievers_have_their_own_metric(made):
    new, old = made("new", places(1)), made("old", places(2))
    assert im.gate([new], [old], metric="hr@5").metric == "hr@5"
    done = called(new.path, "--against", old.path, "--margin", "0.5")
    assert done.exit_code == 0
    assert "ndcg@10" in done.output


def test_clumsy_pairs_are_refused(made):
    candidate, incumbent = scores([0, 0, 0])
    new, old = made("new", candidate), made("old", incumbent)
    with pytest.raises(DataError, match="'new' is there twice"):
        im.gate([new], [new.path])
    with pytest.raises(MismatchError, match="'items' is a retriever's, 'new' a ranker's"):
        im.gate([new], [made("items", places(1))])
    other = DataRef(name="bank", digest="1" * 64)
    with pytest.raises(MismatchError, match="'other' is of the data 'bank'"):
        im.gate([new], [made("other", incumbent, data=other)])
    with pytest.raises(DataError, match="'begun' is not finished"):
        im.gate([new], [made("begun", incumbent, finished=False)])
    with pytest.raises(ConfigError, match="retrievers; rankers are gated by AUC"):
        im.gate([new], [old], metric="hr@5")
    with pytest.raises(DataError, match="has no predictions/valid"):
        im.gate([new], [old], split="valid")
