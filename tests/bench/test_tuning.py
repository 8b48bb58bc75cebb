"""The search for settings: equal budget, no repetition, resumable, and blind to the test split."""

import sys
from collections import Counter

import pytest

from isthmus.bench import best, read_rows, tune, write_rows
from isthmus.bench import tuning as module
from isthmus.bench.rows import TRIALS
from isthmus.bench.tuning import FOLDER
from isthmus.data.prepared import Prepared
from isthmus.errors import ConfigError, TrainingError
from isthmus.experiment import run
from isthmus.grid import SEARCHED, TuneConfig, points
from isthmus.store import Store
from tests.bench.conftest import GRID, entry

OWN = {"lr": 1e-3, "batch_size": 512, "weight_decay": 1e-5, "embedding_l2": 1e-5}


def test_every_entry_gets_the_same_budget(small, tmp_path):
    config = small()
    rows, failed = tune(config, tmp_path / "runs", tmp_path / "small.tuning.csv")
    assert not failed
    assert Counter(row["label"] for row in rows) == {"a": 4, "b": 4}
    for row in rows:
        assert int(row["epochs"]) <= 1
        assert row["rows"] == "600"
        assert 0 < float(row["valid"]) < 1
    first = {row["label"]: row for row in rows if row["trial"] == "0"}
    assert (first["a"]["lr"], first["b"]["lr"]) == ("0.001", "0.003"), "trial 0: the own settings"
    tried = Counter((row["label"], *(row[name] for name in SEARCHED)) for row in rows)
    assert set(tried.values()) == {1}, "a choice was tried twice"
    assert read_rows(tmp_path / "small.tuning.csv") == rows
    assert list((tmp_path / "runs" / FOLDER / "small").glob("*")) == [], "runs of trials are kept"


def test_the_test_split_is_never_read(small, tmp_path, monkeypatch):
    """Whoever asks for test rows, as a table, as tensors or from the file, is refused."""
    read = Prepared._read
    asked = []

    def guarded(self, split, columns):
        asked.append(split)
        assert split != "test", "a trial reads the test split"
        return read(self, split, columns)

    monkeypatch.setattr(Prepared, "_read", guarded)
    config = small(entries=[entry("a"), entry("alone", scope="isolated")])
    rows, failed = tune(config, tmp_path / "runs", tmp_path / "csv")
    assert not failed
    assert len(rows) == 8
    assert set(asked) == {"train", "valid"}
    _, failed = _bench_reads_it(config, tmp_path)
    assert "reads the test split" in failed


def _bench_reads_it(config, tmp_path):
    """The guard would have seen it: a run proper reads the test split."""
    try:
        return run(config.config(config.entries[0], 0), Store(tmp_path / "proper")), ""
    except AssertionError as error:
        return None, str(error)


@pytest.mark.parametrize("sampler", ["grid", "tpe"])
def test_stopped_at_any_trial_it_goes_on_to_the_same_end(small, tmp_path, monkeypatch, sampler):
    """Interrupted in the second or third trial of each attempt."""
    config = small(tune=small().tune.model_copy(update={"sampler": sampler}))
    whole, _ = tune(config, tmp_path / "whole", tmp_path / "whole.csv")
    stops = 0
    for _ in range(30):
        with monkeypatch.context() as patch:
            patch.setattr(module, "run", _counting(stops % 2 + 1))
            try:
                rows, _ = tune(config, tmp_path / "runs", tmp_path / "parts.csv")
                break
            except KeyboardInterrupt:
                stops += 1
    assert stops >= 3
    assert _timeless(rows) == _timeless(whole)


def _counting(most):
    calls = []

    def stopping(*args, **kwargs):
        calls.append(1)
        if len(calls) > most:
            raise KeyboardInterrupt
        return run(*args, **kwargs)

    return stopping


def _timeless(rows):
    return [{k: v for k, v in row.items() if k != "cpu_seconds"} for row in rows]


def test_rows_and_study_bring_each_other_up_to_date(small, tmp_path, monkeypatch):
    config = small()
    rows, _ = tune(config, tmp_path / "runs", tmp_path / "csv")
    monkeypatch.setattr(module, "run", lambda *a, **k: pytest.fail("a trial was run again"))
    (tmp_path / "csv").unlink()
    assert tune(config, tmp_path / "runs", tmp_path / "csv")[0] == rows
    assert tune(config, tmp_path / "elsewhere", tmp_path / "csv")[0] == rows
    (tmp_path / "csv").unlink()
    assert tune(config, tmp_path / "elsewhere", tmp_path / "csv")[0] == rows


def test_more_trials_go_on_and_other_settings_begin_anew(small, tmp_path):
    config = small(entries=[entry("a")])
    rows, _ = tune(config, tmp_path / "runs", tmp_path / "csv")
    more = small(entries=[entry("a")], tune=config.tune.model_copy(update={"trials": 6}))
    assert tune(more, tmp_path / "runs", tmp_path / "csv")[0][:4] == rows
    wider = entry("a", settings={"hidden": [16], "embedding_dim": 4})
    other = small(entries=[wider])
    assert best(other, other.entries[0], rows) == ({}, 0), "found for another network"
    anew, _ = tune(other, tmp_path / "runs", tmp_path / "csv")
    assert len(anew) == 4
    assert {row["study"] for row in anew}.isdisjoint(row["study"] for row in rows)


