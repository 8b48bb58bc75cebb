"""A retriever's whole run: ranks against a plain loop, stored, resumed, compared; the commands."""

import pytest
import torch
from typer.testing import CliRunner

from isthmus.cli import app
from isthmus.config import checked
from isthmus.curves import curves
from isthmus.data.prepare import prepare
from isthmus.data.prepared import Prepared
from isthmus.data.sources import get
from isthmus.errors import ConfigError, DataError
from isthmus.evaluation import compare_ranks, evaluate_ranks
from isthmus.evaluation.ranks import samples
from isthmus.experiment import load_model, run
from isthmus.inference import ranks
from isthmus.models import Retriever
from isthmus.models.base import ModelConfig
from isthmus.next_item import Held, load_retriever, training_rows
from isthmus.report.data import ReportData
from isthmus.report.words import bounds, signed
from isthmus.store import Store
from isthmus.training import checkpoint
from tests.data.events import config as sequence_config
from tests.data.events import events, written


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Planted events; one shop has no held-out event, some held-out items are cold."""
    folder = tmp_path_factory.mktemp("events")
    file = written(events(900, users=60), folder / "e.parquet")
    return prepare(sequence_config(file, min_count=3), folder / "prepared").path


class Fixed(Retriever):
    """Scores that are planted: by a hash of the newest item, in few levels, so that many are tied."""

    levels = 6

    def scores(self, batch):
        place = torch.arange(self.schema.items)
        newest = batch.items[:, -1:]
        return ((newest * 7919 + place * 104729) % 1009 % self.levels).double()


class Broken(Fixed):
    bad = float("nan")

    def scores(self, batch):
        found = super().scores(batch)
        found[len(found) // 2, 3] = self.bad
        return found


def fixed(prepared, kind=Fixed):
    return kind(ModelConfig(), prepared.schema)


def test_ranks_are_what_a_plain_loop_counts(data, monkeypatch):
    prepared = Prepared.open(data)
    monkeypatch.setattr("isthmus.inference.CELLS", 7 * prepared.schema.items)  # many small batches
    model, held = fixed(prepared), Held(prepared, "test")
    found, table = held.ranks(model), prepared.table("test")
    score = model.scores(prepared.histories("test")).numpy()
    domain_of = prepared.item_domains()
    drawn = samples(table["row"], table["item"], prepared.schema.items)
    assert 0 < (table["item"] == 0).sum() < len(table["item"])
    for n, (item, domain) in enumerate(zip(table["item"], table["domain"], strict=True)):
        every = range(1, prepared.schema.items)
        candidates = {
            "domain": [i for i in every if domain_of[i] == domain],
            "all": list(every),
            "sampled": [*drawn[n].tolist(), *([item] if item else [])],
        }
        for protocol, them in candidates.items():
            places = [found.above[protocol][n], found.tied[protocol][n], found.of[protocol][n]]
            own = score[n, item]
            above = sum(score[n, i] > own for i in them) if item else 0
            tied = sum(score[n, i] == own for i in them) - 1 if item else 0
            assert places == [above, tied, len(them)], (n, protocol)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers_are_refused(data, bad, monkeypatch):
    monkeypatch.setattr(Broken, "bad", bad)
    prepared = Prepared.open(data)
    with pytest.raises(DataError, match="no numbers, the first is row"):
        Held(prepared, "test").ranks(fixed(prepared, Broken))


def test_minus_infinity_ranks_last(data, monkeypatch):
    monkeypatch.setattr(Broken, "bad", -float("inf"))
    prepared = Prepared.open(data)
    assert len(Held(prepared, "test").ranks(fixed(prepared, Broken)))


def test_a_split_without_events_has_no_ranks(data):
    prepared = Prepared.open(data)
    held = Held(prepared, "test")
    none = torch.zeros(0, dtype=torch.int64)
    table = {name: column[:0] for name, column in held.table.items()}
    found = ranks(fixed(prepared), held.rows.take(none), table, held.item_domains)
    assert len(found) == 0
    assert evaluate_ranks(found).primary.overall.reason == "no rows in this split"


def test_what_is_trained_on_follows_from_what_a_model_predicts(data):
    prepared = Prepared.open(data)
    assert len(training_rows(Fixed, prepared)) == len(prepared.windows("train", least=1))
    every = type("Every", (Fixed,), {"predicts": "every"})
    assert len(training_rows(every, prepared)) == len(prepared.windows("train", stride=7, least=1))


def wanted(data, model="markov", **changes):
    return checked({"data": str(data), "model": model, **changes}, "test")


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("log.jsonl", ".lock")
    }


@pytest.mark.parametrize("model", ["markov", "item_knn"])
def test_a_run_is_kept_whole_and_repeats_to_the_byte(data, tmp_path, model):
    first, second = (run(wanted(data, model), Store(tmp_path / n)) for n in "ab")
    assert files(first.path) == files(second.path)
    assert first.finished
    assert first.of_items
    again = load_retriever(first)
    held = Held(Prepared.open(data), "test")
    kept = first.ranks("test")
    assert (held.ranks(again).above["all"] == kept.above["all"]).all()
    assert first.rank_metrics["test"] == evaluate_ranks(kept)
    assert set(first.rank_metrics) == {"valid", "test"}
    told = first.rank_metrics["valid"].primary.weighted["ndcg@10"].value
    assert first.manifest.scores == pytest.approx((told,))
    assert run(wanted(data, model), Store(tmp_path / "a")).name == first.name


def test_a_network_learns_by_the_validation_splits_ranking(data, tmp_path):
    changes = {"settings": {"embedding_dim": 8}, "train": {"max_epochs": 3, "batch_size": 32, "lr": 0.01}}  # fmt: skip
    kept = run(wanted(data, "sasrec", **changes), Store(tmp_path))
    assert 1 <= len(kept.manifest.scores) <= 3
    best = max(kept.manifest.scores)
    found = kept.rank_metrics["valid"].primary.weighted["ndcg@10"].value
    assert found == pytest.approx(best, abs=1e-6)


def test_an_interrupted_run_ends_as_one_that_was_not(data, tmp_path):
    changes = {"settings": {"embedding_dim": 8}, "train": {"max_epochs": 3, "batch_size": 32}}
    straight = run(wanted(data, "sasrec", **changes), Store(tmp_path / "a"))

    class Stop(Exception):
        pass

    class Stopping:
        def task(self, name, total):
            from contextlib import nullcontext

            return nullcontext(lambda _: None)

        def note(self, text):
            if "epoch 2" in text:
                raise Stop

    with pytest.raises(Stop):
        run(wanted(data, "sasrec", **changes), Store(tmp_path / "b"), reporter=Stopping())
    resumed = run(wanted(data, "sasrec", **changes), Store(tmp_path / "b"))
    assert files(straight.path) == files(resumed.path)


def test_what_syncrec_tells_of_domains_is_logged_each_epoch_over_interruptions(data, tmp_path):
    """A kill between the log's line and the checkpoint loses no epoch, and doubles none."""
    small = {"embedding_dim": 8, "layers": 1}
    changes = {"settings": small, "train": {"max_epochs": 3, "batch_size": 32, "patience": 3}}
    straight = run(wanted(data, "syncrec", **changes), Store(tmp_path / "a"))
    with pytest.MonkeyPatch.context() as patch:
        save = checkpoint.save

        def killed(state, place):
            if state.epochs == 2:
                raise KeyboardInterrupt
            return save(state, place)

        patch.setattr(checkpoint, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            run(wanted(data, "syncrec", **changes), Store(tmp_path / "b"))
    resumed = run(wanted(data, "syncrec", **changes), Store(tmp_path / "b"))
    epochs = [entry["epoch"] for entry in resumed.entries() if "epoch" in entry]
    assert epochs == [1, 2, 2, 3]
    found = curves(resumed)
    assert found == curves(straight)
    model = load_retriever(resumed)
    gaps, weights = found.told.values()
    assert set(gaps) == set(weights) == set(resumed.schema.domains)
    for place, domain in enumerate(resumed.schema.domains, 1):
        assert len(gaps[domain]) == 3
        told = gaps[domain][found.best_epoch]
        assert told == pytest.approx(float(model.gap_D[place]), abs=1e-6)
        assert told != 0
    ends = [weights[domain][-1] for domain in resumed.schema.domains]
    assert sum(ends) == pytest.approx(len(ends), abs=1e-5)
    page = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["report", str(resumed.path), "--out", str(page)])
    assert done.exit_code == 0, done.output
    assert "syncrec: running gap, single less cross loss" in page.read_text()


