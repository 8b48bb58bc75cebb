"""What the page "Add a model" tells a reader to do is done here, in a folder of its own."""

import importlib
import re
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from typer.testing import CliRunner

from isthmus import models
from isthmus.bench import read_rows
from isthmus.cli import app
from isthmus.contract import CHECKS
from isthmus.data.prepare import prepare
from isthmus.data.sources import get
from isthmus.experiment import load_model
from isthmus.store import Run
from isthmus.testing import toy_impressions, toy_schema

PAGE = Path(__file__).parents[1] / "docs" / "add-a-model.md"


def files():
    """The page's blocks of code that begin with a file's name."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.findall(r"```(?:python|toml)\n# (\S+)\n(.*?)```", text, re.S)
    return dict(found)


def commands():
    text = "\n".join(re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S))
    lines = (line.partition("#")[0].split() for line in text.splitlines())
    return [words[1:] for words in lines if words[:1] == ["isthmus"]]


@pytest.fixture
def folder(own_models):
    """What the reader has after the page's first steps."""
    for name, text in files().items():
        (own_models / name).write_text(text, encoding="utf-8")
    importlib.invalidate_caches()
    return own_models


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    made = tmp_path_factory.mktemp("data")
    source = get("synthetic")(made / "raw", rows=2000, domains=6, clusters=2, seed=3)
    return prepare(source, made / "prepared").path


def test_the_page_has_the_files_it_speaks_of():
    assert list(files()) == ["mlora.py", "test_mlora.py", "run.toml", "mine.toml"]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_model_honours_the_contract(folder, check):
    """By the page's own test."""
    scope = {}
    exec(compile((folder / "test_mlora.py").read_text(), "test_mlora.py", "exec"), scope)
    assert [mark.args for mark in scope["test_mlora"].pytestmark] == [("check", CHECKS)]
    scope["test_mlora"](check)


def test_the_model_is_what_the_page_says(folder):
    """Row by row: x (W + down_d up_d), a bias of the domain's, batch norm, ReLU."""
    kind = models.get("mlora:MLoRA")
    torch.manual_seed(0)
    model = kind(kind.Config(hidden=(6, 5), embedding_dim=3, rank=2), toy_schema()).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
        batch = toy_impressions(model.schema, 40)
        batch.domain[:5] = 0
        row_BI = model.embed(batch)
        for x_I, domain, found in zip(row_BI, batch.domain, model(batch), strict=True):
            for linear, own, norm in zip(
                model.mlp.linears, model.own, model.mlp.norms, strict=True
            ):
                weight_IO = linear.weight.T + own.down.weight[domain] @ own.up.weight[domain]
                bias_O = own.down.bias[domain] @ own.up.weight[domain] + own.up.bias[domain]
                x_I = F.relu(norm((x_I @ weight_IO + bias_O)[None])[0])
            torch.testing.assert_close(found, model.out(x_I)[0], rtol=1e-4, atol=1e-5)


def test_the_checks_are_those_of_the_table():
    rows = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.M)
    assert rows == [check.__name__ for check in CHECKS]


def test_the_commands_of_the_page_give_what_it_says(folder, data):
    """With small layers and few epochs; two processes at a time, which find the model too."""
    changes = {
        "run.toml": {"lr = 1e-3": "lr = 1e-3\nmax_epochs = 1"},
        "mine.toml": {"label =": "settings = {hidden = [8]}\nlabel ="},
    }
    for name, own in changes.items():
        text = (folder / name).read_text()
        for old, new in {**own, '"demo/prepared"': f'"{data}"'}.items():
            assert old in text
            text = text.replace(old, new)
        (folder / name).write_text(text)
    shown, trained, measured, told = (run(*words) for words in commands())
    assert "settings.rank" in shown
    model = load_model(Run.open(trained.splitlines()[-1].removeprefix("run: ")))
    assert type(model).__name__ == "MLoRA"
    assert re.search(r"^\| MLoRA\b", measured, re.M)
    rows = read_rows(folder / "results" / "mine.csv")
    assert [row["model"] for row in rows] == ["mlp"] * 2 + ["mlora:MLoRA"] * 2
    assert all(float(row["train_rows_per_cpu_s"]) > 0 for row in rows)
    assert all(Path(line).exists() for line in told.splitlines())


def run(*words):
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output