def test_a_trial_that_diverges_used_its_budget(small, tmp_path, monkeypatch):
    def diverging(config, *args, **kwargs):
        kept = run(config, *args, **kwargs)
        if config.train.lr == 1e-2:
            raise TrainingError("epoch 1, step 3, domain 'x': loss is nan")
        return kept

    monkeypatch.setattr(module, "run", diverging)
    config = small(entries=[entry("a")])
    rows, failed = tune(config, tmp_path / "runs", tmp_path / "csv")
    assert not failed
    lost = [row for row in rows if not row["valid"]]
    assert lost
    assert all(row["lr"] == "0.01" and "nan" in row["note"] for row in lost)
    point, trials = best(config, config.entries[0], rows)
    assert trials == 4
    assert point["lr"] != 1e-2


def test_an_error_stops_no_other_trial_and_is_tried_again(small, tmp_path, monkeypatch):
    monkeypatch.setattr(
        module, "run", lambda c, *a, **k: run(c, *a, **k) if c.train.lr != 1e-4 else 1 / 0
    )
    config = small()
    rows, failed = tune(config, tmp_path / "runs", tmp_path / "csv")
    assert failed
    assert len(rows) + len(failed) == 8
    assert set(failed.values()) == {"ZeroDivisionError: division by zero"}
    monkeypatch.undo()
    rows, failed = tune(config, tmp_path / "runs", tmp_path / "csv")
    assert len(rows) == 8
    assert not failed


def test_in_processes_it_finds_the_same(small, tmp_path):
    config = small()
    one, _ = tune(config, tmp_path / "one", tmp_path / "one.csv")
    two, _ = tune(config, tmp_path / "two", tmp_path / "two.csv", workers=2)
    assert _timeless(one) == _timeless(two)


def test_in_processes_what_learns_finds_the_same_and_tries_nothing_twice(small, tmp_path):
    """One entry, whose trials would all be under way at once."""
    config = small(entries=[entry("a")])
    table = config.tune.model_copy(update={"sampler": "tpe", "trials": 12})
    config = config.model_copy(update={"tune": table})
    one, _ = tune(config, tmp_path / "one", tmp_path / "one.csv")
    two, _ = tune(config, tmp_path / "two", tmp_path / "two.csv", workers=3)
    assert _timeless(one) == _timeless(two)
    assert len({tuple(row[key] for key in SEARCHED) for row in two}) == 12


def test_best_is_the_highest_and_the_earlier_of_two(small, tmp_path):
    config = small()
    study = config.study(config.entries[0])
    values = [("1", ".61"), ("3", ".64"), ("0", ".60"), ("2", ".64")]
    rows = [
        {**dict.fromkeys(TRIALS, ""), "label": "a", "study": study, "trial": n, "valid": v,
         "lr": f"{n}e-3", "batch_size": "256", "weight_decay": "0.0", "embedding_l2": "1e-05"}
        for n, v in values
    ]  # fmt: skip
    write_rows(tmp_path / "csv", rows, TRIALS)
    found, trials = best(config, config.entries[0], read_rows(tmp_path / "csv"))
    assert trials == 4
    assert found == {"lr": 2e-3, "batch_size": 256, "weight_decay": 0.0, "embedding_l2": 1e-5}
    assert best(config, config.entries[1], rows) == ({}, 0)


def test_points_are_the_whole_grid_once_and_spread_evenly():
    tuning = TuneConfig(trials=12, max_epochs=1, grid=GRID)
    found = list(points(tuning, OWN))
    assert found[0] == OWN
    assert len(found) == 12, "the own settings are one of the grid's choices"
    assert len({tuple(point.values()) for point in found}) == 12
    for count in range(1, 13):
        for name, values in GRID.items():
            used = Counter(point[name] for point in found[:count])
            spread = [used[value] for value in values]
            assert max(spread) - min(spread) <= 2, (count, name)
    used = Counter(point["lr"] for point in found[:3])
    assert set(used) == set(GRID["lr"]), "three trials, three rates"
    other = list(points(tuning.model_copy(update={"seed": 1}), OWN))
    assert other != found
    assert sorted(map(str, other)) == sorted(map(str, found))


def test_own_settings_beside_the_grid_are_one_choice_more():
    found = list(points(TuneConfig(trials=2, max_epochs=1, grid=GRID), {**OWN, "lr": 5e-3}))
    assert found[0]["lr"] == 5e-3
    assert len(found) == 13


def test_without_optuna_the_extra_is_named(small, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"isthmus\[tune\]"):
        tune(small(), tmp_path, tmp_path / "csv")


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"trials": 13, "grid": GRID}, "12 choices"),
        ({"trials": 2, "grid": {}}, "empty"),
        ({"trials": 2, "grid": {"lr": [1e-3, 1e-3]}}, "twice"),
        ({"trials": 2, "grid": {"rate": [1e-3]}}, "rate"),
    ],
)
def test_a_search_that_cannot_be_is_refused(small, table, told):
    with pytest.raises(ValueError, match=told):
        small(tune={"max_epochs": 1, **table})


def test_without_a_table_it_says_what_to_write(small, tmp_path):
    with pytest.raises(ConfigError, match=r"\[tune\]"):
        tune(small(tune=None), tmp_path, tmp_path / "csv")
