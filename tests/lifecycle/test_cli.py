"""`isthmus domain`, as its user meets it: from a CSV to a run that knows one domain more."""

import json

from typer.testing import CliRunner

from isthmus.cli import app
from isthmus.config import checked
from isthmus.data.config import read_config
from isthmus.data.prepare import prepare
from isthmus.experiment import run
from isthmus.store import Store
from tests.lifecycle import shop
from tests.test_cli import refused


def isthmus(*arguments):
    done = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_domains_come_and_go(tmp_path, monkeypatch):
    shop.write(tmp_path / "shop.csv", shop.rows(("books", "games", "tools"), 1500))
    shop.write(tmp_path / "toys.csv", shop.rows(("toys",), 200, seed=1))
    (tmp_path / "shop.toml").write_text(shop.PREPARATION, encoding="utf-8")
    prepare(read_config(tmp_path / "shop.toml"), tmp_path / "prepared/shop")
    small = {"bottom_hidden": [8], "tower_hidden": [4], "embedding_dim": 4}
    values = {"model": "shared_bottom", "settings": small, "name": "first"}
    values |= {"data": str(tmp_path / "prepared/shop"), "train": {"max_epochs": 1}}
    run(checked(values, "test"), Store(tmp_path / "runs"))

    monkeypatch.chdir(tmp_path)  # where prepared/shop is the data by default
    said = isthmus("domain", "add", "runs/first", "toys", "toys.csv", "--name", "second")
    assert "add toys (of first, from 200 rows)" in said
    assert "unchanged, to the bit" in said
    assert "toys" in isthmus("evaluate", "runs/second", "--split", "added")
    isthmus("domain", "retire", "runs/second", "games", "--name", "third")
    isthmus("domain", "split", "runs/third", "books", "old", "new", "--retire", "--name", "fourth")
    isthmus("domain", "merge", "runs/fourth", "tools", "old", "--into", "rest", "--name", "fifth")
    listed = isthmus("domain", "list", "runs/fifth")
    for words in ("<retired: games>", "<split: books>", "toys", "rest", "merge tools, old to rest"):
        assert words in listed
    assert listed.index("add toys") < listed.index("retire games") < listed.index("split books")

    # What is made is a run like any other, and compares with what it was made of.
    (diagnosis,) = json.loads(isthmus("diagnose", "runs/fifth", "--json"))
    assert "ISTH605" in {one["code"] for one in diagnosis["not_applicable"]}
    both = json.loads(isthmus("diagnose", "runs/first", "runs/fifth", "--json"))
    assert [one["run"] for one in both] == ["first", "fifth"], "no seeds of one another"
    assert "report:" in isthmus("report", "runs/fifth")
    said = isthmus("compare", "runs/fifth", "runs/first")
    assert "books" in said
    assert "toys" not in said, "which the data has no rows of"
    gate = CliRunner().invoke(app, ["gate", "runs/second", "--against", "runs/first"])
    assert "games" in gate.output, gate.output

    named = ("toys", "toys.csv", "--name", "a/b")
    assert "run name 'a/b'" in refused("domain", "add", "runs/first", *named, cwd=tmp_path)
    assert "made of, 'first'" in refused("guard", "runs/fifth", cwd=tmp_path)
    assert "already" in refused("domain", "add", "runs/second", "toys", "toys.csv", cwd=tmp_path)
    assert "no domain 'cars'" in refused("domain", "retire", "runs/first", "cars", cwd=tmp_path)
    assert "is no run" in refused("domain", "retire", "runs/none", "games", cwd=tmp_path)
