"""Weights & Biases: a run for each cell, grouped by the sweep's name. Offline unless ``WANDB_MODE`` says otherwise."""

import importlib
import os
from pathlib import Path
from typing import Any, ClassVar

from harness.run.trackers.base import TrackedCell


class WeightsAndBiases:
    """``wandb sync FOLDER/wandb/offline-run-*`` sends what was written. The project is ``WANDB_PROJECT``, else harness.

    Args:
        folder: Where offline runs go.
    """

    package: ClassVar[str] = "wandb"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, cell: TrackedCell) -> None:
        """The curve step by step, and the final numbers as summary."""
        wandb: Any = importlib.import_module("wandb")
        self._folder.mkdir(parents=True, exist_ok=True)
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "harness"),
            mode=os.environ.get("WANDB_MODE", "offline"),
            id=f"{cell.key[:16]}",
            name=cell.name,
            group=cell.run,
            dir=str(self._folder),
            config=dict(cell.config),
            reinit="finish_previous",
            settings=wandb.Settings(silent=True, console="off"),
        )
        for point in cell.curve:
            run.log(dict(point.values), step=point.step)
        run.summary.update({**cell.summary, "status": cell.status, "error": cell.error})
        run.finish(exit_code=0 if cell.status in ("done", "skipped") else 1)
