"""What runs in Ray's worker processes: some cells of a run one after another, or one pair's rungs in turn."""

import math
import time
from pathlib import Path
from typing import Any

from ray import tune

from harness.contract.stopping import AsyncPolicy
from harness.errors import StorageFailed
from harness.run.backends.last_words import hung, last_words
from harness.run.cell_records import cell_record
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

ENDED = "ended"
"""What a trial of several cells reports: keys of the cells that have ended since its last report."""

HEARD_EVERY_S = 0.25
"""Seconds that cells may have ended before the driver hears of it."""


class Cells(tune.Trainable):
    """Some cells, one after another. A step runs those of them that end soon, so that the driver hears of each soon.

    Reporting costs the driver some milliseconds, and a cell may take less than that.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Begin at the first cell: those that a lost worker has run have records, and are not run again."""
        self._config = config
        self._passed = 0

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin with other cells in the same process."""
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Run the next cells, and report which have ended."""
        from harness.run.reopen import reopen

        plan, store = reopen(self._config["run"], self._config["stamp"])
        keys: list[str] = self._config["keys"]
        begun, longest, ended = time.monotonic(), 0.0, []
        while True:
            start = time.monotonic()
            cell = plan.by_key[keys[self._passed]]
            try:
                if not store.has(cell.key):
                    _run(self._config, plan, store, cell)
            except StorageFailed as failed:
                return {ENDED: ended, "done": True, UNWRITTEN: [failed.what, failed.where, failed.fix]}
            self._passed += 1
            ended.append(cell.key)
            now = time.monotonic()
            longest = max(longest, now - start)
            # The next one is taken to last as long as the longest so far: what has ended does not wait for a long one.
            if self._passed == len(keys) or now + longest - begun > HEARD_EVERY_S:
                return {ENDED: ended, "done": self._passed == len(keys)}


def _run(config: dict[str, Any], plan: Plan, store: RunStore, cell: PlannedCell) -> CellRecord:
    from harness.run.cell import run_cell

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
        first = plan.by_key[self._config["keys"][0]]
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
