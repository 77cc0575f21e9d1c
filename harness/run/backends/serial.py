"""One cell after another in this process: for debugging, and where Ray is too much."""

from collections.abc import Sequence

from harness.run.attempts import attempted
from harness.run.backends.base import Backend, BackendOptions, Listener
from harness.run.cell import run_cell
from harness.run.interrupts import interrupted, stoppable
from harness.run.stopping import next_wave
from harness.run.store import RunStore
from harness.sweep.plan import Plan
from harness.sweep.planned import PlannedCell


class Serial(Backend):
    """Runs cells in order."""

    def run(
        self, plan: Plan, store: RunStore, cells: Sequence[PlannedCell], listener: Listener, options: BackendOptions
    ) -> None:
        """Run the cells in order, those last that an earlier sweep did not get through: one may end the process."""
        del options
        unsure = attempted(store)
        cells = sorted(cells, key=lambda cell: cell.key in unsure)
        with stoppable():
            while cells:
                for cell in cells:
                    if interrupted():
                        raise KeyboardInterrupt
                    listener.started(cell)
                    listener.finished(run_cell(plan, store, cell))
                cells = next_wave(plan, store, cells)
