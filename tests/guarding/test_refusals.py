"""What a clumsy user is told, and the command."""

import re

import pytest
from typer.testing import CliRunner

from isthmus.cli import app
from isthmus.config import checked
from isthmus.data.prepared import Prepared
from isthmus.errors import ConfigError, DataError, IsthmusError, MismatchError
from isthmus.guarding import GuardConfig, guard, isolated_run, opened_data
from isthmus.store import DataRef, Run, Store
from tests.guarding.planted import impressions


def unfinished(pair):
    config = {**pair.joint.config, "seed": 9}
    return Store(pair.store).create("half-done", config, pair.joint.schema, pair.joint.data)


def test_an_isolated_run_has_nothing_to_guard(opposed):
    with pytest.raises(ConfigError, match="is isolated: its domains share nothing"):
        guard(opposed.isolated, opposed.isolated, opposed.prepared)
    with pytest.raises(ConfigError, match="is isolated: its domains share nothing"):
        isolated_run(opposed.isolated, opposed.prepared)


def test_an_unfinished_run_is_refused_on_either_side(opposed, tmp_path):
    pair = opposed.copy(tmp_path)
    begun = unfinished(pair)
    with pytest.raises(ConfigError, match="not finished"):
        guard(begun, pair.isolated, pair.prepared)
    with pytest.raises(ConfigError, match="unfinished; expected a finished run of scope"):
        guard(pair.joint, begun, pair.prepared)


def test_a_joint_run_is_no_isolated_one(opposed):
    with pytest.raises(ConfigError, match="is joint; expected a finished run of scope 'isolated'"):
        guard(opposed.joint, opposed.joint, opposed.prepared)


def test_rankers_and_retrievers_do_not_mix(opposed, chained):
    with pytest.raises(ConfigError, match=r"is a ranker's and .* a retriever's"):
        guard(opposed.joint, chained.isolated, opposed.prepared)
    with pytest.raises(ConfigError, match=r"is a retriever's and .* a ranker's"):
        guard(chained.joint, opposed.isolated, chained.prepared)


def test_runs_of_other_data_do_not_mix(opposed, alike):
    with pytest.raises(MismatchError, match="domains"):
        guard(opposed.joint, alike.isolated, opposed.prepared)


def test_an_unknown_domain_names_the_known_ones(opposed):
    with pytest.raises(ConfigError, match=r"no domain 'bocks' in 'opposed'; it has: .*books"):
        guard(opposed.joint, opposed.isolated, opposed.prepared, GuardConfig(domains=("bocks",)))


def test_guarding_twice_names_the_run_to_guard(opposed, tmp_path):
    pair = opposed.copy(tmp_path)
    once = guard(pair.joint, pair.isolated, pair.prepared).run
    with pytest.raises(ConfigError, match=f"guarded already; .*{re.escape(pair.joint.name)}"):
        guard(once, pair.isolated, pair.prepared)


def test_a_domain_without_a_way_says_so(chained):
    """A model of counts has no parameters, so no part of it is a domain's own."""
    with pytest.raises(ConfigError, match="no part that is this domain's alone"):
        guard(
            chained.joint,
            chained.isolated,
            chained.prepared,
            GuardConfig(domains=("chain",), ways="part"),
        )


def test_the_data_of_a_run_is_asked_for_and_checked(opposed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="say where it is with --data"):
        opened_data(opposed.joint, None)
    other = impressions(tmp_path / "other", rows=800)
    with pytest.raises(MismatchError, match="opposed"):
        opened_data(opposed.joint, other)


def command(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in ("guard", *arguments)])


def test_the_command_and_what_comes_after_it(opposed, tmp_path):
    pair = opposed.copy(tmp_path)
    done = command(pair.joint.path, "--isolated", pair.isolated.path, "--data", pair.data)
    assert done.exit_code == 0, done.output
    assert "odd" in done.stdout
    assert "1 domain is guarded" in done.stdout
    place = done.stdout.splitlines()[-1].removeprefix("run: ")
    for after in (
        ("evaluate", place),
        ("compare", place, str(pair.joint.path)),
        ("report", place),
    ):
        shown = CliRunner().invoke(app, after)
        assert shown.exit_code == 0, (after, shown.output, shown.exception)
    page = (Run.open(place).path / "report.html").read_text(encoding="utf-8")
    assert "What guarding changed" in page
    assert "## Guard" in (Run.open(place).path / "report.md").read_text(encoding="utf-8")


def test_the_command_says_that_nothing_is_guarded(alike):
    done = command(alike.joint.path, "--isolated", alike.isolated.path, "--data", alike.data)
    assert done.exit_code == 0, done.output
    assert "0 hurt" in done.stdout
    assert f"the run stays as it is: {alike.joint.path}" in done.stdout


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--domains", " , "), "names no domain"),
        (("--alpha", "1.5"), "between 0 and 1"),
        (("--domains", "nowhere"), "no domain 'nowhere'"),
    ],
)
def test_the_command_refuses_in_one_line(opposed, options, told):
    arguments = ("--isolated", opposed.isolated.path, "--data", opposed.data, *options)
    done = command(opposed.joint.path, *arguments)
    assert isinstance(done.exception, IsthmusError)
    assert told in str(done.exception)
    assert "\n" not in str(done.exception)


def test_a_reference_is_no_network(opposed, tmp_path):
    """Its trees are in no state dict."""
    config = {"model": "lightgbm", "scope": "joint", "seed": 0, "settings": {}, "train": {}}
    prepared = Prepared.open(opposed.data, verify=False)
    data = DataRef(name=prepared.manifest.name, digest=prepared.digest)
    kept = Store(tmp_path).create("trees", config, prepared.schema, data)
    kept.manifest = kept.manifest.model_copy(update={"status": "finished"})
    with pytest.raises(ConfigError, match="a reference; guarded are networks"):
        guard(kept, opposed.isolated, opposed.prepared)


def test_a_run_as_it_was_stored_can_be_configured_again(opposed):
    """What isolated_run takes from a stored run is all that its configuration needs."""
    values = {k: opposed.joint.config[k] for k in ("model", "settings", "train", "seed")}
    again = checked({"data": str(opposed.data), **values}, "test")
    assert again.identity() == opposed.joint.config
