"""Running one stage of a pick: its banks, then its one cell, if that has not been done."""

from collections.abc import Callable
from pathlib import Path

from harness.data.healing import heal_banks
from harness.run.execute import prepare, run_missing
from harness.run.lock import RunLock
from harness.run.picking import Ran
from harness.run.records import CellRecord
from harness.run.store import RunStore
from harness.storage.places import is_url
from harness.sweep.config import Sweep
from harness.sweep.plan import Plan
from harness.sweep.planned import PlannedCell
from harness.sweep.resolve import ResolvedSweep


class Unheard:
    """Listens to cells and says nothing."""

    def started(self, cell: PlannedCell) -> None:
        """Nothing to say."""

    def finished(self, record: CellRecord) -> None:
        """Nothing to say."""


def run_stage(
    plan: Plan,
    extract: Callable[[ResolvedSweep], object],
    *,
    backend: str,
    address: str | None = None,
    told: Callable[[str], object] | None = None,
) -> Ran:
    """Embed what the stage needs, run its cell if it has not been run, and read what it came to.

    Args:
        plan: The stage's.
        extract: Makes the banks that are not there.
        backend: What runs the cell.
        address: Ray cluster to join.
        told: Hears of what an earlier sweep left: a stale lock, damaged files that are made again; a line each.

    Raises:
        LockHeld: Somebody else runs the stage.
    """
    store = RunStore(plan.sweep.run_place)
    with RunLock(store.blobs) as lock:
        damaged = heal_banks(plan.resolved.banks.values())
        todo = prepare(plan, store, extract, lock=lock)
        for line in (*damaged, *todo.healed):
            if told is not None:
                told(line)
        if todo.cells:
            run_missing(plan, store, todo, Unheard(), backend=backend, address=address, lock=lock)
    (cell,) = plan.cells
    return Ran(store.record(cell.key), store.manifest().elapsed_s or 0.0)


def model_folder(sweep: Sweep, run: str) -> Path:
    """Where the model of a pick is written unless somebody says: below the storage, or here if that is a bucket.

    Args:
        sweep: What was picked from.
        run: The run of the last stage.
    """
    storage = Path() if is_url(sweep.storage) else Path(sweep.storage_place) / f"{sweep.name}-pick"
    return (storage / "models" / run).absolute()
