"""MLflow's own client against a store in files, and without a server."""

import os

import pytest

from isthmus.errors import ConfigError
from isthmus.experiment import run
from isthmus.store import Store
from isthmus.trackers import Tracked, get

pytest.importorskip("mlflow", reason="the extra mlflow is not installed")


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A store in files, for which MLflow wants a flag; and its client."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient

    uri = (tmp_path / "mlruns").as_uri()
    return uri, MlflowClient(uri)


def history(client, id):
    keys = client.get_run(id).data.metrics
    return {key: [(m.step, m.value) for m in client.get_metric_history(id, key)] for key in keys}


class Kill(Exception):
    pass


def test_a_run_is_there_and_goes_on_after_it_was_interrupted(config, server, tmp_path, notes):
    uri, client = server
    given = config(track={"mlflow": uri})

    def killed(state):
        if state.epochs == 2:
            raise Kill

    with pytest.raises(Kill):
        run(given, Store(tmp_path / "runs"), on_epoch=killed)
    (experiment,) = (e for e in client.search_experiments() if e.name != "Default")
    (cut,) = client.search_runs([experiment.experiment_id])
    assert cut.info.status == "KILLED"
    assert [step for step, _ in history(client, cut.info.run_id)["loss/bce"]] == [1, 2]

    kept = run(given, Store(tmp_path / "runs"), reporter=notes)
    assert not [note for note in notes.notes if note.startswith("tracker")]
    assert experiment.name == kept.data.name
    (found,) = client.search_runs([experiment.experiment_id])
    assert (found.info.run_id, found.info.status) == (cut.info.run_id, "FINISHED")
    assert found.info.run_name == kept.name
    assert found.data.params["train.lr"] == "0.001"
    assert found.data.params["model"] == "mlp"
    told = history(client, found.info.run_id)
    assert [step for step, _ in told["valid/domain_auc"]] == [1, 2, 3]
    test = kept.metrics["test"]
    assert told["final test/auc"] == [(3, pytest.approx(test.overall.auc.value))]
    assert sum(key.startswith("final test by domain/auc/") for key in told) == sum(
        one.auc is not None for one in test.by_domain.values()
    )


def test_names_of_any_domain_are_taken_and_stay_apart(server, tmp_path):
    uri, client = server
    tracker = get("mlflow", uri)(Tracked("a", tmp_path, "data", {"x": "y" * 9000}, uri))
    tracker.on_epoch(1, {"gap/Beauty & Care": 1.0, "gap/Beauty + Care": 2.0, "gap/Küche": 3.0})
    tracker.close()
    (found,) = client.search_runs([client.get_experiment_by_name("data").experiment_id])
    assert sorted(found.data.metrics.values()) == [1.0, 2.0, 3.0]
    assert found.data.params["x"].startswith("yyy")


def test_without_an_address_nothing_begins(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ConfigError, match="needs the address of a server"):
        get("mlflow")
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"]
