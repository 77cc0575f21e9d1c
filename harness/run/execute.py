"""Running a plan: banks first, then every cell that the store lacks, on a backend."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from harness.errors import Damaged
from harness.run.attempts import drop_checkpoints, retire
from harness.run.backends.base import BackendOptions, Listener, backend_for
from harness.run.banks import check_same_weights, check_unchanged
from harness.run.healing import healed_cells, healed_manifest
from harness.run.lock import RunLock
from harness.run.manifest import make_manifest
from harness.run.records import CellRecord, Manifest
from harness.run.replanned import check_same_plan
from harness.run.stopping import missing, record_skipped
from harness.run.store import RunStore
from harness.sweep.estimates import check
from harness.sweep.plan import Plan
from harness.sweep.planned import PlannedCell
from harness.sweep.resolve import ResolvedSweep


@dataclass(frozen=True)
class Todo:
    """What a run lacks.

    Attributes:
        cells: Cells to run now.
        done: Cells that are done already.
        manifest: The plan as stored.
        before: The plan that was stored before; None for a new run.
        changes: What is different between the two, a line each.
        healed: What an earlier sweep left: a lock, damaged files that have been set aside; a line each.
        started: When the preparation began, by the monotonic clock.
    """

    cells: list[PlannedCell]
    done: int
    manifest: Manifest
    before: Manifest | None
    changes: list[str]
    healed: list[str]
    started: float


def prepare(
    plan: Plan,
    store: RunStore,
    extract: Callable[[ResolvedSweep], object],
    labels: Collection[str] | None = None,
    *,
    lock: RunLock | None = None,
    by_content: bool = False,
) -> Todo:
    """Embed what is missing, set aside what is damaged, store the plan, and say what is left to run.

    Args:
        plan: The plan.
        store: Its run.
        extract: Makes the banks that are not there.
        labels: Run only the cells of these methods; None: all.
        lock: The run's lock, which is taken before anything is written into the run.
        by_content: Compare the content of connectors too.

    Raises:
        HarnessError: Something would stop the cells, finished cells would be dropped by another plan, or a bank has
            changed since finished cells were made from it.
        LockHeld: Another sweep of the run is going on.
    """
    started = time.monotonic()
    check(plan)
    check_same_plan(_manifest_before(store), plan, store)
    extract(plan.resolved)
    check_same_weights(plan)
    healed: list[str] = []
    if lock is not None:
        lock.acquire()
        if lock.taken_over:
            healed.append(f"took over the lock of {lock.taken_over}: it has ended")
    healed += healed_manifest(store) if store.planned() else []
    before = _manifest_before(store)
    changes = check_same_plan(before, plan, store)  # again: another sweep may have ended while this one embedded
    manifest = make_manifest(plan)
    healed += healed_cells(plan, store, by_content=by_content)
    check_unchanged(manifest, store)
    manifest = manifest.model_copy(update={"elapsed_s": before.elapsed_s or 0.0 if before else 0.0})
    store.write_manifest(manifest)
    store.blobs.tidy()
    record_skipped(plan, store)
    lacking = missing(plan, store)
    finished = store.finished(plan.by_key) - {cell.key for cell in lacking}
    drop_checkpoints(store, finished)
    cells = [cell for cell in lacking if labels is None or cell.label in labels]
    return Todo(cells, len(finished), manifest, before, changes, healed, started)


def _manifest_before(store: RunStore) -> Manifest | None:
    """The plan that is stored; None in a new run, or where it is damaged."""
    try:
        return store.manifest() if store.planned() else None
    except Damaged:
        return None


def run_missing(
    plan: Plan,
    store: RunStore,
    todo: Todo,
    listener: Listener,
    *,
    backend: str,
    address: str | None = None,
    lock: RunLock | None = None,
) -> None:
    """Run the cells on a backend. What finishes is stored at once, and so is the elapsed time, whatever happens.

    The elapsed time counts from the beginning of ``prepare``.

    Args:
        plan: The plan.
        store: Its run.
        todo: What ``prepare`` found.
        listener: Hears what happens to cells.
        backend: ``serial`` or ``ray``.
        address: Ray cluster to join.
        lock: The run's lock, if this process holds it.

    Raises:
        StorageFailed: Cells cannot be written.
        LockHeld: The lock was taken over.
    """
    runner = backend_for(backend, plan, {cell.label for cell in todo.cells})
    for cell in todo.cells:
        retire(store, cell.key)  # what a failed attempt left must not be taken for the new one's
    try:
        heard = _Locked(listener, lock) if lock else listener
        runner.run(plan, store, todo.cells, heard, BackendOptions(address=address))
    finally:
        spent = (todo.manifest.elapsed_s or 0.0) + time.monotonic() - todo.started
        if store.planned():
            store.write_manifest(todo.manifest.model_copy(update={"elapsed_s": spent}))


class _Locked:
    """A listener that stops a sweep whose lock was taken over.

    Args:
        listener: Is told what happens.
        lock: The lock.
    """

    def __init__(self, listener: Listener, lock: RunLock) -> None:
        self._listener, self._lock = listener, lock

    def started(self, cell: PlannedCell) -> None:
        """A cell began to run."""
        self._lock.check()
        self._listener.started(cell)

    def finished(self, record: CellRecord) -> None:
        """A cell's record is on disk."""
        self._listener.finished(record)