def test_the_wrong_kind_is_told(data, tmp_path):
    with pytest.raises(ConfigError, match="is a retriever, which has ndcg@10"):
        wanted(data, train={"metric": "auc"})
    with pytest.raises(ConfigError, match="is a ranker, which has domain_auc"):
        wanted(data, "mlp", train={"metric": "mrr"})
    with pytest.raises(ConfigError, match="is no ranker; scope 'mamdr' trains rankers"):
        wanted(data, scope="mamdr")
    with pytest.raises(
        ConfigError, match=r"share\.isolated\.model = 'mlp' is a ranker, but 'markov'"
    ):
        wanted(data, share={"isolated": {"model": "mlp"}})
    with pytest.raises(
        ConfigError, match=r"share\.shared\.model = 'sasrec' is a retriever, but 'mlp'"
    ):
        wanted(data, "mlp", share={"shared": {"model": "sasrec"}})
    with pytest.raises(DataError, match="holds sequences of events"):
        run(wanted(data, "mlp"), Store(tmp_path))
    kept = run(wanted(data), Store(tmp_path))
    with pytest.raises(DataError, match="no AUC"):
        _ = kept.metrics
    with pytest.raises(DataError, match="has no predictions/test"):
        kept.predictions("test")
    with pytest.raises(ConfigError, match="load_retriever"):
        load_model(kept)
    impressions = prepare(get("bundled")(tmp_path / "raw"), tmp_path / "ctr").path
    with pytest.raises(DataError, match='task = "next_item"'):
        run(wanted(impressions), Store(tmp_path))


