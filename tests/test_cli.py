"""The command line as a user meets it: what it prints, its exit codes, one-line errors."""

import io
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from unittest.mock import patch

import pytest
from typer.testing import CliRunner

from isthmus import models
from isthmus.cli import app, main
from tests import shop


def isthmus(*arguments, cwd=None):
    """What a command does in a process of its own, as a user starts it."""
    return subprocess.run(
        [sys.executable, "-m", "isthmus.cli", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def called(*arguments, cwd="."):
    """The same in this process, where torch is loaded already; a traceback fails the test."""
    out, errors = io.StringIO(), io.StringIO()
    with (
        chdir(cwd),
        redirect_stdout(out),
        redirect_stderr(errors),
        patch.object(sys, "argv", ["isthmus", *map(str, arguments)]),
        pytest.raises(SystemExit) as end,
    ):
        main()
    return subprocess.CompletedProcess(
        arguments, end.value.code or 0, out.getvalue(), errors.getvalue()
    )


def refused(*arguments, cwd="."):
    """What a clumsy user gets: exit code 2, one line on standard error, no traceback."""
    done = called(*arguments, cwd=cwd)
    assert done.returncode == 2, done
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_models_lists_every_model_with_its_paper():
    out = CliRunner().invoke(app, ["models"]).output
    for name in models.names():
        assert name in out


def test_models_shows_the_settings_of_one():
    out = CliRunner().invoke(app, ["models", "aread"]).output
    assert "settings.search.density" in out
    assert "settings.experts" in out


def test_sources_lists_what_prepare_reads():
    out = CliRunner().invoke(app, ["sources"]).output
    for name in ("amazon_reviews", "aliccp", "complete_journey", "epinions", "synthetic"):
        assert name in out


def test_an_unknown_model_names_the_known_ones():
    line = refused("models", "areadd")
    assert "areadd" in line
    assert "aread" in line.replace("areadd", "")


@pytest.mark.parametrize(
    ("toml", "change", "told"),
    [
        ('data = "x"\nmodle = "aread"', (), "modle"),
        ('data = "x"\n[settings]\nexpert = 3', (), "expert"),
        ('data = "x"\n[train]\nlr = "fast"', (), "train.lr"),
        ('data = "x"', ("--set", "train.lr"), "dotted.key=value"),
        ('data = "x"', ("--set", "settings.search.density=2"), "density"),
        ("data = ", (), "not valid TOML"),
        ('data = "nowhere"', (), "no prepared data set"),
    ],
)
def test_a_wrong_run_is_one_line(tmp_path, toml, change, told):
    (tmp_path / "run.toml").write_text(toml, encoding="utf-8")
    assert told in refused("train", tmp_path / "run.toml", *change, cwd=tmp_path)


def test_missing_files_are_one_line(tmp_path):
    done = isthmus("train", tmp_path / "run.toml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"isthmus: {tmp_path / 'run.toml'}: No such file")
    assert len(done.stderr.splitlines()) == 1
    assert "run.json" in refused("evaluate", tmp_path)
    assert "nothing.toml" in refused("prepare", tmp_path / "nothing.toml")
    assert "unknown source" in refused("prepare", "--source", "nowhere")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("share", "run.toml", "--out", "r.md"), "such as r.html"),
        (("share", "run.toml", "--out", "."), "is a directory"),
        (("share", "run.toml", "--transfer", "none.json"), "No such file"),
        (("share", "run.toml", "--set", "scope=isolated"), "expected 'joint' or 'mamdr'"),
        (("transfer", "run.toml", "--out", "map.json"), "such as map.html"),
    ],
)
def test_what_would_fail_after_training_is_refused_before(tmp_path, arguments, told):
    (tmp_path / "run.toml").write_text('data = "none"\nmodel = "mlp"\n', encoding="utf-8")
    assert told in refused(*arguments, cwd=tmp_path)


def test_the_whole_way_on_own_rows(tmp_path):
    """prepare, train, evaluate, compare, report, share: on a CSV of one's own, as a user would."""
    _write_shop(tmp_path)
    done = isthmus("prepare", "shop.toml", "--out", "prepared", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (tmp_path / "run.toml").write_text(
        'data = "prepared"\nmodel = "mlp"\n[settings]\nhidden = [16, 8]\n'
        "[train]\nbatch_size = 128\nmax_epochs = 2\n",
        encoding="utf-8",
    )
    for name, seed in (("a", 0), ("b", 1)):
        done = called(
            "train", "run.toml", "--set", f"seed={seed}", "--set", f"name={name}", cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
    again = isthmus("train", "run.toml", "--set", "name=a", cwd=tmp_path)
    assert "finished before" in again.stderr
    other = refused("train", "run.toml", "--set", "name=a", "--set", "train.lr=1e-2", cwd=tmp_path)
    assert "train.lr" in other
    for command in (("evaluate", "runs/a"), ("compare", "runs/a", "runs/b"), ("report", "runs/a")):
        done = called(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "books" in done.stdout or command[0] == "report"
    assert (tmp_path / "runs/a/report.html").stat().st_size > 100_000
    done = called("share", "run.toml", "--set", "share.workers=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for domain in ("books", "games", "tools"):
        assert domain in done.stdout
    assert (tmp_path / "runs/report.html").exists()


def _write_shop(folder):
    """Three domains, 60 users, 30 items."""
    lines = ["who,what,where,when,liked"]
    for i, user, item, domain, liked in shop.visits(3000, items=30):
        lines.append(f"u{user},i{item},{shop.DOMAINS[domain]},{i * 60},{liked}")
    shop.write(folder, lines, shop.preparation())
