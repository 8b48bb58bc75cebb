"""isthmus share: equal tuning, several seeds, what each model cost, what to do with each domain."""

from collections import Counter

import pytest

from isthmus.bench import read_rows
from isthmus.bench import tuning as trials
from isthmus.config import checked
from isthmus.costs import cost
from isthmus.data.prepare import prepare
from isthmus.data.sources import get
from isthmus.diagnose import diagnose
from isthmus.errors import ConfigError, TrainingError
from isthmus.report import to_markdown
from isthmus.share_search import search
from isthmus.sharing import share
from isthmus.store import Store

GRID = {"lr": [1e-4, 1e-3, 1e-2], "batch_size": [128, 256]}
SMALL = {"hidden": [4], "embedding_dim": 4}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Planted clusters of domains, 3,000 rows."""
    folder = tmp_path_factory.mktemp("data")
    made = get("synthetic")(folder / "raw", rows=3000, domains=5, clusters=2, seed=3)
    return prepare(made, folder / "prepared").path


def wanted(data, **changes):
    tune = {"trials": 3, "max_epochs": 1, "rows": 500, "grid": GRID}
    blind = {"model": "mlp", "settings": {**SMALL, "domain_blind": True}}
    return checked(
        {
            "data": str(data),
            "model": "mlp",
            "settings": SMALL,
            "train": {"max_epochs": 1, "batch_size": 256},
            "share": {
                "isolated": {"model": "mlp", "settings": SMALL, "train": {"lr": 3e-3}},
                "shared": blind,
                "seeds": [0, 1],
                "workers": 1,
                "tune": tune,
                **changes,
            },
        },
        "test",
    )


@pytest.fixture(scope="module")
def made(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return folder, share(wanted(data), Store(folder))


def test_each_part_has_as_many_trials_on_validation_rows(made):
    folder, report = made
    (results,) = (folder / "tuning").glob("*.csv")
    rows = read_rows(results)
    assert Counter(row["label"] for row in rows) == {
        "joint mlp": 3, "isolated mlp": 3, "shared mlp": 3
    }  # fmt: skip
    assert {(row["epochs"], row["rows"]) for row in rows} == {("1", "500")}
    assert [(one.part, one.trials, one.diverged) for one in report.tuned] == [
        ("joint", 3, 0), ("isolated", 3, 0), ("shared", 3, 0)
    ]  # fmt: skip
    isolated = report.tuned[1]
    assert isolated.own == {"lr": 3e-3, "batch_size": 256}, "the rival's own change of training"
    scores = [float(row["valid"]) for row in rows if row["label"] == "isolated mlp"]
    assert isolated.score == max(scores)
    assert isolated.own_score == scores[0]


def test_what_was_found_is_what_is_trained_with_every_seed(made):
    folder, report = made
    runs = [Store(folder).run(name) for name in Store(folder).names()]
    assert len(runs) == 6
    for one in runs:
        part = "joint"
        if one.config["scope"] == "isolated":
            part = "isolated"
        elif one.config["settings"].get("domain_blind"):
            part = "shared"
        found = next(tuned.found for tuned in report.tuned if tuned.part == part)
        assert set(found) == {"lr", "batch_size"}
        assert {name: one.config["train"][name] for name in found} == found
        assert one.config["train"]["max_epochs"] == 1
        assert "max_rows" not in one.config["train"], "limits of the search are the search's"
    assert report.sharing.seeds == 2


def test_the_same_command_again_trains_and_tries_nothing(made, data, monkeypatch):
    folder, report = made
    monkeypatch.setattr(trials, "run", lambda *_, **__: pytest.fail("a trial was run again"))
    assert share(wanted(data), Store(folder)) == report


def test_without_a_table_nothing_is_searched(data, tmp_path):
    assert search(wanted(data, tune=None), Store(tmp_path)) == ({}, ())
    assert not (tmp_path / "tuning").exists()


def test_a_trial_that_fails_stops_the_report(data, tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "run", lambda *_, **__: 1 / 0)
    with pytest.raises(TrainingError, match="joint mlp trial 0: ZeroDivisionError"):
        search(wanted(data), Store(tmp_path))


def test_a_grid_too_small_for_the_budget_is_refused(data):
    with pytest.raises(ConfigError, match="9 trials, but a grid of 6 choices"):
        wanted(data, tune={"trials": 9, "max_epochs": 1, "grid": GRID})


def test_a_named_run_of_several_seeds_has_one_name_a_seed(data, tmp_path):
    config = wanted(data, tune=None, shared=None).model_copy(update={"name": "mine"})
    share(config, Store(tmp_path))
    assert {"mine-s0", "mine-s1"} < set(Store(tmp_path).names())


def test_every_domain_has_a_calibration_and_an_advice(made):
    _, report = made
    assert len(report.sharing.rows) == 5
    for row in report.sharing.rows:
        assert row.advice is not None
        assert row.calibration is not None
        assert f"{row.advice.action.value}: {row.advice.reason[:30]}" in to_markdown(report)


def test_the_joint_model_is_diagnosed_beside_the_isolated_ones(made, data, monkeypatch):
    """All seeds of both, so that what only several runs can tell is looked at too."""
    folder, report = made
    looked = []

    def look(runs, root, *, beside, **_):
        """With the verdicts that it comes to by itself, whatever table it is given."""
        all_ = [*runs, *beside]
        looked.append(([one.config["scope"] for one in all_], diagnose(all_, root)[0]))
        return [looked[-1][1]]

    monkeypatch.setattr("isthmus.sharing.diagnose", look)
    share(wanted(data), Store(folder))
    ((scopes, diagnosis),) = looked
    assert scopes == ["joint", "joint", "isolated", "isolated"]
    assert {"ISTH401", "ISTH402", "ISTH701"} <= set(diagnosis.passed), "by seeds and pairs"
    assert "ISTH601" in {finding.code for finding in report.findings}, "trained for one epoch"
    assert report.findings == diagnosis.findings


def test_costs_are_told_of_each_model(made):
    _, report = made
    assert list(report.costs) == ["mlp", "isolated mlp", "shared mlp"]
    assert [found.models for found in report.costs.values()] == [1, 5, 1]
    for found in report.costs.values():
        assert found.training_cpu_s > 0
        assert found.scoring_cpu_us > 0
        assert found.stored_bytes > 4 * found.parameters > 0
    assert report.costs["isolated mlp"].parameters > report.costs["mlp"].parameters


class Logged:
    """A run whose log is at hand."""

    def __init__(self, run, entries):
        self.manifest, self.config, self.model_state = run.manifest, run.config, run.model_state
        self.entries = lambda: entries


def test_training_and_scoring_are_told_apart(made):
    """Scoring is what stands between its two lines; evaluation, and the end, are neither."""
    folder, _ = made
    run = Store(folder).run(Store(folder).names()[0])
    log = [
        {"cpu": 4.0, "epoch": 1}, {"cpu": 3.0, "epoch": 2}, {"cpu": 0.5, "scoring": "valid"},
        {"cpu": 0.2, "scored": "valid", "rows": 1000}, {"cpu": 9.0, "scoring": "test"},
        {"cpu": 0.4, "scored": "test", "rows": 2000}, {"cpu": 8.0, "finished": True},
    ]  # fmt: skip
    found = cost([Logged(run, log), Logged(run, log[1:])])
    assert found.training_cpu_s == pytest.approx((7.5 + 3.5) / 2)
    assert found.scoring_cpu_us == pytest.approx(200.0)
    old = [{"cpu": 4.0, "epoch": 1}, {"cpu": 1.0, "finished": True}]
    assert cost([Logged(run, old)]).scoring_cpu_us is None
    assert cost([Logged(run, old)]).training_cpu_s == 5.0
