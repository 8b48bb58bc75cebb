"""isthmus bench: one row a run, resumable, with the settings that were found, and failures told."""

import json
import signal
import subprocess
import sys
import time

import pytest

from isthmus.bench import Choice, bench, beside, read, read_rows, tune, write_rows
from isthmus.bench import measure as module
from isthmus.bench.config import SEARCHED
from isthmus.bench.rows import COLUMNS, DOMAINS, PAIRS
from isthmus.errors import ConfigError, DataError
from isthmus.experiment import run
from isthmus.store import Run, Store
from tests.bench.conftest import entry

TIMED = {"cpu_seconds", "train_rows_per_cpu_s"}


class Notes:
    """A reporter that keeps what it is told."""

    def __init__(self):
        self.said = []

    def task(self, label, total):
        from isthmus.progress import quiet

        return quiet.task(label, total)

    def note(self, text):
        self.said.append(text)


def timeless(rows):
    return [{k: v for k, v in row.items() if k not in TIMED} for row in rows]


@pytest.fixture(scope="module")
def ran(data, tmp_path_factory):
    """A finished benchmark: its folder and its rows."""
    from isthmus.bench import BenchConfig

    folder = tmp_path_factory.mktemp("ran")
    config = BenchConfig.model_validate(
        {
            "name": "small",
            "data": str(data),
            "seeds": [0, 1],
            "workers": 1,
            "train": {"lr": 1e-3, "batch_size": 512, "max_epochs": 2},
            "entries": [entry("a"), entry("b", train={"lr": 1e-2}), entry("i", scope="isolated")],
        }
    )
    rows, failed = bench(config, Store(folder / "runs"), folder / "small.csv")
    assert not failed
    return config, folder, rows


def test_a_row_says_what_the_run_says(ran):
    config, folder, rows = ran
    assert [(row["label"], row["seed"]) for row in rows] == [
        (label, seed) for label in "abi" for seed in "01"
    ]
    for row in rows:
        kept = Run.open(folder / "runs" / row["run"])
        test, valid = kept.metrics["test"], kept.metrics["valid"]
        assert float(row["domain_auc"]) == pytest.approx(test.domain_auc, abs=1e-6)
        assert float(row["minor10"]) == pytest.approx(test.minor10, abs=1e-6)
        assert float(row["valid_domain_auc"]) == pytest.approx(valid.domain_auc, abs=1e-6)
        assert kept.cpu_seconds > 0
        assert float(row["cpu_seconds"]) == pytest.approx(kept.cpu_seconds, abs=0.051)
        train = config.config(config.chosen((row["label"],))[0], 0).train
        assert {name: row[name] for name in SEARCHED} == {
            name: repr(getattr(train, name)) for name in SEARCHED
        }
        assert row["trials"] == "0"
        if row["label"] == "i":  # what isolated models saw is not logged epoch by epoch
            assert row["train_rows_per_cpu_s"] == ""
            continue
        seen = int(row["train_rows"]) * int(row["epochs"])
        assert float(row["train_rows_per_cpu_s"]) == pytest.approx(seen / kept.cpu_seconds, abs=1)
    assert read_rows(folder / "small.csv") == rows
    assert list(read_rows(folder / "small.csv")[0]) == list(COLUMNS)


def test_domain_rows_are_those_of_the_metrics(ran):
    _, folder, rows = ran
    domains = read_rows(folder / "small.domains.csv")
    assert list(domains[0]) == list(DOMAINS)
    for row in rows:
        by_domain = Run.open(folder / "runs" / row["run"]).metrics["test"].by_domain
        own = {
            found["domain"]: found
            for found in domains
            if (found["label"], found["seed"]) == (row["label"], row["seed"])
        }
        assert set(own) == set(by_domain)
        for name, found in by_domain.items():
            assert int(own[name]["rows"]) == found.rows
            assert own[name]["auc"] == (f"{found.auc.value:.6f}" if found.auc else "")


