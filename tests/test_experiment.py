"""A whole run on disk: same bytes twice, killed and resumed, isolated models, unknown domains."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from isthmus.config import checked
from isthmus.data.prepare import prepare
from isthmus.data.prepared import Prepared
from isthmus.data.sources import get
from isthmus.errors import ConfigError, IntegrityError
from isthmus.experiment import load_model, run
from isthmus.inference import probabilities
from isthmus.store import Store

SETTINGS = {
    "aread": {
        "bottom_hidden": [16, 8],
        "bottom_experts": 2,
        "experts": [2, 3, 4],
        "expert_hidden": [[8], [8], [8]],
        "embedding_dim": 8,
        "search": {"warmup_steps": 5, "every": 7, "batch_size": 64, "candidates": 3, "updates": 2},
    },
    "mlp": {"hidden": [16, 8], "embedding_dim": 8},
    "mmoe": {"expert_hidden": [16, 8], "tower_hidden": [8], "embedding_dim": 8},
}
NOT_HASHED = {"log.jsonl", ".lock"}  # the one file with times in it, and the lock


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Planted clusters of domains, 6,000 rows."""
    folder = tmp_path_factory.mktemp("data")
    made = get("synthetic")(folder / "raw", rows=6000, domains=6, clusters=2, seed=3)
    return prepare(made, folder / "prepared").path


def config(data, model="aread", **changes):
    values = {
        "data": str(data),
        "model": model,
        "settings": SETTINGS[model],
        "train": {"batch_size": 256, "max_epochs": 3, "patience": 9},
        "share": {"workers": 1},
    }
    return checked({**values, **changes}, "test")


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and path.name not in NOT_HASHED
    }


@pytest.mark.parametrize("model", list(SETTINGS))
def test_the_same_run_twice_gives_the_same_bytes(data, tmp_path, model):
    one, two = (run(config(data, model), Store(tmp_path / name)) for name in "ab")
    assert contents(one.path) == contents(two.path)
    other = run(config(data, model, seed=1), Store(tmp_path / "c"))
    assert contents(other.path)["model.safetensors"] != contents(one.path)["model.safetensors"]


def test_isolated_twice_gives_the_same_bytes_whatever_the_workers(data, tmp_path):
    runs = [
        run(
            config(data, "mlp", scope="isolated", share={"workers": workers}),
            Store(tmp_path / str(workers)),
        )
        for workers in (1, 2)
    ]
    assert contents(runs[0].path) == contents(runs[1].path)


def test_what_was_stored_is_what_is_loaded(data, tmp_path):
    prepared = Prepared.open(data)
    for model, scope in (("aread", "joint"), ("mlp", "isolated")):
        kept = run(config(data, model, scope=scope), Store(tmp_path / scope))
        scores = probabilities(load_model(kept), prepared.impressions("test"))
        np.testing.assert_array_equal(scores, kept.predictions("test").score)


def test_masks_were_searched_and_come_back(data, tmp_path):
    kept = run(config(data), Store(tmp_path))
    model = load_model(kept)
    assert model.hierarchy.searched
    edges = model.expert_masks()
    assert all(level[0].all() for level in edges), "the unknown domain uses all experts"
    assert any(not level[1:].all() for level in edges), "no mask was pruned"


def test_a_finished_run_is_not_trained_again(data, tmp_path):
    first = run(config(data, "mlp"), Store(tmp_path))
    before = {path: path.stat().st_mtime_ns for path in first.path.rglob("*") if path.is_file()}
    again = run(config(data, "mlp"), Store(tmp_path))
    after = {path: path.stat().st_mtime_ns for path in again.path.rglob("*") if path.is_file()}
    assert before == after


def test_a_taken_name_is_refused(data, tmp_path):
    run(config(data, "mlp", name="mine"), Store(tmp_path))
    with pytest.raises(ConfigError, match="seed"):
        run(config(data, "mlp", name="mine", seed=2), Store(tmp_path))


def test_changed_data_is_a_named_error(data, tmp_path):
    copy = tmp_path / "prepared"
    shutil.copytree(data, copy)
    file = copy / "train.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"train\.parquet"):
        run(config(copy, "mlp"), Store(tmp_path / "runs"))


def test_rows_of_an_unknown_domain_are_flagged_and_scored(data, tmp_path):
    """The unknown domain's path: its own embedding, all experts, whatever name it has."""
    prepared = Prepared.open(data)
    columns = prepared.manifest.config.columns
    rows = pa.parquet.read_table(prepared.manifest.config.files[0]).slice(0, 20)
    for feature in prepared.manifest.config.features:
        if feature.kind == "history" and feature.name not in rows.column_names:
            rows = rows.append_column(feature.name, pa.array([[]] * 20, pa.list_(pa.string())))
    place = rows.column_names.index(columns.domain)
    named = [
        rows.set_column(place, columns.domain, pa.array([name] * 20)) for name in ("new", "newer")
    ]
    model = load_model(run(config(data), Store(tmp_path)))
    scores = []
    for table in named:
        encoded, unknown = prepared.encode(table)
        assert unknown.all()
        assert (encoded.domain == 0).all()
        scores.append(probabilities(model, encoded))
    assert np.isfinite(scores[0]).all()
    np.testing.assert_array_equal(scores[0], scores[1])
    assert not prepared.encode(rows)[1].any()


CHILD = """
import sys, torch
torch.set_num_threads(1)
from isthmus.config import checked
from isthmus.experiment import run
from isthmus.store import Store
import json
run(checked(json.loads(sys.argv[1]), "child"), Store(sys.argv[2]))
"""


@pytest.mark.slow
def test_killed_at_any_moment_and_resumed_is_bit_identical(data, tmp_path):
    """Reliability 1, end to end: AREAD with its searches, kill -9 twenty times at random moments."""
    wanted = config(data, train={"batch_size": 64, "max_epochs": 6, "patience": 9})
    child = [sys.executable, "-c", CHILD, wanted.model_dump_json(), str(tmp_path / "killed")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        whole = run(wanted, Store(tmp_path / "whole"))
    finally:
        torch.set_num_threads(threads)
    rng, kills, rounds = np.random.default_rng(0), 0, 0
    folder = tmp_path / "killed" / whole.name
    while kills < 20 and rounds < 60:
        rounds += 1
        process = subprocess.Popen(child, env=environment)
        marker = folder / "run.json"
        while process.poll() is None and not marker.exists():
            time.sleep(0.01)
        try:  # mostly within training: imports alone take longer than an epoch
            process.wait(timeout=float(rng.uniform(0.05, 6.0)))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        else:
            assert process.returncode == 0
            assert contents(folder) == contents(whole.path)
            shutil.rmtree(folder)
    assert kills == 20
    subprocess.run(child, env=environment, check=True)
    assert contents(folder) == contents(whole.path)
