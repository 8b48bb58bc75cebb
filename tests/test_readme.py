"""What the README tells a reader to do is done here."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.S)


@pytest.mark.slow
def test_the_python_example_runs(tmp_path, monkeypatch, capsys):
    (code,) = blocks("python")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 32
    assert float(re.search(r"DomainAUC ([.\d]+)", lines[0])[1]) > 0.7


def test_the_run_of_the_readme_is_a_valid_run(tmp_path):
    from isthmus.config import read

    (text,) = blocks("toml")
    (tmp_path / "run.toml").write_text(text, encoding="utf-8")
    run = read(tmp_path / "run.toml", ["train.lr=3e-4"])
    assert run.train.lr == pytest.approx(3e-4)


def test_every_document_that_the_readme_names_exists():
    text = README.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (README.parent / link).exists(), link


def test_every_command_of_the_readme_exists():
    from typer.main import get_command

    from isthmus.cli import app

    known = set(get_command(app).commands)
    named = {
        line.split()[1]
        for block in blocks("")
        for line in block.splitlines()
        if line.startswith("isthmus ")
    }
    assert named
    assert named <= known
