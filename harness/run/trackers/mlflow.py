"""MLflow: one run for each cell, in an experiment of the sweep's name."""

import importlib
import os
from pathlib import Path
from typing import Any, ClassVar

from harness.run.trackers.base import TrackedCell


class MLflow:
    """Written to ``MLFLOW_TRACKING_URI``, else to a database file in the folder.

    Args:
        folder: Where ``mlflow.db`` goes.
    """

    package: ClassVar[str] = "mlflow"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, cell: TrackedCell) -> None:
        """The curve as metrics with steps, the final numbers as metrics, what was run as parameters."""
        mlflow: Any = importlib.import_module("mlflow")
        self._folder.mkdir(parents=True, exist_ok=True)
        client = mlflow.MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self._folder / 'mlflow.db'}")
        experiment = client.get_experiment_by_name(cell.run)
        number = experiment.experiment_id if experiment else client.create_experiment(cell.run)
        tags = {"cell": cell.key, "status": cell.status, "error": cell.error}
        run = client.create_run(number, run_name=cell.name, tags=tags).info.run_id
        for name, value in cell.config.items():
            client.log_param(run, name, value)
        for point in cell.curve:
            for name, value in point.values.items():
                client.log_metric(run, allowed(name), value, step=point.step)
        for name, value in cell.summary.items():
            client.log_metric(run, allowed(name), value)
        client.set_terminated(run, "FINISHED" if cell.status in ("done", "skipped") else "FAILED")


def allowed(name: str) -> str:
    """A name with the marks that MLflow takes."""
    return "".join(mark if mark.isalnum() or mark in "_-./ " else "_" for mark in name)
