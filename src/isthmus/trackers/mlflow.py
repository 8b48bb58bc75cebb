"""MLflow: a run of the experiment that is named after the data, on a tracking server."""

import hashlib
import os
import re
import time
from collections.abc import Mapping
from typing import Any

from isthmus.errors import ConfigError
from isthmus.trackers.base import Tracked, Tracker

TAG = "isthmus.run"
"""By this tag an interrupted run is found again, to go on in it."""
_METRICS, _PARAMETERS, _LONGEST = 1000, 100, 6000  # what a server takes at a time, and of a value


class MLflow(Tracker):
    """Tells the server at ``where``, or that of the variable MLFLOW_TRACKING_URI.

    MLflow's own telemetry is off, unless MLFLOW_DISABLE_TELEMETRY says otherwise.
    """

    @classmethod
    def require(cls, where: str) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when it is imported
        try:
            import mlflow  # noqa: F401
        except ImportError:
            raise ConfigError(
                "the tracker mlflow needs a package that is not installed: pip install 'isthmus[mlflow]'"
            ) from None
        if not where and not os.environ.get("MLFLOW_TRACKING_URI"):
            raise ConfigError(
                "the tracker mlflow needs the address of a server: --track mlflow:http://host:5000, or "
                "the variable MLFLOW_TRACKING_URI"
            )

    def __init__(self, run: Tracked) -> None:
        from mlflow import MlflowClient

        super().__init__(run)
        self.client: Any = MlflowClient(run.where or None)
        self.id = self._entered()
        self.finished = False
        self._tell_settings()

    def on_epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        self._tell(epoch, figures)

    def on_end(self, epoch: int, figures: Mapping[str, float]) -> None:
        self._tell(epoch, figures)
        self.finished = True

    def close(self) -> None:
        self.client.set_terminated(self.id, "FINISHED" if self.finished else "KILLED")

    def _entered(self) -> str:
        """The run's id on the server: of the run that was interrupted, or of a new one."""
        known = self.client.get_experiment_by_name(self.run.data)
        experiment = known.experiment_id if known else self.client.create_experiment(self.run.data)
        settings = hashlib.sha256(repr(sorted(self.run.settings.items())).encode()).hexdigest()[:16]
        tag = f"{self.run.name} {settings}"
        found = self.client.search_runs([experiment], f"tags.`{TAG}` = '{tag}'", max_results=1)
        if found:
            self.client.update_run(found[0].info.run_id, status="RUNNING")
            return str(found[0].info.run_id)
        made = self.client.create_run(experiment, run_name=self.run.name, tags={TAG: tag})
        return str(made.info.run_id)

    def _tell_settings(self) -> None:
        from mlflow.entities import Param

        params = [Param(key(n), str(v)[:_LONGEST]) for n, v in self.run.settings.items()]
        for start in range(0, len(params), _PARAMETERS):
            self.client.log_batch(self.id, params=params[start : start + _PARAMETERS])

    def _tell(self, epoch: int, figures: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        metrics = [Metric(key(name), value, now, epoch) for name, value in figures.items()]
        for start in range(0, len(metrics), _METRICS):
            self.client.log_batch(self.id, metrics=metrics[start : start + _METRICS])


def key(name: str) -> str:
    """The name in characters that MLflow takes; others by their number, so that names stay apart."""
    return re.sub(r"[^\w.\- :/]", lambda found: f"_{ord(found[0]):x}_", name)
