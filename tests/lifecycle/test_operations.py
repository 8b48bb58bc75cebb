"""Domains are added, retired, split and merged in stored runs; all others keep every bit."""

import numpy as np
import pytest
import torch

from isthmus import lifecycle
from isthmus.batch import Impressions
from isthmus.config import checked
from isthmus.data.config import read_config
from isthmus.data.prepare import prepare
from isthmus.data.prepared import Prepared
from isthmus.errors import ConfigError, DataError, MismatchError
from isthmus.experiment import load_model, run
from isthmus.inference import probabilities
from isthmus.lifecycle.derived import ADDED, origin
from isthmus.lifecycle.rows import read_rows
from isthmus.store import Run, Store
from tests.lifecycle import shop

KNOWN = ("books", "games", "tools")
SETTINGS = {
    "mmoe": {"expert_hidden": [16, 8], "num_experts": 3, "tower_hidden": [8], "embedding_dim": 8},
    "aread": {
        "embedding_dim": 8,
        "bottom_hidden": [16, 8],
        "bottom_experts": 2,
        "experts": [2, 3, 4],
        "expert_hidden": [[8], [8], [8]],
        "search": {"warmup_steps": 5, "every": 20, "candidates": 3, "updates": 2, "batch_size": 64},
    },
    "star": {"hidden": [16, 8], "embedding_dim": 8},
}
NO_HOLDING_BACK = lifecycle.LearnConfig(margin=0.0)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A shop of three domains, prepared; and tables of two that it does not know."""
    folder = tmp_path_factory.mktemp("shop")
    shop.write(folder / "shop.csv", shop.rows(KNOWN, 4500))
    (folder / "shop.toml").write_text(shop.PREPARATION, encoding="utf-8")
    prepare(read_config(folder / "shop.toml"), folder / "prepared")
    shop.write(folder / "toys.csv", shop.rows(("toys",), 800, seed=1))
    shop.write(folder / "twins.csv", shop.rows(("twins",), 120, seed=2))
    return folder


@pytest.fixture(scope="module", params=["mmoe", "aread", "star"])
def parent(request, place):
    return trained(place, request.param)


def trained(place, model, **changes):
    values = {
        "data": str(place / "prepared"),
        "model": model,
        "settings": SETTINGS.get(model, {}),
        "train": {"batch_size": 128, "max_epochs": 8, "lr": 1e-2, "unknown_share": 0.1},
        "share": {"workers": 1},
    }
    return run(checked({**values, **changes}, "test"), Store(place / "runs"))


def auc(kept, domain, split=ADDED):
    return kept.metrics[split].by_domain[domain].auc.value


def same_scores(parent, made, but=()):
    """Both runs' stored scores of all rows of other domains are equal, byte for byte."""
    for split in ("valid", "test"):
        old, new = parent.predictions(split), made.predictions(split)
        kept = ~np.isin(old.domain, [parent.schema.domains.index(name) + 1 for name in but])
        assert kept.any()
        assert np.array_equal(old.row, new.row)
        assert old.score[kept].tobytes() == new.score[kept].tobytes(), split


def unknown_auc(kept, place, table, domain):
    """What the unknown domain's path makes of the held-out rows of a table."""
    prepared = Prepared.open(place / "prepared")
    found = read_rows([place / table], prepared, (*prepared.schema.domains, domain))
    _, held = found.of(len(prepared.schema.domains) + 1).parted(0.25)
    hidden = Impressions(held.rows.features, torch.zeros_like(held.rows.domain), held.rows.label)
    from sklearn.metrics import roc_auc_score

    return roc_auc_score(held.rows.label.numpy(), probabilities(load_model(kept), hidden))


def test_a_new_domain_learns_what_is_its_own_and_no_other_changes(place, parent):
    made = lifecycle.add(parent, "toys", [place / "toys.csv"], data=place / "prepared")
    same_scores(parent, made)
    assert made.schema.domains == (*parent.schema.domains, "toys")
    assert "learned from" in made.manifest.lineage[-1].notes[0]
    assert auc(made, "toys") > unknown_auc(parent, place, "toys.csv", "toys") + 0.05
    again = Run.open(made.path)  # an ordinary run: stored, sealed, loaded, scored by anybody
    model, prepared = load_model(again), Prepared.open(place / "prepared").under(again.schema)
    stored = again.predictions("test")
    assert probabilities(model, prepared.impressions("test")).tobytes() == stored.score.tobytes()


