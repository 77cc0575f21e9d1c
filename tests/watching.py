"""A listener of backends, for tests: it keeps what it is told, and may interrupt."""

from harness.run.records import CellRecord
from harness.sweep.planned import PlannedCell


class Watcher:
    """Keeps what began and what ended; stops the sweep, as Ctrl-C would, after so many cells.

    Args:
        stop_after: Cells after whose end the sweep is stopped; None: it is not.
    """

    def __init__(self, stop_after: int | None = None) -> None:
        self.events: list[tuple[str, str]] = []
        self.ended: list[CellRecord] = []
        self.stop_after = stop_after

    def started(self, cell: PlannedCell) -> None:
        self.events.append(("started", cell.key))

    def finished(self, record: CellRecord) -> None:
        self.events.append(("finished", record.key))
        self.ended.append(record)
        if len(self.ended) == self.stop_after:
            raise KeyboardInterrupt

    @property
    def begun(self) -> list[str]:
        """Keys of the cells that were started, in order."""
        return [key for event, key in self.events if event == "started"]

    @property
    def ran(self) -> list[str]:
        """Keys of the cells that ended, in order."""
        return [record.key for record in self.ended]
