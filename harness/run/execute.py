"""Running a plan: banks first, then every cell that the store lacks, on a backend."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from harness.run.attempts import retire
from harness.run.backends.base import BackendOptions, Listener, backend_for
from harness.run.banks import check_same_weights, check_unchanged
from harness.run.manifest import make_manifest
from harness.run.records import Manifest
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
        started: When the preparation began, by the monotonic clock.
    """

    cells: list[PlannedCell]
    done: int
    manifest: Manifest
    before: Manifest | None
    changes: list[str]
    started: float


def prepare(
    plan: Plan, store: RunStore, extract: Callable[[ResolvedSweep], object], labels: Collection[str] | None = None
) -> Todo:
    """Embed what is missing, store the plan, and say what is left to run.

    Args:
        plan: The plan.
        store: Its run.
        extract: Makes the banks that are not there.
        labels: Run only the cells of these methods; None: all.

    Raises:
        HarnessError: Something would stop the cells, finished cells would be dropped by another plan, or a bank has
            changed since finished cells were made from it.
    """
    started = time.monotonic()
    check(plan)
    before = store.manifest() if store.planned() else None
    changes = check_same_plan(before, plan, store)
    extract(plan.resolved)
    check_same_weights(plan)
    manifest = make_manifest(plan)
    check_unchanged(manifest, store)
    manifest = manifest.model_copy(update={"elapsed_s": before.elapsed_s or 0.0 if before else 0.0})
    store.write_manifest(manifest)
    record_skipped(plan, store)
    lacking = missing(plan, store)
    done = len(store.finished(plan.by_key) - {cell.key for cell in lacking})
    cells = [cell for cell in lacking if labels is None or cell.label in labels]
    return Todo(cells, done, manifest, before, changes, started)


def run_missing(
    plan: Plan,
    store: RunStore,
    todo: Todo,
    listener: Listener,
    *,
    backend: str,
    address: str | None = None,
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
    """
    runner = backend_for(backend, plan, {cell.label for cell in todo.cells})
    for cell in todo.cells:
        retire(store, cell.key)  # what a failed attempt left must not be taken for the new one's
    try:
        runner.run(plan, store, todo.cells, listener, BackendOptions(address=address))
    finally:
        spent = (todo.manifest.elapsed_s or 0.0) + time.monotonic() - todo.started
        store.write_manifest(todo.manifest.model_copy(update={"elapsed_s": spent}))
