"""The benchmarks of this repository: each can be run as it stands, and its studies are comparable."""

import tomllib
from pathlib import Path

import pytest
from benchmarks.studies.page import NAMES

from isthmus.bench import read
from isthmus.config import read as read_run
from isthmus.errors import ConfigError
from isthmus.report.study import DEFAULT

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RUNS = sorted((BENCHMARKS / "share").glob("*.toml"))
FILES = sorted(set(BENCHMARKS.rglob("*.toml")) - set(RUNS))
STUDIES = sorted((BENCHMARKS / "studies").glob("*.toml"))
REAL = [file for file in STUDIES if file.stem not in ("planted", "syncrec")]
"""Those of AREAD on the bundled real data."""


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_benchmark_names_known_models_and_settings(file):
    bench = read(file)
    runs = [bench.config(entry, bench.seeds[0]).identity() for entry in bench.entries]
    written = tomllib.loads(file.read_text(encoding="utf-8"))["entries"]
    assert [run["model"] for run in runs] == [entry["model"] for entry in written]
    assert len({repr(run) for run in runs}) == len(runs), "two entries are the same run"


@pytest.mark.parametrize("file", RUNS, ids=lambda file: file.stem)
def test_every_run_to_share_names_known_models_and_settings(file):
    run = read_run(file)
    assert Path(run.data).name == file.stem
    assert len(run.share.seeds) == 3


def test_a_setting_that_no_model_has_is_refused(tmp_path):
    text = STUDIES[0].read_text(encoding="utf-8")
    bad = tmp_path / "bad.toml"
    bad.write_text(text.replace("embedding_dim", "embeding_dim"), encoding="utf-8")
    with pytest.raises(ConfigError, match="embeding_dim"):
        read(bad)


def test_no_two_benchmarks_write_the_same_rows():
    names = [read(file).name for file in FILES]
    assert len(set(names)) == len(names)


def test_the_page_shows_every_study():
    assert {file.stem for file in STUDIES} == set(NAMES)


def test_the_default_of_every_study_is_the_same_run():
    defaults = []
    for file in REAL:
        bench = read(file)
        (entry,) = (e for e in bench.entries if e.label.endswith(DEFAULT))
        defaults.append((bench.data, bench.seeds, bench.config(entry, 0).identity()))
    assert len(defaults) == len(NAMES) - 2
    assert all(default == defaults[0] for default in defaults[1:])


def test_studies_train_alike():
    trained = [(read(file).train, read(file).tune) for file in REAL]
    assert all(pair == trained[0] for pair in trained[1:])
    assert trained[0][1] is None
