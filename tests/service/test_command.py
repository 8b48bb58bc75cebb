"""isthmus pack and recommend: equal to the API, and clear to clumsy users."""

import json
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from isthmus.cli import app
from isthmus.errors import IsthmusError
from isthmus.service import Event, Pipeline, Request


@pytest.fixture
def runs(pair):
    return [str(pair["sasrec"].path), str(pair["aread"].path)]


def told(*words):
    """What the command says; its error, where there is one."""
    done = CliRunner().invoke(app, ["recommend", *map(str, words)])
    if isinstance(done.exception, IsthmusError):
        return str(done.exception)
    return done.output


def test_one_user_as_a_table(runs, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    said = told(*runs, "--user", "7", "--domain", "s1", "--domain", "mars", "-k", "30", "--explain")
    reply = Pipeline.load(runs).recommend(Request(user="7", domains=("s1",), k=30))
    for one in reply.items:
        assert f"{one.score:.4f}" in said
    assert "unknown domains: mars" in said
    assert "30 items asked for; the asked domains hold 20" in said
    assert "fallback: popularity" in told(*runs, "--user", "nobody")
    asked = tmp_path / "new.jsonl"
    asked.write_text('{"user": "nobody", "item": "5", "domain": "s1"}')
    assert "misplaced items: 5\n" in told(*runs, "--user", "nobody", "--history", asked)


def test_a_file_of_users_as_jsonl_and_parquet(runs, tmp_path):
    """Equal ids and scores to the API's, and the same bytes each time."""
    (tmp_path / "users.txt").write_text("7\n\n0\nnobody\n")
    (tmp_path / "new.jsonl").write_text(
        '{"user": 7, "item": 5, "time": 310}\n{"user": "nobody", "item": "9", "domain": "s0"}\n'
    )
    common = [*runs, "--users", tmp_path / "users.txt", "--domain", "s2", "-k", 4]
    common += ["--history", tmp_path / "new.jsonl", "--context", "hour=3", "--exclude-seen"]
    for name in ("a.jsonl", "b.jsonl", "c.parquet"):
        assert "3 replies" in told(*common, "--out", tmp_path / name)
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    rows = pq.read_table(tmp_path / "c.parquet").to_pylist()
    pipeline = Pipeline.load(runs)
    fresh = {"7": (Event("5", "", 310),), "nobody": (Event("9", "s0", 2.0),)}
    for user, line in zip(("7", "0", "nobody"), lines, strict=True):
        request = Request(
            user=user,
            domains=("s2",),
            k=4,
            history=fresh.get(user, ()),
            context={"hour": "3"},
            exclude_seen=True,
        )
        reply = pipeline.recommend(request)
        assert line["user"] == user
        assert line["version"] == reply.version
        assert [(i["item"], i["score"]) for i in line["items"]] == [
            (one.item, one.score) for one in reply.items
        ]
        own = [row for row in rows if row["user"] == user]
        assert [(row["item"], row["score"], row["rank"]) for row in own] == [
            (one.item, one.score, one.rank) for one in reply.items
        ]


def test_a_file_of_requests_wins_over_the_options(runs, tmp_path):
    asked = tmp_path / "asked.jsonl"
    asked.write_text('{"user": "7", "k": 2}\n{"history": [{"item": 5}], "domains": ["s0"]}\n')
    told(*runs, "--users", asked, "--domain", "s1", "-k", 3, "--out", tmp_path / "out.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [[i["domain"] for i in line["items"]] for line in lines] == [["s1"] * 2, ["s0"] * 3]
    pq.write_table(pa.table({"user": ["7"], "k": [2]}), tmp_path / "asked.parquet")
    said = json.loads(told(*runs, "--users", tmp_path / "asked.parquet", "--domain", "s1"))
    assert {**said, "user": "7"} == lines[0]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"user": "7"', "line 1 is not JSON"),
        ('{"user": "7"}\n{"usr": "8"}', "request 2: unknown key 'usr'"),
        ('{"user": "7", "k": 0}', "request 1: k"),
        ("[1]", "request 1: expected a JSON object"),
    ],
)
def test_requests_that_are_none(runs, tmp_path, content, expected):
    (tmp_path / "asked.jsonl").write_text(content)
    assert expected in told(*runs, "--users", tmp_path / "asked.jsonl")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "give either --user ID or --users FILE"),
        (["--user", "7", "--users", "x"], "give either --user ID or --users FILE"),
        (["--users", "missing.txt"], "missing.txt: cannot be read"),
        (["--user", "7", "--out", "x.csv"], "expected a name that ends in .jsonl or .parquet"),
        (["--user", "7", "--history", "x.csv"], "expected a name that ends in .jsonl or .parquet"),
        (["--user", "7", "--history", "no.jsonl"], "no.jsonl: cannot be read"),
        (["--user", "7", "--context", "hour"], "expected name=value"),
        (["--user", ""], "the options: user"),
    ],
)
def test_clumsy_options(runs, options, expected):
    assert expected in told(*runs, *options)


def test_an_event_that_is_none(runs, tmp_path):
    (tmp_path / "new.jsonl").write_text('{"user": "7", "item": "5"}\n{"user": "7"}\n')
    assert "event 2: item" in told(*runs, "--user", "7", "--history", tmp_path / "new.jsonl")


def test_no_run_there_is_one_line_and_exit_code_2(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "isthmus.cli", "recommend", "nowhere", "--user", "7"],
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("isthmus: nowhere is no run")
    assert "Traceback" not in done.stderr


def test_pack(pair, tmp_path):
    done = CliRunner().invoke(
        app, ["pack", str(pair["sasrec"].path), "--data", str(pair["events"].path)]
    )
    assert done.exit_code == 0, done.output
    wrong = CliRunner().invoke(
        app, ["pack", str(pair["sasrec"].path), "--data", str(pair["rows"].path)]
    )
    assert "another schema" in str(wrong.exception)