def test_pairs_are_tests_against_the_best_with_holms_correction(ran):
    """Checked against ``compare`` for DomainAUC, and Holm's rule by hand: two entries, two tests."""
    from isthmus.evaluation import compare

    _, folder, rows = ran
    found = read_rows(folder / "small.pairs.csv")
    assert list(found[0]) == list(PAIRS)
    means = {
        label: sum(float(row["domain_auc"]) for row in rows if row["label"] == label) / 2
        for label in "abi"
    }
    best = max(means, key=means.get)
    own = {row["label"]: row for row in found if row["metric"] == "domain_auc"}
    assert set(own) == set("abi") - {best}

    def scored(label):
        names = [row["run"] for row in rows if row["label"] == label]
        return [Run.open(folder / "runs" / name).predictions("test") for name in names]

    p_values = {}
    for label, row in own.items():
        known = compare(scored(label), scored(best))
        assert (row["best"], row["seeds"]) == (best, "2")
        assert float(row["difference"]) == pytest.approx(means[label] - means[best], abs=2e-6)
        assert float(row["low"]) == pytest.approx(known.overall.low, abs=1e-6)
        assert float(row["p"]) == pytest.approx(known.overall_p_value, rel=1e-3)
        p_values[label] = float(row["p"])
    small, large = sorted(p_values, key=p_values.get)
    first = min(1.0, 2 * p_values[small])
    assert float(own[small]["p_holm"]) == pytest.approx(first, rel=1e-3)
    assert float(own[large]["p_holm"]) == pytest.approx(max(first, p_values[large]), rel=1e-3)


def test_what_has_a_row_is_not_run(ran, monkeypatch, tmp_path):
    config, folder, rows = ran
    monkeypatch.setattr(module, "run", lambda *a, **k: pytest.fail("it was run again"))
    monkeypatch.setattr(module, "pairs", lambda *a, **k: pytest.fail("it was tested again"))
    assert bench(config, Store(folder / "runs"), folder / "small.csv") == (rows, {})


def test_without_the_runs_the_tests_of_before_stay(ran, tmp_path):
    """Rows from another machine: a new entry is run, but what it is compared with is not here."""
    config, folder, rows = ran
    results = tmp_path / "small.csv"
    write_rows(results, rows)
    beside(results, "pairs").write_bytes((folder / "small.pairs.csv").read_bytes())
    more = config.model_copy(update={"entries": (*config.entries, _entry("c"))})
    notes = Notes()
    found, failed = bench(more, Store(tmp_path / "runs"), results, reporter=notes)
    assert not failed
    assert len(found) == 8
    assert beside(results, "pairs").read_bytes() == (folder / "small.pairs.csv").read_bytes()
    assert any("stays as it is" in text for text in notes.said)


def _entry(label, **changes):
    from isthmus.bench import Entry

    return Entry.model_validate(entry(label, **changes))


def test_an_entry_that_fails_stops_no_other(small, tmp_path, monkeypatch):
    def failing(config, *args, **kwargs):
        if config.train.lr == 3e-3 and config.seed == 0:
            raise DataError("these rows are odd")
        return run(config, *args, **kwargs)

    monkeypatch.setattr(module, "run", failing)
    config = small(tune=None)
    rows, failed = bench(config, Store(tmp_path / "runs"), tmp_path / "small.csv")
    assert failed == {"b seed 0": "these rows are odd"}
    assert [(row["label"], row["seed"]) for row in rows] == [("a", "0"), ("a", "1"), ("b", "1")]
    pairs = read_rows(tmp_path / "small.pairs.csv")
    assert {row["best"] for row in pairs} == {"a"}, "the best is one with all seeds"
    assert {row["seeds"] for row in pairs} == {"1"}, "compared over the seed that both have"
    monkeypatch.undo()
    rows, failed = bench(config, Store(tmp_path / "runs"), tmp_path / "small.csv")
    assert not failed
    assert len(rows) == 4


def test_the_best_trials_settings_are_used_and_an_untuned_entry_is_told(small, tmp_path):
    config = small(seeds=[0])
    results = tmp_path / "small.csv"
    only = config.chosen(("a",))
    trials, _ = tune(config, tmp_path / "runs", beside(results, "tuning"), entries=only)
    winner = max(trials, key=lambda row: float(row["valid"]))
    notes = Notes()
    rows, failed = bench(config, Store(tmp_path / "runs"), results, reporter=notes)
    assert not failed
    a, b = rows
    assert {name: a[name] for name in SEARCHED} == {name: winner[name] for name in SEARCHED}
    assert (a["trials"], b["trials"]) == ("4", "0")
    assert b["lr"] == "0.003"
    kept = Run.open(tmp_path / "runs" / a["run"])
    assert kept.config["train"]["lr"] == float(winner["lr"])
    assert kept.config["train"]["max_epochs"] == 2, "the trial's limits are not the run's"
    assert "max_rows" not in kept.config["train"]
    told = [text for text in notes.said if "not tuned" in text]
    assert len(told) == 1
    assert told[0].startswith("b ")


