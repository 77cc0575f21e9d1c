"""Carrying out policies that stop trailing pairs: which rung cells may run now, and which never will.

A decision is a function of the records on disk alone, so it is the same on every backend, after an interruption, and in
whatever order cells finished. A pair that failed or diverged ranks last at its rung. A cell that is decided against
gets a record with the status ``skipped``, so that nothing counts it as missing. An asynchronous policy's decisions are
made by a backend's scheduler; there these records are the decisions themselves (``stop``).
"""

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from harness.method import AsyncPolicy, Pair, Policy
from harness.provenance import provenance
from harness.store import CellRecord, LedgerRecord, PlannedCell

if TYPE_CHECKING:
    from harness.plan import Plan

READY, WAITING, SKIPPED = "ready", "waiting", "skipped"


def verdicts(plan: "Plan") -> dict[str, str]:
    """What may happen to every rung cell, by key: run (or have run), wait for the rung before, or be skipped."""
    return {cell.key: verdict for cells in _races(plan) for cell, verdict in _judged(plan, cells)}


def settle(plan: "Plan") -> None:
    """Record the cells that were decided against, and drop states that no later rung will need."""
    store = plan.store
    following = {(c.label, c.seed, tuple(c.pairs), c.rung): c for c in plan.cells if c.rung}
    done = store.finished(cell.key for cell in plan.cells if cell.rung is not None)
    for cells in _races(plan):
        judged = dict((cell.key, verdict) for cell, verdict in _judged(plan, cells))
        for cell in cells:
            verdict, recorded = judged[cell.key], cell.key in done
            if verdict == SKIPPED and not recorded:
                store.write_cell(_skipped(plan, cell))
            elif verdict != SKIPPED and recorded and store.record(cell.key).status == "skipped":
                store.drop_cell(cell.key)
            later = following.get((cell.label, cell.seed, tuple(cell.pairs), (cell.rung or 0) + 1))
            if later and (judged[later.key] == SKIPPED or _status(plan, later) == "done"):
                store.state_path(cell.key).unlink(missing_ok=True)


def stop(plan: "Plan", cell: PlannedCell) -> None:
    """Record a scheduler's decision that the pair goes no further than this rung cell."""
    for later in chain(plan, cell)[1:]:
        plan.store.write_cell(_skipped(plan, later))
    plan.store.state_path(cell.key).unlink(missing_ok=True)


def chain(plan: "Plan", cell: PlannedCell) -> list[PlannedCell]:
    """This rung cell and the same pair's rungs above it, in order."""
    own = (cell.label, cell.seed, cell.pairs)
    above = [c for c in plan.cells if (c.label, c.seed, c.pairs) == own and (c.rung or 0) >= (cell.rung or 0)]
    return sorted(above, key=lambda c: c.rung or 0)


def next_wave(plan: "Plan", ran: Iterable[PlannedCell]) -> list[PlannedCell]:
    """What policies ask for after these cells have run: their methods' ready cells that have no record yet."""
    labels = {cell.label for cell in ran if cell.rung is not None}
    if not labels:
        return []
    settle(plan)
    ready = verdicts(plan)
    finished = plan.store.finished(ready)
    found = {c.key: c for c in plan.cells if c.label in labels and ready.get(c.key) == READY and c.key not in finished}
    return list(found.values())


def before(plan: "Plan", cell: PlannedCell) -> PlannedCell | None:
    """The cell of the same pair, seed and label one rung below."""
    if not cell.rung:
        return None
    own = (cell.label, cell.seed, cell.pairs, cell.rung - 1)
    return next(c for c in plan.cells if (c.label, c.seed, c.pairs, c.rung) == own)


def _races(plan: "Plan") -> Iterator[list[PlannedCell]]:
    """Rung cells of each label and seed."""
    races: dict[tuple[str, int], list[PlannedCell]] = {}
    for cell in plan.cells:
        if cell.rung is not None:
            races.setdefault((cell.label, cell.seed), []).append(cell)
    yield from races.values()


def _judged(plan: "Plan", cells: list[PlannedCell]) -> Iterator[tuple[PlannedCell, str]]:
    policy = plan.entries[cells[0].label].method
    if isinstance(policy, AsyncPolicy):
        yield from _each_alone(plan, cells)
        return
    assert isinstance(policy, Policy)
    higher = plan.higher_is_better
    runs: set[Pair] | None = {cell.pairs[0] for cell in cells}
    for rung in range(1 + max(cell.rung or 0 for cell in cells)):
        own = [cell for cell in cells if cell.rung == rung]
        for cell in own:
            yield cell, WAITING if runs is None else READY if cell.pairs[0] in runs else SKIPPED
        racing = [cell for cell in own if runs is not None and cell.pairs[0] in runs]
        scores = {cell.pairs[0]: _score(plan, cell) for cell in racing}
        known = {pair: score for pair, score in scores.items() if score is not None}
        decided = runs is not None and len(known) == len(scores)
        runs = set(policy.keep(rung, known, higher_is_better=higher)) if decided else None


def _each_alone(plan: "Plan", cells: list[PlannedCell]) -> Iterator[tuple[PlannedCell, str]]:
    """An asynchronous race: a pair's rung may run when the one before is done, unless it is recorded as skipped."""
    by_pair: dict[tuple[Pair, ...], list[PlannedCell]] = {}
    for cell in sorted(cells, key=lambda cell: cell.rung or 0):
        by_pair.setdefault(tuple(cell.pairs), []).append(cell)
    for rungs in by_pair.values():
        verdict, status = READY, "done"
        for cell in rungs:
            if verdict == READY:
                verdict = WAITING if status is None else READY if status == "done" else SKIPPED
            status = _status(plan, cell)
            verdict = SKIPPED if verdict == READY and status == "skipped" else verdict
            yield cell, verdict


def _score(plan: "Plan", cell: PlannedCell) -> float | None:
    """The pair's validation score at this rung; NaN for one without; None if it has not run."""
    if not plan.store.cell_path(cell.key).is_file():
        return None
    record = plan.store.record(cell.key)
    if record.status == "skipped":
        return None
    return record.metrics[0].score if record.status == "done" else math.nan


def _status(plan: "Plan", cell: PlannedCell) -> str | None:
    return plan.store.record(cell.key).status if plan.store.cell_path(cell.key).is_file() else None


def _skipped(plan: "Plan", cell: PlannedCell) -> CellRecord:
    entry = plan.entries[cell.label]
    return CellRecord(
        key=cell.key,
        label=cell.label,
        method=entry.name,
        kind=entry.method.kind,
        version=entry.method.version,
        seed=cell.seed,
        pairs=cell.pairs,
        status="skipped",
        ledger=LedgerRecord(flops={}, seconds={}, updates=0, samples=0),
        cpus=cell.cpus,
        gpus=cell.gpus,
        provenance=provenance(),
    )
