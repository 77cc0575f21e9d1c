"""What may run now, and what never will.

A decision is a function of the plan and of the records in the store alone, so it is the same on every backend, after an
interruption, and in whatever order cells finished. A pair that failed or diverged ranks last at its rung. A cell that
is decided against gets a record with the status ``skipped``, so that nothing counts it as missing. An asynchronous
policy's decisions are made by a backend's scheduler; there these records are the decisions themselves (``stop``).
"""

import math
from collections.abc import Iterable, Iterator
from typing import Literal, TypeAlias

from harness.contract.pairs import Pair
from harness.contract.stopping import AsyncPolicy, Policy
from harness.run.cell_records import cell_record
from harness.run.store import RunStore
from harness.sweep.plan import Plan
from harness.sweep.planned import PlannedCell

Verdict: TypeAlias = Literal["ready", "waiting", "skipped"]

RETRIED = frozenset({"failed", "timeout"})
"""Statuses that the next sweep tries again; a divergence is the seed's own result and would repeat."""


def missing(plan: Plan, store: RunStore) -> list[PlannedCell]:
    """Cells to run now: not in the store, or failed or timed out last time. Rungs that are undecided yet come later."""
    rungs, finished = verdicts(plan, store), store.finished(plan.by_key)
    return [
        cell
        for key, cell in plan.by_key.items()
        if rungs.get(key, "ready") == "ready"
        and (key not in finished or store.record(key).status in (*RETRIED, "skipped"))
    ]


def verdicts(plan: Plan, store: RunStore) -> dict[str, Verdict]:
    """What may happen to every rung cell, by key: run (or have run), wait for the rung before, or be skipped."""
    return {cell.key: verdict for race in _races(plan) for cell, verdict in _judged(plan, store, race)}


def record_skipped(plan: Plan, store: RunStore) -> None:
    """Record the cells that were decided against, and drop states that no later rung will need."""
    rungs = [cell for cell in plan.cells if cell.rung is not None]
    done, judged = store.finished(cell.key for cell in rungs), verdicts(plan, store)
    for cell in rungs:
        verdict, recorded = judged[cell.key], cell.key in done
        if verdict == "skipped" and not recorded:
            store.write_cell(cell_record(plan, cell, "skipped"))
        elif verdict != "skipped" and recorded and store.record(cell.key).status == "skipped":
            store.drop_cell(cell.key)
        later = plan.rungs_from(cell)[1:2]
        if later and (judged[later[0].key] == "skipped" or _status(store, later[0]) == "done"):
            store.drop_state(cell.key)


def stop(plan: Plan, store: RunStore, cell: PlannedCell) -> None:
    """Record a scheduler's decision that the pair goes no further than this rung cell."""
    for later in plan.rungs_from(cell)[1:]:
        store.write_cell(cell_record(plan, later, "skipped"))
    store.drop_state(cell.key)


def next_wave(plan: Plan, store: RunStore, ran: Iterable[PlannedCell]) -> list[PlannedCell]:
    """What policies ask for after these cells have run: their methods' ready cells that have no record yet."""
    labels = {cell.label for cell in ran if cell.rung is not None}
    if not labels:
        return []
    record_skipped(plan, store)
    ready = verdicts(plan, store)
    finished = store.finished(ready)
    found = {
        c.key: c for c in plan.cells if c.label in labels and ready.get(c.key) == "ready" and c.key not in finished
    }
    return list(found.values())


def _races(plan: Plan) -> Iterator[list[PlannedCell]]:
    """Rung cells of each label and seed."""
    races: dict[tuple[str, int], list[PlannedCell]] = {}
    for cell in plan.cells:
        if cell.rung is not None:
            races.setdefault((cell.label, cell.seed), []).append(cell)
    yield from races.values()


def _judged(plan: Plan, store: RunStore, race: list[PlannedCell]) -> Iterator[tuple[PlannedCell, Verdict]]:
    policy = plan.methods[race[0].label].method
    if isinstance(policy, AsyncPolicy):
        yield from _each_alone(store, race)
        return
    assert isinstance(policy, Policy), "only methods with a policy have rungs"
    higher = plan.resolved.higher_is_better
    runs: set[Pair] | None = {cell.pairs[0] for cell in race}
    for rung in range(1 + max(cell.rung or 0 for cell in race)):
        own = [cell for cell in race if cell.rung == rung]
        for cell in own:
            yield cell, "waiting" if runs is None else "ready" if cell.pairs[0] in runs else "skipped"
        racing = [cell for cell in own if runs is not None and cell.pairs[0] in runs]
        scores = {cell.pairs[0]: _score(store, cell) for cell in racing}
        known = {pair: score for pair, score in scores.items() if score is not None}
        decided = runs is not None and len(known) == len(scores)
        runs = set(policy.keep(rung, known, higher_is_better=higher)) if decided else None


def _each_alone(store: RunStore, race: list[PlannedCell]) -> Iterator[tuple[PlannedCell, Verdict]]:
    """An asynchronous race: a pair's rung may run when the one before is done, unless it is recorded as skipped."""
    by_pair: dict[tuple[Pair, ...], list[PlannedCell]] = {}
    for cell in sorted(race, key=lambda cell: cell.rung or 0):
        by_pair.setdefault(tuple(cell.pairs), []).append(cell)
    for rungs in by_pair.values():
        verdict: Verdict = "ready"
        status: str | None = "done"
        for cell in rungs:
            if verdict == "ready":
                verdict = "waiting" if status is None else "ready" if status == "done" else "skipped"
            status = _status(store, cell)
            verdict = "skipped" if verdict == "ready" and status == "skipped" else verdict
            yield cell, verdict


def _score(store: RunStore, cell: PlannedCell) -> float | None:
    """The pair's validation score at this rung; NaN for one without; None if it has not run."""
    if not store.has(cell.key):
        return None
    record = store.record(cell.key)
    if record.status == "skipped":
        return None
    return record.metrics[0].score if record.status == "done" else math.nan


def _status(store: RunStore, cell: PlannedCell) -> str | None:
    return store.record(cell.key).status if store.has(cell.key) else None