def test_adding_twice_is_one_run_and_the_rows_order_is_nothing(place, parent):
    table = shop.rows(("toys",), 800, seed=1)
    shop.write(place / "turned.csv", table[::-1])
    one = lifecycle.add(parent, "toys", [place / "toys.csv"], data=place / "prepared")
    two = lifecycle.add(
        parent, "toys", [place / "turned.csv"], data=place / "prepared", out="turned"
    )
    assert one.manifest.files["model.safetensors"] == two.manifest.files["model.safetensors"]
    again = lifecycle.add(parent, "toys", [place / "turned.csv"], data=place / "prepared")
    assert again.path == one.path
    (two.path / "run.json").unlink()
    for file in sorted(two.path.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()


def test_a_domain_like_another_begins_as_that_one(place, parent):
    made = lifecycle.add(parent, "twins", [place / "twins.csv"], data=place / "prepared")
    assert "from games" in made.manifest.lineage[-1].notes[0]
    assert auc(made, "twins") > 0.8


def test_a_handful_of_rows_teaches_nothing(place, parent):
    table = shop.write(place / "few.csv", shop.rows(("toys",), 12, seed=5))
    made = lifecycle.add(parent, "toys", [table], data=place / "prepared")
    assert "scored as before" in made.manifest.lineage[-1].notes[0]
    state = made.model_state()
    axes = origin(parent, place / "prepared").parts.axes
    for name, axis in axes.items():
        assert torch.equal(state[name].select(axis, 4), state[name].select(axis, 0)), name


def test_what_was_learned_has_to_be_better_by_more_than_noise(place, parent):
    """The same rows, the same learning: it is the margin that decides whether it is served."""
    data, toys = place / "prepared", [place / "toys.csv"]
    notes = []
    for margin in (1.0, 1e9):
        config = lifecycle.LearnConfig(margin=margin, max_epochs=3)
        made = lifecycle.add(parent, "toys", toys, data=data, config=config)
        notes.append(made.manifest.lineage[-1].notes[0])
    assert "learned from" in notes[0]
    assert "nothing was gained" in notes[1]
    axes = origin(parent, data).parts.axes
    for name, axis in axes.items():
        state = made.model_state()[name]
        assert torch.equal(state.select(axis, 4), state.select(axis, 0)), name


def test_a_retired_domain_is_scored_as_an_unknown_one(place, parent):
    prepared = Prepared.open(place / "prepared")
    made = lifecycle.retire(parent, "games", data=place / "prepared")
    same_scores(parent, made, but=("games",))
    gone = prepared.schema.domains.index("games") + 1
    names = made.schema.domains
    assert names[gone - 1] == "<retired: games>"
    assert [n for n in names if n != "<retired: games>"] == [
        n for n in parent.schema.domains if n != "games"
    ]
    rows, new = prepared.impressions("test"), made.predictions("test")
    hidden = Impressions(rows.features, torch.zeros_like(rows.domain), rows.label)
    as_unknown = probabilities(load_model(parent), hidden)
    chosen = new.domain == gone
    np.testing.assert_allclose(new.score[chosen], as_unknown[chosen], rtol=1e-5)
    assert not np.array_equal(new.score[chosen], parent.predictions("test").score[chosen])


def test_a_retired_name_may_come_again(place):
    parent = trained(place, "mmoe")
    gone = lifecycle.retire(parent, "games", data=place / "prepared")
    table = shop.write(place / "games.csv", shop.rows(("games",), 400, seed=8))
    made = lifecycle.add(gone, "games", [table], data=place / "prepared")
    assert made.schema.domains[-1] == "games"
    assert [change.operation for change in made.manifest.lineage] == ["retire", "add"]
    assert auc(made, "games") > 0.8
    same_scores(gone, made)
    twice = lifecycle.retire(made, "games", data=place / "prepared")
    assert twice.schema.domains[-1] == "<retired: games, 2>"


def test_a_split_begins_as_copies_and_learns_from_rows_by_a_column(place, parent):
    data = place / "prepared"
    copies = lifecycle.split(parent, "tools", ["hand", "power"], data=data)
    same_scores(parent, copies)
    assert copies.schema.domains == (*parent.schema.domains, "hand", "power")
    prepared = Prepared.open(data)
    old = prepared.schema.domains.index("tools") + 1
    rows = prepared.impressions("test")
    as_old, as_new = (
        Impressions(rows.features, torch.full_like(rows.domain, d), rows.label) for d in (old, 5)
    )
    model = load_model(copies)
    np.testing.assert_allclose(
        probabilities(model, as_new), probabilities(model, as_old), rtol=1e-5
    )

    table = shop.write(place / "tools.csv", shop.rows(("tools",), 900, seed=9))
    made = lifecycle.split(
        parent, "tools", ["even", "odd"], rows=[table], by="part", retired=True, data=data
    )
    same_scores(parent, made, but=("tools",))
    assert made.schema.domains[old - 1] == "<split: tools>"
    assert {name.partition(":")[0] for name in made.manifest.lineage[-1].notes} == {"even", "odd"}
    found = made.metrics[ADDED].by_domain
    assert {name for name, one in found.items() if one.rows} == {"even", "odd"}
    assert made.metrics[ADDED].overall.auc.value > 0.8


def test_a_merge_serves_both(place, parent):
    made = lifecycle.merge(
        parent, ["games", "tools"], "both", data=place / "prepared", config=NO_HOLDING_BACK
    )
    same_scores(parent, made)
    assert made.schema.domains[-1] == "both"
    rows = parent.predictions("test")
    places = [parent.schema.domains.index(name) + 1 for name in ("games", "tools")]
    assert len(made.predictions(ADDED)) == int(np.isin(rows.domain, places).sum())
    # games and tools agree on black alone of five colours: one of them for both is near chance
    assert made.metrics[ADDED].overall.auc.value > 0.5
    gone = lifecycle.merge(
        parent, ["games", "tools"], "both", data=place / "prepared", retired=True, out=None
    )
    same_scores(parent, gone, but=("games", "tools"))
    assert "<merged: games>" in gone.schema.domains


def test_a_run_that_was_changed_belongs_to_its_data_still(place):
    parent = trained(place, "mmoe")
    made = lifecycle.add(parent, "toys", [place / "toys.csv"], data=place / "prepared")
    prepared = Prepared.open(place / "prepared")
    made.require(prepared.schema, made.data)
    made.require(prepared.under(made.schema).schema, made.data)
    with pytest.raises(MismatchError):
        made.require(prepared.schema.model_copy(update={"domains": ("x", "y", "z")}))
    with pytest.raises(MismatchError, match="the run's own data"):
        prepared.under(made.schema.model_copy(update={"items": 9}))
    with pytest.raises(MismatchError, match="the run's own data"):
        prepared.under(made.schema.model_copy(update={"domains": ("books",)}))


def test_what_would_change_another_domain_is_not_kept(place, monkeypatch):
    """Were a shared weight to move, the scores of others would say so."""
    from isthmus.lifecycle import operations

    def careless(state, axes, domain, rows):
        state = honest(state, axes, domain, rows)
        return {**state, "experts.layers.0.weight": state["experts.layers.0.weight"] * (1 + 1e-6)}

    parent = trained(place, "mmoe")
    honest = operations.with_rows
    monkeypatch.setattr(operations, "with_rows", careless)
    with pytest.raises(MismatchError, match="nothing was kept"):
        lifecycle.retire(parent, "games", data=place / "prepared", out="careless")
    assert not (parent.path.parent / "careless").exists()


def refused(error, match, act, *args, **options):
    with pytest.raises(error, match=match):
        act(*args, **options)


def test_what_cannot_be_is_refused_in_words(place, tmp_path):
    parent, data = trained(place, "mmoe"), place / "prepared"
    toys = [place / "toys.csv"]
    refused(ConfigError, "already", lifecycle.add, parent, "games", toys, data=data)
    refused(ConfigError, "begin with '<'", lifecycle.add, parent, "<x: y>", toys, data=data)
    refused(DataError, "no row of domain 'cars'", lifecycle.add, parent, "cars", toys, data=data)
    refused(DataError, "no prepared data", lifecycle.add, parent, "toys", toys, data=tmp_path)
    refused(DataError, "no such file", lifecycle.add, parent, "toys", ["none.csv"], data=data)
    refused(DataError, "no domain 'cars'", lifecycle.retire, parent, "cars", data=data)
    refused(ConfigError, "two different", lifecycle.split, parent, "games", ["a"], data=data)
    refused(ConfigError, "two different", lifecycle.merge, parent, ["games"], "a", data=data)
    refused(ConfigError, "give --rows", lifecycle.split, parent, "games", ["a", "b"], by="x", data=data)  # fmt: skip
    bare = tmp_path / "bare.csv"
    bare.write_text("who,what,where,when,liked\nu1,i1,toys,5,1\n", encoding="utf-8")
    refused(DataError, "no column 'colour'", lifecycle.add, parent, "toys", [bare], data=data)
    one = shop.write(tmp_path / "one.csv", [r for r in shop.rows(("toys",), 90) if r[5] == 1])
    refused(DataError, "rows of both labels", lifecycle.add, parent, "toys", [one], data=data)
    empty = shop.write(tmp_path / "empty.csv", [])
    refused(DataError, "no rows", lifecycle.add, parent, "toys", [empty], data=data)
    alone = trained(place, "mlp", settings={"hidden": [8], "embedding_dim": 4}, scope="isolated", train={"max_epochs": 1})  # fmt: skip
    refused(ConfigError, "scope 'isolated'", lifecycle.retire, alone, "games", data=data)
    other = shop.write(tmp_path / "shop.csv", shop.rows(KNOWN, 600))
    (tmp_path / "shop.toml").write_text(shop.PREPARATION, encoding="utf-8")
    prepare(read_config(tmp_path / "shop.toml"), tmp_path / "prepared")
    assert other.exists()
    refused(
        MismatchError, "is not the data of run", lifecycle.retire, parent, "games",
        data=tmp_path / "prepared",
    )  # fmt: skip
