"""One cell after another in this process: for debugging, and where Ray is too much."""

from collections.abc import Sequence

from harness.backends.base import BackendOptions, Listener
from harness.cells import run_cell
from harness.plan import Plan
from harness.rungs import next_wave
from harness.store import PlannedCell


def run(plan: Plan, cells: Sequence[PlannedCell], listener: Listener, options: BackendOptions) -> None:
    """Run the cells in order."""
    del options
    while cells:
        for cell in cells:
            listener.started(cell)
            listener.finished(run_cell(plan, cell))
        cells = next_wave(plan, cells)
