"""``isthmus diagnose`` as a user meets it: what it prints, how it exits."""

import json

import pytest
from typer.testing import CliRunner

from isthmus.cli import app
from isthmus.diagnosis import Diagnosis


def called(*arguments):
    return CliRunner().invoke(app, ["diagnose", *map(str, arguments)])


def test_findings_are_printed_with_figures_and_remedy(shop, runs):
    done = called(runs["mmoe-0"].path, "--root", shop.path.parent)
    assert done.exit_code == 0, done.output
    assert "ISTH104   warning: A feature foretells the label in one domain" in done.output
    assert "'flag' alone ranks the training rows of 1 of 3 domains: games" in done.output
    assert "docs/diagnosis.md#isth104" in done.output
    assert "0 errors" in done.output
    assert "not applicable:" not in done.output


def test_all_says_what_was_not_applicable(shop, runs):
    done = called(runs["mmoe-0"].path, "--root", shop.path.parent, "--all")
    assert "not applicable: the model has no masks" in done.output
    assert "nothing found: ISTH101" in done.output


@pytest.mark.parametrize(
    ("line", "code"), [("error", 0), ("warning", 1), ("note", 1), ("never", 0)]
)
def test_the_exit_code_follows_the_line(shop, runs, line, code):
    where = (runs["mmoe-0"].path, "--root", shop.path.parent, "--only", "ISTH104")
    assert called(*where, "--fail-on", line).exit_code == code


def test_json_reads_back(shop, runs):
    where = (runs["mmoe-0"].path, runs["aread"].path, "--root", shop.path.parent)
    both = json.loads(called(*where, "--json").stdout)
    names = [Diagnosis.model_validate(one).run for one in both]
    assert names == [runs["mmoe-0"].name, runs["aread"].name]


def test_markdown_is_one_table_a_run(shop, runs):
    out = called(runs["mmoe-0"].path, "--root", shop.path.parent, "--markdown", "--all").output
    assert "| warning | ISTH104 | A feature foretells the label in one domain |" in out
    assert "| ISTH501 | No domain uses an expert | the model has no masks |" in out


@pytest.mark.parametrize(
    ("extra", "told"),
    [(("--only", "ISTH000"), "ISTH000"), (("--json", "--markdown"), "choose one")],
)
def test_what_makes_no_sense_is_refused(runs, extra, told):
    done = called(runs["mmoe-0"].path, *extra)
    assert done.exit_code != 0
    assert told in str(done.exception)


def test_no_run_is_refused(tmp_path):
    assert "run.json" in str(called(tmp_path).exception)
