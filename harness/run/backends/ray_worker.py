"""What runs in Ray's worker processes: one cell of a run, or one pair's rungs in turn."""

import math
from pathlib import Path
from typing import Any

import ray
from ray import tune

from harness.contract.stopping import AsyncPolicy
from harness.errors import StorageFailed
from harness.run.backends.last_words import hung, last_words
from harness.run.cell_records import cell_record
from harness.run.provenance import work_on
from harness.run.records import CellRecord
from harness.run.store import RunStore
from harness.run.watchdog import late
from harness.sweep.plan import Plan
from harness.sweep.planned import PlannedCell

SCORE, SPENT, RUNG = "score", "spent", "rung"
"""What trials of a race report: the validation score, what was spent on the pair, and the key of the rung's cell."""

UNWRITTEN = "unwritten"
"""What a trial reports whose cell could not be written: ``what``, ``where`` and ``fix`` of a ``StorageFailed``. It is
no error of the trial, which Tune would try again, and for each of thousands of cells."""


def trial(config: dict[str, Any]) -> None:
    """Run one cell, unless a worker that was lost afterwards has written its record."""
    from harness.run.reopen import reopen

    plan, store = reopen(config["run"], config["stamp"])
    cell = plan.by_key[config["key"]]
    try:
        record = store.record(cell.key) if store.has(cell.key) else _run(config, plan, store, cell)
    except StorageFailed as failed:
        tune.report({UNWRITTEN: [failed.what, failed.where, failed.fix]})
        return
    tune.report({"status": record.status})


def _run(config: dict[str, Any], plan: Plan, store: RunStore, cell: PlannedCell) -> CellRecord:
    from harness.run.cell import run_cell

    work_on(ray.get_runtime_context().get_node_id())
    folder = Path(config["words"])
    if hung(folder, cell.key):  # it would hang again
        record = cell_record(
            plan, cell, "timeout", error=late(plan.methods[cell.label].config.resources.timeout_s or 0)
        )
        store.write_cell(record)
        return record
    with last_words(folder, cell.key) as words:
        return run_cell(plan, store, cell, own_process=True, words=words)


def reported(plan: Plan, cell: PlannedCell, record: CellRecord) -> dict[str, Any]:
    """What is reported to the scheduler after a rung: the pair's score (NaN without one), and what was spent."""
    policy = plan.methods[cell.label].method
    assert isinstance(policy, AsyncPolicy), "only such methods race"
    done = record.status == "done"
    # In units of the first rung, so that Tune's milestones (powers of the factor) are the ends of the rungs.
    spent = policy.reduction_factor ** (cell.rung or 0)
    return {SPENT: spent, SCORE: record.metrics[0].score if done else math.nan, RUNG: cell.key}


class Rungs(tune.Trainable):
    """One pair's rung cells, one a step: between two steps Tune's scheduler may stop it."""

    def setup(self, config: dict[str, Any]) -> None:
        """Begin at the configured cell, after a lost worker at the first that has not run."""
        self._config = config
        self._passed = -1

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin with another pair in the same process."""
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Run the next rung; the first time, report the rung that ran last in an earlier sweep, if there is one."""
        from harness.run.reopen import reopen

        plan, store = reopen(self._config["run"], self._config["stamp"])
        first = plan.by_key[self._config["key"]]
        below = plan.rung_before(first)
        rungs = [*([below] if below else []), *plan.rungs_from(first)]
        self._passed += 1
        cell = rungs[self._passed]
        record = store.record(cell.key) if store.has(cell.key) else None
        if record is None or record.status == "skipped":
            try:
                record = _run(self._config, plan, store, cell)
            except StorageFailed as failed:
                told = [failed.what, failed.where, failed.fix]
                return {SPENT: 0, SCORE: math.nan, RUNG: cell.key, "done": True, UNWRITTEN: told}
        return {**reported(plan, cell, record), "done": cell is rungs[-1] or record.status != "done"}
