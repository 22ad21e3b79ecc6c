"""MLflow: a tracking server, or a local store."""

import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from limbeck.recipes.tracker_settings import MlflowSettings
from limbeck.reporting import quiet_loggers
from limbeck.runs.trackers.tracker import Row, Tracked, Tracker, finals, points

# Without these MLflow reports its use over the network, prints addresses, and waits minutes for a server that is gone.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
# What MLflow takes in one request, and of one value.
_MOST_PARAMETERS, _LONGEST_VALUE = 100, 500
_SQLITE = "sqlite:///"


class MLflow(Tracker):
    """A run of an experiment of MLflow; see :class:`Tracker`.

    Raises:
        Exception: If the run cannot be opened there, of MLflow's own kinds.
    """

    def __init__(self, settings: MlflowSettings, tracked: Tracked, id: str | None = None) -> None:
        self._client = client(settings.uri or local_store(tracked.folder))
        if id is None:
            experiment = experiment_id(self._client, settings)
            run = self._client.create_run(experiment, run_name=tracked.name, tags={"group": tracked.group})
            self._parameters(run.info.run_id, tracked.settings)
        else:
            run = self._client.get_run(id)
            self._client.update_run(id, status="RUNNING")
        self.id: str = run.info.run_id

    def _parameters(self, run: str, settings: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        parameters = [Param(_key(key), str(value)[:_LONGEST_VALUE]) for key, value in settings.items()]
        for first in range(0, len(parameters), _MOST_PARAMETERS):
            self._client.log_batch(run, params=parameters[first : first + _MOST_PARAMETERS])

    def curves(self, rows: Sequence[Row]) -> None:
        """Add rows of ``metrics.csv``."""
        for row in rows:
            self._metrics(points(row), int(row["epoch"]))

    def _metrics(self, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self.id, metrics=[Metric(_key(key), value, now, step) for key, value in values.items()])

    def summary(self, summary: Mapping[str, Any]) -> None:
        """Set what ``summary.json`` holds: its numbers as metrics, the whole as a file."""
        self._metrics(finals(summary), int(summary["epoch"]))
        self._client.log_text(self.id, json.dumps(dict(summary), indent=2), "summary.json")

    def table(self, rows: Sequence[Mapping[str, str]], markdown: str) -> None:
        """Set the table of a comparison: as ``table.md``, and its cells as ``table.json``."""
        self._client.log_text(self.id, markdown, "table.md")
        self._client.log_text(self.id, json.dumps([dict(row) for row in rows], indent=2), "table.json")

    def close(self, *, complete: bool) -> None:
        """End the run there."""
        self._client.set_terminated(self.id, status="FINISHED" if complete else "FAILED")


def local_store(folder: Path) -> str:
    """Return the address of the store in a folder, unless the environment names another.

    Example:
        >>> local_store(Path("/data/runs/kd"))
        'sqlite:////data/runs/kd/mlflow.db'
    """
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}{(folder / 'mlflow.db').resolve()}"


def client(uri: str) -> Any:
    """Connect to a server or a store, which is made where it is a file that is not there."""
    for key, value in _ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    from mlflow import MlflowClient

    # Lines about the tables that it makes.
    with quiet_loggers("mlflow"):
        return MlflowClient(tracking_uri=uri)


def experiment_id(client: Any, settings: MlflowSettings) -> str:
    """Return the identifier of the experiment, which is made if there is none."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(settings.experiment)
    if found is None:
        try:
            return str(client.create_experiment(settings.experiment, _artifacts(client.tracking_uri)))
        except MlflowException:
            # Another run has made it meanwhile.
            found = client.get_experiment_by_name(settings.experiment)
            if found is None:
                raise
    return str(found.experiment_id)


def _artifacts(uri: str) -> str | None:
    """Return where files go: beside a local store, for MLflow would take the working folder."""
    if not uri.startswith(_SQLITE):
        return None
    return (Path(uri.removeprefix(_SQLITE)).resolve().parent / "mlartifacts").as_uri()


def _key(name: str) -> str:
    return re.sub(r"[^\w\-. :/]", "-", name)