def test_rows_of_other_settings_stay_unless_asked(small, tmp_path):
    store, results = Store(tmp_path / "runs"), tmp_path / "small.csv"
    config = small(tune=None, seeds=[0])
    before, _ = bench(config, store, results)
    other = small(tune=None, seeds=[0], entries=[entry("a", train={"lr": 5e-3}), entry("b", train={"lr": 3e-3})])  # fmt: skip
    notes = Notes()
    assert bench(other, store, results, reporter=notes)[0] == before
    assert any("other settings stay: a (" in text for text in notes.said)
    after, _ = bench(other, store, results, choice=Choice(changed=True))
    assert [row["lr"] for row in after] == ["0.005", "0.003"]
    assert after[1] == before[1]


def test_again_makes_a_run_anew(small, tmp_path, monkeypatch):
    store, results = Store(tmp_path / "runs"), tmp_path / "small.csv"
    config, trained = small(tune=None, seeds=[0]), []
    before, _ = bench(config, store, results)

    def counted(wanted, *args, **kwargs):
        trained.append(wanted.train.lr)
        assert not store.names() or len(store.names()) == 1, "the old run is thrown away"
        return run(wanted, *args, **kwargs)

    monkeypatch.setattr(module, "run", counted)
    after, _ = bench(config, store, results, choice=Choice(again=("a",)))
    assert trained == [1e-3]
    assert timeless(after) == timeless(before)
    with pytest.raises(ConfigError, match="it has: a, b"):
        bench(config, store, results, choice=Choice(again=("c",)))


def test_only_and_seeds_choose(small, tmp_path):
    config = small(tune=None)
    rows, _ = bench(
        config, Store(tmp_path / "runs"), tmp_path / "csv", choice=Choice(only=("b",), seeds=(7,))
    )
    assert [(row["label"], row["seed"]) for row in rows] == [("b", "7")]


def test_two_entries_of_one_label_are_refused(small):
    with pytest.raises(ValueError, match="two entries have the label 'a'"):
        small(entries=[entry("a"), entry("a", scope="isolated")])


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("data", None, "data: Field required"),
        ("data", 3, "data: Input should be a valid string, found 3"),
        ("seeds", [], r"seeds: Tuple should have at least 1 item.*found \[\]"),
        ("seeds", [0, 0], "seeds: a seed is there twice"),
        ("entries", [], "entries: Tuple should have at least 1 item"),
    ],
)
def test_what_cannot_be_a_benchmark_is_refused_when_it_is_read(tmp_path, key, value, told):
    values = {"name": "n", "data": "d", "seeds": [0], "entries": [{"label": "a", "model": "mlp"}]}
    values[key] = value
    inline = {k: json.dumps(v) for k, v in values.items() if v is not None}
    inline["entries"] = '[{label = "a", model = "mlp"}]' if values["entries"] else "[]"
    text = "\n".join(f"{k} = {v}" for k, v in inline.items())
    (tmp_path / "bench.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=told):
        read(tmp_path / "bench.toml")


@pytest.mark.slow
def test_killed_and_begun_again_it_comes_to_the_same_end(small, tmp_path):
    """kill -9 after the first row, while two processes train; then the same command to its end."""
    config = small(tune=None, workers=2)
    whole, _ = bench(config, Store(tmp_path / "whole"), tmp_path / "whole.csv")
    toml = tmp_path / "small.toml"
    lines = [f"name = 'small'\ndata = {json.dumps(config.data)}\nseeds = [0, 1]\nworkers = 2"]
    lines += ["[train]\nlr = 1e-3\nbatch_size = 512\nmax_epochs = 2"]
    for label, more in (("a", ""), ("b", "train = {lr = 3e-3}")):
        lines.append(
            f"[[entries]]\nlabel = '{label}'\nmodel = 'mlp'\n"
            f"settings = {{hidden = [8], embedding_dim = 4}}\n{more}"
        )
    toml.write_text("\n".join(lines), encoding="utf-8")
    command = [sys.executable, "-m", "isthmus.cli", "bench", "small.toml"]
    results = tmp_path / "results" / "small.csv"
    first = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # fmt: skip
    while not results.exists():
        assert first.poll() is None
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert 1 <= len(read_rows(results)) < 4
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "DomainAUC" in done.stdout
    assert timeless(read_rows(results)) == timeless(whole)
    pairs = (beside(place, "pairs").read_bytes() for place in (results, tmp_path / "whole.csv"))
    assert len(set(pairs)) == 1
