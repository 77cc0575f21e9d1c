"""Event files that TensorBoard reads: ``tensorboard --logdir runs/NAME/trackers/tensorboard``."""

import re
from pathlib import Path
from typing import ClassVar

from harness.run.trackers.base import TrackedCell


class TensorBoard:
    """One folder of events for each cell. Written by tensorboardX, which Ray brings.

    Args:
        folder: Where the events go.
    """

    package: ClassVar[str] = "tensorboardX"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, cell: TrackedCell) -> None:
        """The curve as scalars, the final numbers at its last step, and what was run as text."""
        from tensorboardX import SummaryWriter

        # Its start of the key keeps two pairs apart whose names differ in marks only.
        name = f"{re.sub(r'[^A-Za-z0-9._-]+', '_', cell.name)}-{cell.key[:8]}"
        with SummaryWriter(str(self._folder / name)) as writer:
            for point in cell.curve:
                for tag, value in point.values.items():
                    writer.add_scalar(tag, value, point.step)
            last = cell.curve[-1].step if cell.curve else 0
            for tag, value in cell.summary.items():
                writer.add_scalar(tag, value, last)
            facts = {**cell.config, "run": cell.run, "status": cell.status, "error": cell.error, "key": cell.key}
            writer.add_text("cell", "\n".join(f"- {name}: {value}" for name, value in facts.items() if value != ""))
