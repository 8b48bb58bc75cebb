"""A run's export as a user meets it: what is on disk, what is printed, what is refused."""

import importlib.util
import json
import shutil
import sys

import numpy as np
import pytest

from isthmus.errors import ConfigError, DataError, IntegrityError
from isthmus.evaluation import compare
from isthmus.evaluation.types import UNKNOWN
from isthmus.experiment import load_model, predict
from isthmus.export import Exported, ExportError, Wanted, check, export
from isthmus.files import sha256
from isthmus.inference import probabilities
from isthmus.store import Run
from tests.test_cli import called, refused

DOMAINS = ("games / toys", "books", "tools")


def test_every_domain_scores_as_the_run_does(aread, data, tmp_path):
    found = export(aread, tmp_path / "out", data)
    model = load_model(aread)
    assert bool(model.hierarchy.searched)
    for split in ("valid", "test"):
        rows = data.impressions(split)
        wanted = probabilities(model, rows)
        np.testing.assert_allclose(found.probabilities(rows), wanted, rtol=0, atol=1e-6)


def test_the_manifest_says_what_is_there(aread, data, tmp_path):
    export(aread, tmp_path / "out", data)
    found = Exported.open(tmp_path / "out").manifest
    assert (found.run, found.data, found.model) == (aread.name, aread.data, "aread")
    assert found.run_digest == sha256(aread.path / "run.json")
    assert found.features == aread.schema
    assert (found.graph_kind, found.tables, found.output) == (
        "one a domain",
        "float32",
        "probability",
    )
    assert set(found.graphs) == {UNKNOWN, *DOMAINS}
    assert [(i.name, i.shape) for i in found.inputs] == [
        ("item_id", ("rows",)),
        ("who", ("rows or 1",)),
        ("hour", ("rows or 1",)),
        ("recent", ("rows or 1", 3)),
    ]
    masks = load_model(aread).hierarchy.mask
    for name, graph in found.graphs.items():
        assert graph.id == (0 if name == UNKNOWN else aread.schema.domains.index(name) + 1)
        assert graph.edges == sum(int(level[graph.id].sum()) for level in masks)
        assert graph.all_edges == 2 * 3 + 3 * 4
        used = [level[graph.id].any(1).nonzero()[:, 0].tolist() for level in masks]
        assert [list(level) for level in graph.experts[:2]] == used
        assert graph.difference <= 1e-6
        assert graph.rows >= 256
    assert (
        found.graphs["books"].edges < found.graphs[UNKNOWN].edges == found.graphs["books"].all_edges
    )
    there = {path.name for path in (tmp_path / "out").iterdir()}
    assert there == {"export.json", *found.files}


def test_the_same_run_gives_the_same_bytes(aread, data, tmp_path):
    one, other = (export(aread, tmp_path / name, data) for name in ("one", "other"))
    assert one.manifest == other.manifest