def test_explicit_metrics_are_kept(data):
    assert wanted(data).train.metric == "ndcg@10"
    assert wanted(data, train={"metric": "macro_ndcg@10"}).train.metric == "macro_ndcg@10"
    assert wanted(data, "mlp").train.metric == "domain_auc"


def test_the_commands(data, tmp_path, monkeypatch):
    """prepare, train, evaluate and compare, as for rankers."""
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "run.toml").write_text(f'data = "{data}"\nmodel = "markov"\n')
    runs = ["--runs", str(tmp_path / "runs")]
    for model in ("markov", "popularity"):
        done = CliRunner().invoke(
            app, ["train", str(tmp_path / "run.toml"), "--set", f"model={model}", *runs]
        )
        assert done.exit_code == 0, done.output
        assert "NDCG@10" in done.output
        assert "items of the item's domain" in done.output
    one, other = sorted(str(path) for path in (tmp_path / "runs").iterdir() if path.is_dir())
    told = CliRunner().invoke(app, ["evaluate", one, other, "--split", "valid"]).output
    assert "valid rows:" in told
    assert "s0" in told
    assert "of unknown items" in told
    told = CliRunner().invoke(app, ["compare", one, other, "--metric", "mrr"]).output
    assert "mrr of A minus that of B, among all items of the item's domain" in told
    assert "known items" in told
    told = CliRunner().invoke(app, ["compare", one, other, "--among", "all"]).output
    assert "among all items, on the same" in told


def test_what_sharing_gains_domain_by_domain(data, tmp_path, monkeypatch):
    """isthmus share: the joint model, one a domain, and a floor, in NDCG and in hit rate."""
    monkeypatch.setenv("COLUMNS", "300")
    small = "{embedding_dim = 8}"
    (tmp_path / "run.toml").write_text(
        f"""data = "{data}"
model = "sasrec"
settings = {small}
train = {{max_epochs = 1, batch_size = 64, max_rows = 100}}
share = {{isolated = {{model = "sasrec", settings = {small}}}, seeds = [0, 1], workers = 1}}
"""
    )
    out = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "report.html")]
    done = CliRunner().invoke(app, ["share", str(tmp_path / "run.toml"), *out])
    assert done.exit_code == 0, done.output
    assert "ndcg@10 of sasrec minus that of isolated sasrec" in done.output
    made = ReportData.model_validate_json((tmp_path / "report.json").read_text())
    assert made.sharing.metric == "ndcg@10"
    assert [table.metric for table in made.further] == ["hr@10"]
    assert set(made.rank_metrics) == {"sasrec", "isolated sasrec", "item_knn"}
    kept = {p.name: Store(tmp_path / "runs").run(p.name) for p in (tmp_path / "runs").iterdir()}
    runs = [one for name, one in sorted(kept.items()) if "-sasrec-s" in name]
    apart = [one for name, one in sorted(kept.items()) if "isolated" in name]
    found = compare_ranks(*([one.ranks("test") for one in arm] for arm in (runs, apart)))
    gains = {row.domain: row.gain for row in made.sharing.rows}
    assert gains == {row.domain: row.difference for row in found.rows}
    page, text = ((tmp_path / f"report.{end}").read_text() for end in ("html", "md"))
    for said in ("NDCG@10 isolated sasrec", "HR@10 isolated sasrec", " known items"):
        assert said in page
        assert said in text
    assert "AUC" not in text
    gained = made.sharing.rows[0].gain
    assert f"{signed(gained.value, 4)} {bounds(gained, 4, plus=True)}" in text.replace("\\", "")
    done = CliRunner().invoke(app, ["report", str(runs[0].path)])
    assert done.exit_code == 0, done.output
    assert "sasrec has an NDCG@10 of" in runs[0].report.read_text()


def test_a_ranker_has_no_metric_to_choose(tmp_path):
    made = prepare(get("synthetic")(tmp_path / "raw", rows=2000, domains=6, clusters=2), tmp_path / "p")  # fmt: skip
    kept = run(
        checked(
            {
                "data": str(made.path),
                "model": "mlp",
                "settings": {"hidden": [4]},
                "train": {"max_epochs": 1},
            },
            "x",
        ),
        Store(tmp_path / "runs"),
    )
    done = CliRunner().invoke(app, ["compare", str(kept.path), str(kept.path), "--metric", "mrr"])
    assert isinstance(done.exception, ConfigError)
    with pytest.raises(DataError, match="no ranks of items"):
        _ = kept.rank_metrics
