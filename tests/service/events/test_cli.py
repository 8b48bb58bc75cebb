"""The commands over a store, as a user types them."""

import pytest
from typer.testing import CliRunner

from isthmus import cli
from isthmus.errors import ConfigError
from isthmus.service.events import open_events
from tests.service.events.sample import event

EVENTS = 30


def run(*arguments):
    return CliRunner().invoke(cli.app, ["events", *map(str, arguments)])


@pytest.fixture
def path(place):
    with open_events(place / "events.sqlite") as store:
        store.append([event(i) for i in range(EVENTS)], any_time=True)
    return place / "events.sqlite"


def test_dump_and_restore(path, place):
    with open_events(path):  # a server is running
        assert "dumped 30 events" in run("dump", path, place / "dump").output
    for counts in (["30", "0", "0", "0"], ["0", "30", "0", "0"]):
        done = run("restore", f"sqlite:///{place}/other", place / "dump")
        assert done.exit_code == 0
        assert done.output.split()[-4:] == counts
    assert run("dump", place / "other", place / "again").exit_code == 0
    assert (place / "dump").read_bytes() == (place / "again").read_bytes()


def test_check_and_repair(path):
    done = run("check", path)
    assert (done.exit_code, done.output) == (0, "30 events can be read\n")
    content = path.read_bytes()
    place = content.index(b"e11u2")
    path.write_bytes(content[: place + 4] + b"9" + content[place + 5 :])
    done = run("check", path)
    assert done.exit_code == 1
    assert "fault: event number 12 cannot be read" in done.output
    done = run("repair", path)
    assert done.exit_code == 0
    assert "29 events can be read" in done.output
    assert "the damaged file lies at" in done.output
    assert run("check", path).exit_code == 0


def test_export(path, place):
    done = run("export", path, place / "rows.parquet", "--task", "ranking")
    assert "exported 30 events" in done.output
    assert (place / "rows.parquet").is_file()
    assert 'files = ["rows.parquet"]' in (place / "rows.toml").read_text()


def test_a_redis_server_checks_itself():
    assert isinstance(run("check", "redis://127.0.0.1:1/0").exception, ConfigError)