@pytest.mark.parametrize("name", ["tables.bin", "shared.bin", "000-unknown.onnx"])
def test_a_flipped_bit_is_found(name, aread, data, tmp_path):
    found = export(aread, tmp_path / "out", data)
    content = bytearray((found.path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (found.path / name).write_bytes(content)
    with pytest.raises(IntegrityError, match=name):
        Exported.open(found.path)


def test_a_changed_manifest_is_found(aread, data, tmp_path):
    found = export(aread, tmp_path / "out", data)
    path = found.path / "export.json"
    path.write_text(path.read_text().replace('"float32"', '"float16"'))
    with pytest.raises(IntegrityError, match="SHA-256"):
        Exported.open(found.path)


def test_a_graph_that_differs_is_not_exported(aread, data, tmp_path, monkeypatch):
    monkeypatch.setattr(check, "probabilities", lambda m, rows: probabilities(m, rows) + 2e-5)
    with pytest.raises(ExportError, match="differs by"):
        export(aread, tmp_path / "out", data)
    assert not list(tmp_path.iterdir())


def test_chosen_domains(aread, data, tmp_path):
    found = export(aread, tmp_path / "out", data, Wanted(domains=("games / toys",)))
    number = aread.schema.domains.index("games / toys") + 1
    names = {f"{number:03}-games-toys.onnx", "000-unknown.onnx"}
    assert set(found.manifest.files) == {*names, "tables.bin", "shared.bin"}
    with pytest.raises(ConfigError, match="no domain 'books'"):
        found.session("books")


def test_an_export_takes_the_place_of_one(aread, data, tmp_path):
    export(aread, tmp_path / "out", data)
    found = export(aread, tmp_path / "out", data, Wanted(domains=("books",)))
    assert set(found.manifest.graphs) == {UNKNOWN, "books"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_other_directories_are_left_alone(aread, data, tmp_path):
    (tmp_path / "letter.txt").write_text("dear reader")
    with pytest.raises(DataError, match="is no export"):
        export(aread, tmp_path, data)
    assert (tmp_path / "letter.txt").read_text() == "dear reader"


@pytest.mark.parametrize("tables", ["float16", "int8"])
def test_what_small_tables_cost(tables, aread, data, tmp_path):
    """Against the comparison of whole predictions, as `isthmus compare` makes it."""
    found = export(aread, tmp_path / "out", data, Wanted(tables=tables))
    whole = predict(load_model(aread), data, "test")
    columns = {name: getattr(whole, name) for name in ("row", "domain", "user", "label")}
    score = found.probabilities(data.impressions("test"))
    ours = type(whole)(**columns, score=score, domains=whole.domains)
    assert found.manifest.cost.comparison == compare([ours], [whole])
    assert 0 < np.abs(score - whole.score).max() < 0.05
    largest = max(graph.table_difference for graph in found.manifest.graphs.values())
    assert largest > 10 * max(graph.difference for graph in found.manifest.graphs.values())
    whole_tables = export(aread, tmp_path / "whole", data).manifest
    assert found.manifest.table_bytes < whole_tables.table_bytes
    assert whole_tables.cost is None


@pytest.mark.slow
def test_one_graph_of_all_domains(shared_bottom, data, tmp_path):
    found = export(shared_bottom, tmp_path / "out", data)
    assert found.manifest.graph_kind == "all domains, one a call"
    assert {graph.file for graph in found.manifest.graphs.values()} == {"model.onnx"}
    assert found.manifest.inputs[0].name == "domain"
    rows = data.impressions("test")
    wanted = probabilities(load_model(shared_bottom), rows)
    np.testing.assert_allclose(found.probabilities(rows), wanted, rtol=0, atol=1e-6)
    with pytest.raises(ConfigError, match="one graph scores all domains"):
        export(shared_bottom, tmp_path / "one", data, Wanted(domains=("books",)))


def test_the_command(aread, data, tmp_path):
    out = tmp_path / "out"
    done = called("export", aread.path, "--out", out, "--data", data.path, "--tables", "int8")
    assert done.returncode == 0, done.stderr
    for words in ("games / toys", "of 18", "DomainAUC on test rows", "embeddings in int8"):
        assert words in done.stdout
    assert Exported.open(out).manifest.tables == "int8"


def test_refusals_of_the_command(aread, data, tmp_path):
    out, there = tmp_path / "out", ("--data", data.path)
    assert "has no domain 'shoes'" in refused(
        "export", aread.path, "--out", out, "--domain", "shoes", *there
    )
    assert "expected 18 to" in refused("export", aread.path, "--out", out, "--opset", 9, *there)
    assert "is no run" in refused("export", tmp_path, "--out", out, *there)
    assert "say where it is with --data" in refused(
        "export", aread.path, "--out", out, cwd=tmp_path
    )
    damaged = tmp_path / "damaged"
    shutil.copytree(aread.path, damaged)
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00\x00")
    assert "is damaged" in refused("export", damaged, "--out", out, *there)
    assert not out.exists()


def test_runs_that_are_no_one_graph(aread, data, tmp_path):
    for changes, said in (
        ({"model": "lightgbm"}, "a format of its own"),
        ({"scope": "isolated"}, "many models"),
        ({"scope": "mamdr"}, "many models"),
    ):
        manifest = aread.manifest.model_copy(update={"config": {**aread.config, **changes}})
        with pytest.raises(ConfigError, match=said):
            export(Run(aread.path, manifest), tmp_path / "out", data)
    unfinished = aread.manifest.model_copy(update={"status": "training"})
    with pytest.raises(DataError, match="not finished"):
        export(Run(aread.path, unfinished), tmp_path / "out", data)


def test_the_data_of_another_run(aread, data, tmp_path):
    changed = tmp_path / "changed"
    shutil.copytree(data.path, changed)
    manifest = json.loads((changed / "manifest.json").read_text())
    manifest["source"] = "elsewhere"
    (changed / "manifest.json").write_text(json.dumps(manifest))
    said = refused("export", aread.path, "--out", tmp_path / "out", "--data", changed)
    assert "is of the data" in said


def test_what_is_not_installed_is_named(monkeypatch):
    """Without the extra the command says which one it is."""
    before = {name: module for name, module in sys.modules.items() if "isthmus.export" in name}
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "onnx" else find(name, *a)
    )
    for name in before:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ConfigError, match=r"needs onnx, .*isthmus\[export\]"):
        importlib.import_module("isthmus.export")
